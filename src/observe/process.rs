//! What the system tells of this process, from `/proc/self`.

use std::fs;

/// A clock tick of `/proc`, as Linux has it on every architecture (`USER_HZ`): 1 / 100 s.
const TICKS_PER_SECOND: f64 = 100.0;

/// This process at one moment. What the system does not tell is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProcessNow {
    /// Memory in use, in bytes.
    pub resident_bytes: Option<u64>,
    /// Addresses in use, in bytes.
    pub virtual_bytes: Option<u64>,
    /// Time that its threads have run, in the system too, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Threads.
    pub num_threads: Option<u64>,
    /// When it began, in seconds since the Unix epoch.
    pub started_at: Option<f64>,
    /// Open file descriptors.
    pub num_fds: Option<u64>,
    /// How many of those there may be.
    pub max_fds: Option<u64>,
}

// === impl ProcessNow ===

impl ProcessNow {
    /// Reads all of it; takes less than a tenth of a millisecond with a thousand descriptors.
    pub fn read() -> Self {
        let text = |name: &str| fs::read_to_string(name).unwrap_or_default();
        let mut now = Self::of(&text("/proc/self/stat"), &text("/proc/self/status"), &text("/proc/stat"));
        // Without the one that lists them.
        now.num_fds = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as u64);
        now.max_fds = max_fds(&text("/proc/self/limits"));
        now
    }

    /// By the texts of `/proc/self/stat`, `/proc/self/status` and `/proc/stat`.
    fn of(stat: &str, status: &str, system: &str) -> Self {
        // The name of the program is the second field, in brackets, and may contain anything.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        // By the numbers of proc_pid_stat(5), which counts from 1: the first one here is its third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = |number: usize| field(number).map(|ticks| ticks as f64 / TICKS_PER_SECOND);
        let booted = number_after(system, "btime ").map(|seconds| seconds as f64);
        Self {
            resident_bytes: number_after(status, "VmRSS:").map(|kilobytes| kilobytes * 1024),
            virtual_bytes: field(23),
            cpu_seconds: ticks(14).zip(ticks(15)).map(|(user, system)| user + system),
            num_threads: field(20),
            started_at: booted.zip(ticks(22)).map(|(booted, after)| booted + after),
            num_fds: None,
            max_fds: None,
        }
    }
}

/// The first number in the line that begins like this.
fn number_after(text: &str, start: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(start))?.split_whitespace().next()?.parse().ok()
}

/// The soft limit in the text of `/proc/self/limits`.
fn max_fds(limits: &str) -> Option<u64> {
    number_after(limits, "Max open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4711 (a ) b(c) S 1 2 3 0 -1 4194560 100 0 0 0 250 125 0 0 20 0 17 0 123456 1073741824 5000 \
                        18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0";
    const STATUS: &str = "Name:\ta\nVmPeak:\t  99 kB\nVmRSS:\t   20000 kB\nThreads:\t17\n";
    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
                          Max open files            1024                 524288               files     \n";

    #[test]
    fn test_a_process_is_read_from_what_the_system_tells() {
        let expected = ProcessNow {
            resident_bytes: Some(20_480_000),
            virtual_bytes: Some(1 << 30),
            cpu_seconds: Some(3.75),
            num_threads: Some(17),
            started_at: Some(1_700_001_234.56),
            ..ProcessNow::default()
        };
        assert_eq!(ProcessNow::of(STAT, STATUS, "cpu 1 2\nbtime 1700000000\n"), expected);
        assert_eq!(max_fds(LIMITS), Some(1024));
    }

    #[test]
    fn test_what_is_not_told_is_unknown() {
        assert_eq!(ProcessNow::of("", "", ""), ProcessNow::default());
        assert_eq!(max_fds("Max open files            unlimited            unlimited            files"), None);
    }

    #[test]
    fn test_this_process_is_known() {
        let now = ProcessNow::read();
        assert!(now.resident_bytes.is_some_and(|bytes| bytes > 1 << 20), "{now:?}");
        assert!(now.virtual_bytes >= now.resident_bytes && now.num_threads > Some(0), "{now:?}");
        assert!(now.cpu_seconds.is_some() && now.started_at > Some(1.6e9), "{now:?}");
        assert!(now.num_fds > Some(2) && now.max_fds >= now.num_fds, "{now:?}");
    }
}
