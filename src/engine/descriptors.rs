//! File descriptors: as many as the system gives, and some of them kept for what is not a device.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Descriptors for the log, the store, their servers, and what the process itself has open.
const RESERVE: u64 = 512;

/// Raises the limit of open files as far as the process may, and returns it; `None` if there is none.
pub fn raise_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// How many devices may connect: as configured, or fewer if so many files cannot be open. Whatever the limit, half of it is
/// for devices.
pub fn device_connections(config: &Config, limit: Option<u64>) -> usize {
    let wanted = config.devices.max_connections.get();
    let Some(limit) = limit else { return wanted };
    let ingest = config.ingest.listen.map_or(0, |_| config.ingest.max_connections.get());
    let others = RESERVE + (config.http.max_connections.get() + ingest) as u64;
    let left = limit.saturating_sub(others).max(limit / 2).max(1);
    wanted.min(usize::try_from(left).unwrap_or(usize::MAX))
}

/// What to tell an operator whose limit is too low, if it is.
pub fn shortage(config: &Config, limit: Option<u64>) -> Option<String> {
    let (wanted, possible) = (config.devices.max_connections.get(), device_connections(config, limit));
    let limit = limit.filter(|_| possible < wanted)?;
    Some(format!(
        "devices.max_connections = {wanted}, but the limit of open files is {limit}: {possible} devices may connect; raise \
         the limit (ulimit -Hn) or lower the key"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_devices_get_what_others_do_not_need() {
        let config = Config::default();
        assert_eq!(device_connections(&config, None), 50_000);
        assert_eq!(device_connections(&config, Some(1 << 20)), 50_000);
        assert_eq!(shortage(&config, Some(1 << 20)), None);
        assert_eq!(device_connections(&config, Some(20_000)), 20_000 - 512 - 256 - 4096);
        assert!(shortage(&config, Some(20_000)).unwrap().contains("15136 devices may connect"));
        assert_eq!(device_connections(&config, Some(1024)), 512);
        assert_eq!(device_connections(&config, Some(0)), 1);
    }

    #[test]
    fn test_the_limit_is_raised_once() {
        assert_eq!(raise_limit(), raise_limit());
        assert_eq!(getrlimit(Resource::Nofile).current, raise_limit());
    }
}
