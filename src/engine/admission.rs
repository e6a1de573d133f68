//! From the config to what admission control decides by.

use crate::config::Limits;
use crate::flow::addresses::AddressLimits;
use crate::flow::pace::Pace;
use crate::flow::rate::{PackageRates, Rate};
use crate::intake::admission::AdmissionLimits;

pub(super) fn limits(config: &Limits) -> AdmissionLimits {
    AdmissionLimits {
        address: AddressLimits {
            connections: config.address_connections.get(),
            rates: PackageRates {
                packages: Rate::per_second(config.address_packages.get().into()),
                bytes: Rate::per_second(config.address_bytes),
            },
            failed_attempts: Rate::per_minute(config.failed_attempts.get().into()),
            remembered: config.remembered_addresses.get(),
        },
        device_rates: PackageRates {
            packages: Rate::per_second(config.device_packages.get().into()),
            bytes: Rate::per_second(config.device_bytes),
        },
        http_rates: PackageRates {
            packages: Rate::per_second(config.http_requests.get().into()),
            bytes: Rate::per_second(config.http_bytes),
        },
        pace: Pace { grace: config.frame_grace, bytes_per_second: config.frame_rate },
        frame_buffers: config.frame_buffers,
    }
}
