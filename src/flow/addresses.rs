//! What each address may ask for: how many connections it has, how much it sends, how often it failed to say who it is.
//!
//! An address is an IPv4 address or an IPv6 network of 64 bits: whoever has one address of such a network has all of them.
//! Memory is bounded: an address with connections is remembered as long as it has them, and there is a limit on those;
//! one without is remembered until all that it took has come back, and there is a limit on those, too.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::rate::{Allowance, Bucket, PackageRates, Rate};

/// Who is counted as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// One IPv4 address, also one written as IPv6.
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address.
    V6(u64),
}

/// What each address may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressLimits {
    /// Most connections at once.
    pub connections: usize,
    /// Packages of all its devices together.
    pub rates: PackageRates,
    /// Connections that end before their device is known; likewise, counted apart, requests over HTTP that have no valid
    /// token.
    pub failed_attempts: Rate,
    /// How many addresses without a connection are remembered.
    pub remembered: usize,
}

/// Why a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// The address has as many connections as it may.
    Connections,
    /// Too many of its connections have failed; the next may come after this time.
    Attempts(Duration),
}

/// All addresses that are known at the moment.
#[derive(Debug)]
pub struct Addresses {
    limits: AddressLimits,
    known: HashMap<Network, Address>,
    num_without_connection: usize,
}

#[derive(Debug, Default)]
struct Address {
    num_connections: usize,
    allowance: Allowance,
    /// Connections that ended before their device was known.
    failures: Bucket,
    /// Requests over HTTP without a valid token. They are counted apart, so that a client with a wrong one does not keep
    /// devices out that share its address.
    failed_requests: Bucket,
}

// === impl Network ===

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

// === impl Addresses ===

impl Addresses {
    /// Nobody is known yet.
    pub fn new(limits: AddressLimits) -> Self {
        Self { limits, known: HashMap::new(), num_without_connection: 0 }
    }

    /// Allows something else from now on; who has more already keeps it.
    pub fn set_limits(&mut self, limits: AddressLimits) {
        self.limits = limits;
    }

    /// Counts a connection, unless it is turned away. [`Addresses::disconnect`] is to follow.
    pub fn connect(&mut self, now: Instant, network: Network) -> Result<(), TurnedAway> {
        let limits = self.limits;
        let address = self.address(network);
        let wait = address.failures.wait(now, &limits.failed_attempts);
        if !wait.is_zero() {
            return Err(TurnedAway::Attempts(wait));
        }
        if address.num_connections >= limits.connections {
            return Err(TurnedAway::Connections);
        }
        address.num_connections += 1;
        if address.num_connections == 1 {
            self.num_without_connection -= 1;
        }
        Ok(())
    }

    /// A connection has ended.
    pub fn disconnect(&mut self, now: Instant, network: Network) {
        let Some(address) = self.known.get_mut(&network) else { unreachable!("an address with a connection is known") };
        assert!(address.num_connections > 0, "a connection ends once");
        address.num_connections -= 1;
        if address.num_connections > 0 {
            return;
        }
        if address.is_as_new(now) || self.num_without_connection >= self.limits.remembered {
            self.known.remove(&network);
        } else {
            self.num_without_connection += 1;
        }
    }

    /// A connection has ended before its device was known.
    pub fn attempt_failed(&mut self, now: Instant, network: Network) {
        let rate = self.limits.failed_attempts;
        // Of those that were under way already when there was nothing left, none prolongs the wait.
        let _ = self.address(network).failures.take(now, &rate, 1);
    }

    /// A request over HTTP had no valid token: says how long its answer is to be held back; not at all within the rate.
    pub fn request_failed(&mut self, now: Instant, network: Network) -> Duration {
        let rate = self.limits.failed_attempts;
        match self.address(network).failed_requests.take(now, &rate, 1) {
            Ok(()) => Duration::ZERO,
            Err(wait) => wait,
        }
    }

    /// Takes one package of so many bytes, or says how long none may come.
    pub fn take_package(&mut self, now: Instant, network: Network, num_bytes: u64) -> Result<(), Duration> {
        let rates = self.limits.rates;
        self.address(network).allowance.take(now, &rates, num_bytes)
    }

    /// Takes bytes of what was let in before its length was known.
    pub fn charge_bytes(&mut self, now: Instant, network: Network, num_bytes: u64) {
        let rates = self.limits.rates;
        self.address(network).allowance.charge_bytes(now, &rates, num_bytes);
    }

    /// Forgets who has no connection and took nothing that is still missing. To be called every few seconds.
    pub fn sweep(&mut self, now: Instant) {
        self.known.retain(|_, address| address.num_connections > 0 || !address.is_as_new(now));
        self.num_without_connection = self.known.values().filter(|address| address.num_connections == 0).count();
        // After a flood the table would stay as large as it was.
        self.known.shrink_to(2 * self.known.len());
    }

    /// How many addresses are known.
    pub fn num_known(&self) -> usize {
        self.known.len()
    }

    /// The address, which begins without a connection.
    fn address(&mut self, network: Network) -> &mut Address {
        if !self.known.contains_key(&network) {
            if self.num_without_connection >= self.limits.remembered {
                // Whoever has that many addresses is not held up by what is remembered of one; nobody else must
                // suffer for it.
                self.known.retain(|_, address| address.num_connections > 0);
                self.num_without_connection = 0;
            }
            self.num_without_connection += 1;
        }
        self.known.entry(network).or_default()
    }
}

