//! File descriptors: as many as the system gives, and some of them kept for what is not a device.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Descriptors for the log, the store, their servers, and what the process itself has open.
const RESERVE: u64 = 512;

/// A thread with an event loop of its own: the loop's two handles, its wake-up, its end of the signals.
const PER_THREAD: u64 = 4;

/// Threads beside those that the config counts: the command's, the engine's, the driver's, HTTP's, and one to spare.
const OTHER_THREADS: usize = 5;

/// What even an idle engine has open beside that: files of the log and the store, sockets, its outputs, one client of each.
const LEAST: u64 = 40;

/// Why an engine cannot run with this limit, if it cannot: its threads would fail one by one as they start.
pub fn refusal(config: &Config, limit: Option<u64>) -> Option<String> {
    let threads = &config.threads;
    let ingest = config.ingest.listen.map_or(0, |_| threads.ingest.get());
    let num_threads =
        threads.connections.get() + config.decoder.actors.get() + 2 * threads.pipeline.get() + ingest + OTHER_THREADS;
    let needed = PER_THREAD * num_threads as u64 + LEAST;
    let limit = limit.filter(|limit| *limit < needed)?;
    Some(format!(
        "the limit of open files is {limit}, and the engine needs at least {needed} with this config: {PER_THREAD} for each \
         of {num_threads} threads and {LEAST} for the rest; raise the limit (ulimit -n, or LimitNOFILE= of a service) or \
         lower threads.* and decoder.actors"
    ))
}

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
    fn test_an_engine_that_could_not_even_start_is_refused_by_number() {
        let mut config = Config::default();
        let three = std::num::NonZeroUsize::new(3).unwrap();
        (config.threads.connections, config.threads.ingest) = (three, three);
        (config.threads.pipeline, config.decoder.actors) = (three, three);
        let num_threads = 5 * 3 + 5;
        let needed = 4 * num_threads + 40;
        assert_eq!(refusal(&config, None), None);
        assert_eq!(refusal(&config, Some(needed)), None);
        let told = refusal(&config, Some(needed - 1)).unwrap();
        assert!(told.starts_with("the limit of open files is 119, and the engine needs at least 120"), "{told}");
        config.ingest.listen = None;
        assert_eq!(refusal(&config, Some(needed - 12)), None);
    }

    #[test]
    fn test_the_limit_is_raised_once() {
        assert_eq!(raise_limit(), raise_limit());
        assert_eq!(getrlimit(Resource::Nofile).current, raise_limit());
    }
}
