//! The C library's allocator, set for a process whose large buffers come and go.
//!
//! glibc raises the size from which a buffer is mapped by itself to that of the largest one that was ever given back, up to
//! 32 MiB. Batches of some megabytes then lie on the heap among small things, and their pages stay when they are gone: a
//! backlog of Kafka took 149 MB instead of 91. A size that is set stays. Other C libraries are left as they are.

/// From this size on a buffer has pages of its own, which go back to the system with it.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: i32 = 256 << 10;
/// Bytes that stay at the end of the heap when more is free there: setting the size above also takes away the C library's
/// rule for this one, and what it begins with has the heap grow and shrink all the time.
#[cfg(target_env = "gnu")]
const KEPT: i32 = 1 << 20;

/// Sets it up; to be called before there are threads.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code)]
pub fn set_up() {
    // SAFETY: both calls only set a number; the C library locks its own state.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

/// Sets it up; to be called before there are threads.
#[cfg(not(target_env = "gnu"))]
pub fn set_up() {}
