//! Who reads the database at the moment, as the system's table of locks shows it: a reader of SQLite's write-ahead log
//! holds a lock on its index.

use std::fmt::{Display, Formatter};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where the locks of readers lie in the index, in bytes (<https://sqlite.org/walformat.html>).
const READ_LOCKS: std::ops::RangeInclusive<u64> = 123..=127;

/// Other processes with an open transaction.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Readers(Vec<Reader>);

#[derive(Debug, PartialEq, Eq)]
struct Reader {
    process: u32,
    name: String,
}

// === impl Readers ===

impl Readers {
    /// Those that have the index at this path locked. Where the system does not tell, there are none.
    pub(super) fn of(index: &Path) -> Self {
        let (Ok(metadata), Ok(locks)) = (std::fs::metadata(index), std::fs::read_to_string("/proc/locks")) else {
            return Self::default();
        };
        let mut processes = processes(&locks, metadata.ino());
        processes.retain(|process| *process != std::process::id());
        let name = |process| std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
        Self(processes.into_iter().map(|process| Reader { process, name: name(process).trim().to_owned() }).collect())
    }
}

/// Processes in the system's table that hold a reader's lock on this file. A line of it is
/// `1: POSIX  ADVISORY  READ 1234 08:02:5678 124 124`.
fn processes(locks: &str, inode: u64) -> Vec<u32> {
    let of_file = locks.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, "READ", process, file, start, _] = fields[..] else { return None };
        let is_ours = file.rsplit(':').next()?.parse() == Ok(inode) && READ_LOCKS.contains(&start.parse().ok()?);
        is_ours.then(|| process.parse().ok()).flatten()
    });
    let mut processes: Vec<u32> = of_file.collect();
    processes.sort_unstable();
    processes.dedup();
    processes
}

impl Display for Readers {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        for (index, Reader { process, name }) in self.0.iter().enumerate() {
            let before = if index == 0 { " (at present: " } else { ", " };
            write!(f, "{before}process {process} {name}")?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_readers_are_found_among_all_locks() {
        let locks = "1: POSIX  ADVISORY  READ 12 08:02:77 124 124\n\
                     2: POSIX  ADVISORY  READ 12 08:02:77 125 125\n\
                     3: POSIX  ADVISORY  READ 13 08:02:77 128 128\n\
                     4: POSIX  ADVISORY  WRITE 14 08:02:77 123 123\n\
                     5: FLOCK  ADVISORY  WRITE 15 08:02:77 0 EOF\n\
                     6: POSIX  ADVISORY  READ 16 08:02:78 124 124\n\
                     6: -> POSIX  ADVISORY  READ 17 08:02:77 124 124\n\
                     7: POSIX  ADVISORY  READ 18 08:02:77 123 123\n";
        assert_eq!(processes(locks, 77), [12, 18]);
        let readers = Readers(vec![
            Reader { process: 12, name: "sqlite3".to_owned() },
            Reader { process: 18, name: "python".to_owned() },
        ]);
        assert_eq!(readers.to_string(), " (at present: process 12 sqlite3, process 18 python)");
        assert_eq!(Readers::default().to_string(), "");
    }
}
