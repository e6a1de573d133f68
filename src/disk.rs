//! What the file system says of the places where the engine keeps its data: whether a file is still the one that was
//! opened, how much room there is, and what an error means for an operator.
//!
//! The embedded log and the embedded store ask it about their files, the engine about `data_dir`. Everything here is a
//! system call or two, and blocks for as long as the disk lets it.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytesize::ByteSize;
use rustix::fs::{StatVfsMountFlags, statvfs};

use crate::flow::health::{Condition, Part};

/// Below this part of the disk, within these bounds, room is running out.
const LOW_PART: u64 = 10;
const LEAST_LOW_BYTES: u64 = 256 << 20;
const MOST_LOW_BYTES: u64 = 4 << 30;

/// Which file it is, whatever it is called: two paths with one identity lead to the same file. It lasts as long as somebody
/// has the file open; after that another file may get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

/// A file system's room at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub size: u64,
    /// Bytes that this process may still take.
    pub free: u64,
    /// Nothing can be written.
    pub is_read_only: bool,
}

// === impl FileIdentity ===

impl FileIdentity {
    /// The identity of what lies at `path` now. An error of kind `NotFound` if nothing does.
    pub fn of(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for FileIdentity {
    fn from(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

// === impl Space ===

impl Space {
    /// The room of the file system that `path` lies on.
    pub fn of(path: &Path) -> io::Result<Self> {
        let found = statvfs(path)?;
        Ok(Self {
            size: found.f_blocks.saturating_mul(found.f_frsize),
            free: found.f_bavail.saturating_mul(found.f_frsize),
            is_read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY),
        })
    }

    /// [`Space::of`] for a directory that may not be there yet: its nearest parent that is.
    pub fn of_future(path: &Path) -> io::Result<Self> {
        let absolute = std::path::absolute(path)?;
        let existing = absolute.ancestors().find(|ancestor| ancestor.exists());
        Self::of(existing.unwrap_or(&absolute))
    }

    /// Below so many free bytes an operator is told: a tenth of the disk, at least 256 MiB, at most 4 GiB.
    pub fn low_bytes(&self) -> u64 {
        (self.size / LOW_PART).clamp(LEAST_LOW_BYTES, MOST_LOW_BYTES)
    }

    /// That room is running out, if it is. Who can grow by `room_needed` bytes at most is well with as many, however few.
    pub fn shortage(&self, place: &Path, room_needed: Option<u64>) -> Option<Condition> {
        let bound = self.low_bytes().min(room_needed.unwrap_or(u64::MAX));
        if self.free >= bound {
            return None;
        }
        let place = place.display().to_string();
        let detail = format!(
            "{} of {} are free on the disk of {place}, less than {}: when it is full nothing can be acknowledged or \
             stored; free space, enlarge the disk, or keep less (log.embedded.retention_size, disk_budget, store.ttl)",
            ByteSize(self.free),
            ByteSize(self.size),
            ByteSize(bound),
        );
        Some(Condition::degraded(Part::Disk, "disk_space_low", place, detail))
    }
}

/// Makes sure that a directory is there and takes files, so that what is wrong with it is told by name and at once, and
/// not by the first part that stumbles over it. The error says what is wrong and what to do.
pub fn prepare(directory: &Path) -> Result<(), String> {
    let place = directory.display();
    if directory.exists() && !directory.is_dir() {
        return Err(format!("{place} is a file: name a directory in data_dir"));
    }
    std::fs::create_dir_all(directory).map_err(|error| format!("cannot create {place}: {}", explain(&error)))?;
    let probe = directory.join(format!(".probe-{}", std::process::id()));
    let written = File::create(&probe).and_then(|mut file| {
        file.write_all(&[0; 4096])?;
        file.sync_all()
    });
    // One that could not be written may be there all the same.
    let _ = std::fs::remove_file(&probe);
    written.map_err(|error| format!("cannot write into {place}: {}", explain(&error)))
}

/// What the system said, and what an operator can do about it.
pub fn explain(error: &io::Error) -> String {
    let remedy = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free space on this disk, or move data_dir to a larger one"
        }
        ErrorKind::ReadOnlyFilesystem => {
            "mount the file system for writing; if it went read-only by itself, look for errors of the disk in the \
             kernel's log"
        }
        ErrorKind::PermissionDenied => {
            let user = rustix::process::geteuid().as_raw();
            return format!("{error}: this process runs as user {user}, who must be allowed to write there");
        }
        ErrorKind::NotADirectory => "a part of the path is a file",
        _ if error.raw_os_error() == Some(libc::EIO) => "the disk fails: look for its errors in the kernel's log",
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            "raise the limit of open files (ulimit -n)"
        }
        _ => return error.to_string(),
    };
    format!("{error}: {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn test_a_file_is_itself_under_any_name_and_another_one_under_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("a"), "1").unwrap();
        let identity = FileIdentity::of(&path("a")).unwrap();
        std::fs::hard_link(path("a"), path("b")).unwrap();
        assert_eq!(FileIdentity::of(&path("b")).unwrap(), identity);
        std::fs::remove_file(path("a")).unwrap();
        std::fs::write(path("a"), "1").unwrap();
        assert_ne!(FileIdentity::of(&path("a")).unwrap(), identity);
        assert_eq!(FileIdentity::of(&path("c")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn test_room_is_short_below_a_tenth_within_bounds_and_never_while_all_that_can_come_fits() {
        let space = |size: u64, free: u64| Space { size, free, is_read_only: false };
        let is_short = |space: Space, needed| space.shortage(Path::new("/data"), needed).is_some();
        assert!(!is_short(space(20 * GIB, 2 * GIB), None));
        assert!(is_short(space(20 * GIB, 2 * GIB - 1), None));
        assert!(is_short(space(1000 * GIB, 4 * GIB - 1), None), "4 GiB at most");
        assert!(!is_short(space(1000 * GIB, 4 * GIB), None));
        assert!(is_short(space(GIB / 2, GIB / 5), None), "256 MiB at least");
        assert!(!is_short(space(GIB / 2, GIB / 5), Some(GIB / 8)), "no more than 128 MiB can come");
        assert!(is_short(space(GIB / 2, GIB / 10), Some(GIB / 8)));
        let told = space(20 * GIB, GIB).shortage(Path::new("/data"), None).unwrap().detail;
        assert!(told.starts_with("1.0 GiB of 20.0 GiB are free on the disk of /data, less than 2.0 GiB"), "{told}");
    }

    #[test]
    fn test_the_room_of_a_directory_to_be_is_that_of_its_parent() {
        let directory = tempfile::tempdir().unwrap();
        let size = Space::of(directory.path()).unwrap().size;
        assert!(size > 0);
        assert_eq!(Space::of_future(&directory.path().join("a/b")).unwrap().size, size);
    }

    #[test]
    fn test_a_place_that_takes_no_files_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        prepare(&directory.path().join("a/b")).unwrap();
        assert_eq!(std::fs::read_dir(directory.path().join("a/b")).unwrap().count(), 0, "nothing is left behind");
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(prepare(&file).unwrap_err().ends_with("/file is a file: name a directory in data_dir"));
        assert!(prepare(&file.join("below")).unwrap_err().ends_with("a part of the path is a file"));
        assert!(explain(&io::Error::from_raw_os_error(libc::ENOSPC)).contains("free space on this disk"));
        assert!(explain(&io::Error::from_raw_os_error(libc::EROFS)).contains("mount the file system for writing"));
        assert!(explain(&io::Error::from_raw_os_error(libc::EMFILE)).contains("ulimit -n"));
        assert_eq!(explain(&io::Error::other("odd")), "odd");
    }
}
