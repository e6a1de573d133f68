//! Whether files have changed: a few `stat` calls every few seconds, which work on every file system and see through the
//! symbolic links that an orchestrator swaps.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells two states of a file apart: its place on the disk, its size, and when it was changed, in nanoseconds.
type Stamp = (u64, u64, i64, i64);

/// The state of files. A file that cannot be looked at is not there.
pub(super) type Stamps = BTreeMap<PathBuf, Stamp>;

/// The state of these files, and of the files in these directories.
pub(super) fn stamps(places: &[PathBuf]) -> Stamps {
    let mut stamps = Stamps::new();
    for place in places {
        note(place, &mut stamps);
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            note(&entry.path(), &mut stamps);
        }
    }
    stamps
}

fn note(path: &Path, stamps: &mut Stamps) {
    if let Ok(data) = std::fs::metadata(path) {
        stamps.insert(path.to_owned(), (data.ino(), data.len(), data.mtime(), data.mtime_nsec()));
    }
}

/// Tells when files differ from those that were read, and have come to rest: whoever writes several files, or a long
/// one, is not to be caught in the middle.
#[derive(Debug)]
pub(super) struct Watch {
    read: Stamps,
    last: Stamps,
}

// === impl Watch ===

impl Watch {
    /// The files are as they were read.
    pub(super) fn new(read: Stamps) -> Self {
        Self { last: read.clone(), read }
    }

    /// More files that are as they are about to be read.
    pub(super) fn extend(&mut self, read: Stamps) {
        self.read.extend(read);
        self.last = self.read.clone();
    }

    /// Looks at the files; true if they are to be read.
    pub(super) fn on_look(&mut self, seen: Stamps) -> bool {
        let is_at_rest = seen == self.last;
        self.last = seen;
        is_at_rest && self.last != self.read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_change_is_told_once_the_files_have_come_to_rest() {
        let state = |size: u64| Stamps::from([(PathBuf::from("a"), (1, size, 0, 0))]);
        let mut watch = Watch::new(state(1));
        assert!(!watch.on_look(state(1)));
        assert!(!watch.on_look(state(2)), "somebody may be writing");
        assert!(!watch.on_look(state(3)), "somebody is writing");
        assert!(watch.on_look(state(3)));
        watch = Watch::new(state(3));
        assert!(!watch.on_look(state(3)));
        assert!(!watch.on_look(Stamps::new()), "a file that is gone is a change, too");
        assert!(watch.on_look(Stamps::new()));
        assert!(!watch.on_look(state(3)));
        assert!(!watch.on_look(state(3)), "and one that is back as it was is none");
    }

    #[test]
    fn test_files_of_a_directory_are_looked_at_and_swapped_links_are_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(path("one")).unwrap();
        std::fs::create_dir_all(path("two")).unwrap();
        std::fs::write(path("one/x.toml"), "1").unwrap();
        std::fs::write(path("two/x.toml"), "2").unwrap();
        std::os::unix::fs::symlink(path("one"), path("link")).unwrap();
        let places = [path("link"), path("none")];
        let before = stamps(&places);
        assert!(before.contains_key(&path("link/x.toml")));
        assert_eq!(stamps(&places), before);
        std::os::unix::fs::symlink(path("two"), path("next")).unwrap();
        std::fs::rename(path("next"), path("link")).unwrap();
        assert_ne!(stamps(&places), before);
    }
}
