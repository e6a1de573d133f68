//! When a thread that has been woken gets a core.
//!
//! Work goes from thread to thread in small messages. Where cores are busy, Linux gives a thread that has just been woken the
//! core of one that runs, often of the very one that woke it: it works on one message, sleeps, and the next one wakes it
//! again. For a thread that only passes on what others hand it this is waste. With `SCHED_BATCH` (`sched(7)`) it has
//! the same share of the cores, but gets one when it is its turn, and then finds several messages at once.

/// Makes the current thread wait for its turn when it is woken. Where that is not known or not allowed it stays as it is.
#[cfg(target_os = "linux")]
#[expect(unsafe_code)]
pub fn wait_for_a_turn() {
    // SAFETY: an all-zero `sched_param` is valid, is what SCHED_BATCH asks for, and is only read.
    let outcome = unsafe {
        let parameters: libc::sched_param = std::mem::zeroed();
        libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters)
    };
    if outcome != 0 {
        tracing::debug!(error = %std::io::Error::last_os_error(), "a thread cannot be scheduled as batch");
    }
}

/// Makes the current thread wait for its turn when it is woken. Not known here.
#[cfg(not(target_os = "linux"))]
pub fn wait_for_a_turn() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    #[expect(unsafe_code)]
    fn test_only_the_thread_itself_waits_for_its_turn() {
        // SAFETY: asks for a number.
        let policy = || unsafe { libc::sched_getscheduler(0) };
        let before = policy();
        let changed = std::thread::spawn(move || {
            super::wait_for_a_turn();
            policy()
        });
        assert_eq!(changed.join().unwrap(), libc::SCHED_BATCH);
        assert_eq!(policy(), before);
    }
}