// === impl Address ===

impl Address {
    fn is_as_new(&self, now: Instant) -> bool {
        self.allowance.is_full(now) && self.failures.is_full(now) && self.failed_requests.is_full(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: AddressLimits = AddressLimits {
        connections: 2,
        rates: PackageRates { packages: Rate::per_second(3), bytes: Rate::per_second(1000) },
        failed_attempts: Rate::per_minute(6),
        remembered: 4,
    };

    fn network(number: u8) -> Network {
        IpAddr::from([10, 0, 0, number]).into()
    }

    #[test]
    fn test_an_ipv6_network_is_one_and_an_ipv4_address_has_one_name() {
        let of = |text: &str| Network::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn test_each_address_has_its_own_connections() {
        let (now, mut addresses) = (Instant::now(), Addresses::new(LIMITS));
        for number in [1, 1, 2, 2] {
            assert_eq!(addresses.connect(now, network(number)), Ok(()));
        }
        assert_eq!(addresses.connect(now, network(1)), Err(TurnedAway::Connections));
        addresses.disconnect(now, network(1));
        assert_eq!(addresses.connect(now, network(1)), Ok(()));
        for number in [1, 1, 2, 2] {
            addresses.disconnect(now, network(number));
        }
        assert_eq!((addresses.num_known(), addresses.num_without_connection), (0, 0));
    }

    #[test]
    fn test_failed_attempts_keep_an_address_out_until_they_are_forgotten() {
        let (now, mut addresses) = (Instant::now(), Addresses::new(LIMITS));
        for _ in 0..6 {
            assert_eq!(addresses.connect(now, network(1)), Ok(()));
            addresses.attempt_failed(now, network(1));
            addresses.disconnect(now, network(1));
        }
        let Err(TurnedAway::Attempts(wait)) = addresses.connect(now, network(1)) else { panic!("let in") };
        assert_eq!(addresses.connect(now, network(2)), Ok(()));
        assert_eq!(addresses.connect(now + wait, network(1)), Ok(()));
        addresses.disconnect(now + wait, network(1));
        addresses.disconnect(now, network(2));
        addresses.sweep(now + Duration::from_secs(59));
        assert_eq!(addresses.num_known(), 1);
        addresses.sweep(now + Duration::from_secs(60));
        assert_eq!(addresses.num_known(), 0);
    }

    #[test]
    fn test_requests_without_a_valid_token_are_held_back_and_keep_no_connection_out() {
        let (now, mut addresses) = (Instant::now(), Addresses::new(LIMITS));
        for _ in 0..6 {
            assert_eq!(addresses.request_failed(now, network(1)), Duration::ZERO);
        }
        let wait = addresses.request_failed(now, network(1));
        assert!(!wait.is_zero());
        assert_eq!(addresses.request_failed(now, network(1)), wait, "those that are held back do not prolong it");
        assert_eq!(addresses.request_failed(now, network(2)), Duration::ZERO);
        assert_eq!(addresses.connect(now, network(1)), Ok(()));
        assert_eq!(addresses.request_failed(now + wait, network(1)), Duration::ZERO);
        addresses.disconnect(now, network(1));
        addresses.sweep(now + Duration::from_secs(60));
        assert_eq!(addresses.num_known(), 1, "it is remembered until all has come back");
        addresses.sweep(now + wait + Duration::from_secs(60));
        assert_eq!(addresses.num_known(), 0);
    }

    #[test]
    fn test_devices_of_one_address_share_its_rate() {
        let (now, mut addresses) = (Instant::now(), Addresses::new(LIMITS));
        for _ in 0..3 {
            assert_eq!(addresses.take_package(now, network(1), 1), Ok(()));
        }
        assert!(addresses.take_package(now, network(1), 1).is_err());
        assert_eq!(addresses.take_package(now, network(2), 5000), Ok(()));
        assert!(addresses.take_package(now + Duration::from_secs(3), network(2), 1).is_err());
    }

    proptest! {
        #[test]
        fn test_memory_is_bounded_and_no_connection_is_forgotten(
            steps in proptest::collection::vec((0u8..4, 0u8..40, 0u64..20), 1..400),
        ) {
            let (mut now, mut addresses) = (Instant::now(), Addresses::new(LIMITS));
            let mut open = HashMap::<u8, usize>::new();
            for (step, number, pause_s) in steps {
                now += Duration::from_secs(pause_s);
                match step {
                    0 => if addresses.connect(now, network(number)).is_ok() {
                        *open.entry(number).or_default() += 1;
                    },
                    1 => if let Some(count) = open.get_mut(&number).filter(|count| **count > 0) {
                        *count -= 1;
                        addresses.disconnect(now, network(number));
                    },
                    2 => addresses.attempt_failed(now, network(number)),
                    _ => addresses.sweep(now),
                }
                let num_connected = open.values().filter(|count| **count > 0).count();
                prop_assert!(addresses.num_known() <= num_connected + LIMITS.remembered);
                prop_assert_eq!(addresses.num_known() - num_connected, addresses.num_without_connection);
                for (number, count) in &open {
                    let known = addresses.known.get(&network(*number)).map_or(0, |address| address.num_connections);
                    prop_assert_eq!(known, *count);
                }
            }
        }
    }
}
