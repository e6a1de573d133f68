//! Rates: how much of something may come within a period, as plain types.
//!
//! The scheme is the generic cell rate algorithm of ATM (ITU-T I.371) in its "virtual scheduling" form: a bucket is one
//! moment in time, at which all that was taken has come back. A bucket with at least one left in it gives whatever is asked
//! for, if need be on credit; so nothing is ever too large to pass, and the rate holds in the mean.

use std::time::{Duration, Instant};

/// So much within a period. As much as that may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: u64,
    period: Duration,
}

/// What is left of a [`Rate`] for one who takes from it. A new one is full.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    full_at: Option<Instant>,
}

/// Rates of packages, and of their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackageRates {
    /// Packages, or requests.
    pub packages: Rate,
    /// Bytes of packages as they are on the wire, or of requests' bodies.
    pub bytes: Rate,
}

/// What is left of [`PackageRates`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowance {
    packages: Bucket,
    bytes: Bucket,
}

// === impl Rate ===

impl Rate {
    /// `count` within a second.
    pub const fn per_second(count: u64) -> Self {
        Self { count, period: Duration::from_secs(1) }
    }

    /// `count` within a minute.
    pub const fn per_minute(count: u64) -> Self {
        Self { count, period: Duration::from_secs(60) }
    }

    /// How long it takes until so much has come back.
    fn time_of(&self, count: u64) -> Duration {
        let nanos = self.period.as_nanos().saturating_mul(count.into()) / u128::from(self.count.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

// === impl Bucket ===

impl Bucket {
    /// How long nothing may be taken; nothing if something may be.
    pub fn wait(&self, now: Instant, rate: &Rate) -> Duration {
        // At the end of this wait there is one in the bucket.
        (self.missing(now) + rate.time_of(1)).saturating_sub(rate.period)
    }

    /// Takes `count`, or says how long nothing may be taken.
    pub fn take(&mut self, now: Instant, rate: &Rate, count: u64) -> Result<(), Duration> {
        match self.wait(now, rate) {
            Duration::ZERO => {
                self.charge(now, rate, count);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// Takes `count`, whether there is as much or not.
    pub fn charge(&mut self, now: Instant, rate: &Rate, count: u64) {
        let since = self.full_at.map_or(now, |full_at| full_at.max(now));
        // Beyond the clock's range: full in an age is as good as never.
        self.full_at = since.checked_add(rate.time_of(count)).or(self.full_at);
    }

    /// Whether it is as good as a new one.
    pub fn is_full(&self, now: Instant) -> bool {
        self.missing(now).is_zero()
    }

    fn missing(&self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now))
    }
}

// === impl Allowance ===

impl Allowance {
    /// How long no package may come.
    pub fn wait(&self, now: Instant, rates: &PackageRates) -> Duration {
        self.packages.wait(now, &rates.packages).max(self.bytes.wait(now, &rates.bytes))
    }

    /// Takes one package of so many bytes, or says how long none may come.
    pub fn take(&mut self, now: Instant, rates: &PackageRates, num_bytes: u64) -> Result<(), Duration> {
        match self.wait(now, rates) {
            Duration::ZERO => {
                self.packages.charge(now, &rates.packages, 1);
                self.bytes.charge(now, &rates.bytes, num_bytes);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// Takes bytes of what was let in before its length was known.
    pub fn charge_bytes(&mut self, now: Instant, rates: &PackageRates, num_bytes: u64) {
        self.bytes.charge(now, &rates.bytes, num_bytes);
    }

    /// Whether it is as good as a new one.
    pub fn is_full(&self, now: Instant) -> bool {
        self.packages.is_full(now) && self.bytes.is_full(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn test_a_bucket_gives_its_rate_at_once_and_then_one_by_one() {
        let (now, rate, mut bucket) = (Instant::now(), Rate::per_second(10), Bucket::default());
        for _ in 0..10 {
            assert_eq!(bucket.take(now, &rate, 1), Ok(()));
        }
        assert_eq!(bucket.take(now, &rate, 1), Err(100 * MS));
        assert_eq!(bucket.take(now + 99 * MS, &rate, 1), Err(MS));
        assert_eq!(bucket.take(now + 100 * MS, &rate, 1), Ok(()));
        assert_eq!(bucket.take(now + 100 * MS, &rate, 1), Err(100 * MS));
    }

    #[test]
    fn test_what_is_larger_than_the_rate_passes_and_is_waited_for_afterwards() {
        let (now, rate, mut bucket) = (Instant::now(), Rate::per_second(1000), Bucket::default());
        assert_eq!(bucket.take(now, &rate, 5000), Ok(()));
        assert_eq!(bucket.wait(now, &rate), 4001 * MS);
        assert!(!bucket.is_full(now + 4999 * MS));
        assert!(bucket.is_full(now + 5000 * MS));
    }

    #[test]
    fn test_numbers_without_sense_do_no_harm() {
        let (now, rate, mut bucket) = (Instant::now(), Rate::per_second(0), Bucket::default());
        for count in [u64::MAX, 1, u64::MAX] {
            bucket.charge(now, &rate, count);
        }
        assert!(bucket.take(now, &rate, 1).is_err());
    }

    #[test]
    fn test_a_package_that_is_refused_takes_from_neither_bucket() {
        let rates = PackageRates { packages: Rate::per_second(100), bytes: Rate::per_second(10) };
        let (now, mut allowance) = (Instant::now(), Allowance::default());
        assert_eq!(allowance.take(now, &rates, 20), Ok(()));
        let before = allowance.packages.full_at;
        assert!(allowance.take(now, &rates, 20).is_err());
        assert_eq!(allowance.packages.full_at, before);
        assert!(allowance.is_full(now + 2000 * MS));
    }

    proptest! {
        #[test]
        fn test_no_more_passes_than_the_rate_and_what_may_come_at_once(
            count in 1u64..1000,
            steps in proptest::collection::vec((0u64..300, 1u64..50), 1..200),
        ) {
            let (rate, mut bucket) = (Rate::per_second(count), Bucket::default());
            let start = Instant::now();
            let (mut now, mut passed, mut largest) = (start, 0, 0);
            for (pause_ms, asked) in steps {
                now += Duration::from_millis(pause_ms);
                if bucket.take(now, &rate, asked).is_ok() {
                    passed += asked;
                    largest = largest.max(asked);
                }
                let allowed = count as f64 * (1.0 + (now - start).as_secs_f64()) + largest as f64;
                prop_assert!(passed as f64 <= allowed + 1.0, "{passed} of {allowed}");
            }
        }
    }
}
