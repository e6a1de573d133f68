//! What the config allows the data directory to grow to, beside the disk that it lies on.

use bytesize::ByteSize;

use crate::config::{Config, LogKind};
use crate::disk::Space;

/// Journals of the embedded log beside its records, in bytes.
const JOURNALS: u64 = 64 << 20;

/// What to tell an operator whose disk is too small for what the config lets the log keep, if it is.
pub fn shortage(config: &Config) -> Option<String> {
    let space = Space::of_future(&config.data_dir).ok()?;
    shortage_in(config, space)
}

fn shortage_in(config: &Config, space: Space) -> Option<String> {
    let LogKind::Embedded(log) = &config.log.kind else { return None };
    let wanted = log.disk_budget.saturating_add(log.retention_size).saturating_add(JOURNALS);
    if wanted <= space.size {
        return None;
    }
    Some(format!(
        "log.embedded.disk_budget = {} and retention_size = {} let the log grow to {}, but the disk of data_dir ({}) has {} \
         in all, {} of them free: it is full before the log is, and then nothing is acknowledged and no row is stored; lower \
         the keys or enlarge the disk",
        ByteSize(log.disk_budget),
        ByteSize(log.retention_size),
        ByteSize(wanted),
        config.data_dir.display(),
        ByteSize(space.size),
        ByteSize(space.free),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_disk_that_is_smaller_than_what_the_log_may_keep_is_told_of() {
        let config = Config::default();
        let space = |size: u64| Space { size, free: size / 2, is_read_only: false };
        assert_eq!(shortage_in(&config, space(31 << 30)), None);
        let told = shortage_in(&config, space(30 << 30)).unwrap();
        assert!(told.contains("disk_budget = 20.0 GiB and retention_size = 10.0 GiB"), "{told}");
        assert!(told.contains("has 30.0 GiB in all, 15.0 GiB of them free"), "{told}");
    }
}
