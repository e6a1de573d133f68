//! What a simulation is told.

use std::time::Duration;

use crate::tls::ServerTrust;

/// How many devices send what, how fast, where to and how long.
#[derive(Debug, Clone)]
pub struct SimulateOptions {
    /// Host and port of the server, or several of these with commas between. A device that has to connect again tries the
    /// next one.
    pub target: String,
    /// How many devices. Each is a connection.
    pub devices: usize,
    /// Messages per second of the whole fleet; 0 keeps every device's window full.
    pub rate: f64,
    /// How long messages are made.
    pub duration: Duration,
    /// Messages in a package, if the server allows as many.
    pub package_size: u16,
    /// Whom to trust, and what each device shows; `{}` in the paths of its certificate and key stands for its id.
    /// `None`: plain TCP.
    pub tls: Option<ServerTrust>,
    /// The credential of every device.
    pub token: String,
    /// The first part of every device id; the number of the device follows.
    pub device_prefix: String,
    /// How long the devices go on afterwards until everything is settled.
    pub drain_timeout: Duration,
    /// The same seed makes the same values.
    pub seed: u64,
    /// Messages that a device keeps at most; beyond that it makes none.
    pub max_queue: usize,
    /// First and longest delay before a device connects again.
    pub backoff: (Duration, Duration),
    /// How many addresses of the loopback network the devices come from, if the server is there: one pair of addresses has
    /// only so many ports.
    pub source_addresses: u16,
    /// Types by name and how often each is made. Types that the catalog does not have are left out; if that leaves
    /// none, all of the catalog's are made equally often.
    pub mix: Vec<(String, f64)>,
}

impl Default for SimulateOptions {
    fn default() -> Self {
        let mix = [("position", 85.0), ("engine_health", 10.0), ("device_status", 4.0), ("harsh_event", 1.0)];
        Self {
            target: "127.0.0.1:7400".to_owned(),
            devices: 1000,
            rate: 5000.0,
            duration: Duration::from_secs(10),
            package_size: 50,
            tls: None,
            token: String::new(),
            device_prefix: "truck-".to_owned(),
            drain_timeout: Duration::from_secs(30),
            seed: 1,
            max_queue: 10_000,
            backoff: (Duration::from_millis(100), Duration::from_secs(10)),
            source_addresses: 1,
            mix: mix.map(|(name, weight)| (name.to_owned(), weight)).to_vec(),
        }
    }
}
