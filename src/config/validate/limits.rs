//! The rules of the section of limits.

use super::super::checks::Section;
use super::super::limits::Limits;
use super::super::raw_limits::RawLimits;
use super::super::units::{GIB, KIB, MIB};
use super::{minutes, seconds};

pub(super) fn limits(section: &mut Section<'_, '_>, raw: &RawLimits) -> Limits {
    Limits {
        device_packages: section.non_zero("device_packages", &raw.device_packages, 1_000_000),
        device_bytes: section.size("device_bytes", &raw.device_bytes, KIB..=GIB),
        http_requests: section.non_zero("http_requests", &raw.http_requests, 1_000_000),
        http_bytes: section.size("http_bytes", &raw.http_bytes, KIB..=64 * GIB),
        address_packages: section.non_zero("address_packages", &raw.address_packages, 100_000_000),
        address_bytes: section.size("address_bytes", &raw.address_bytes, KIB..=64 * GIB),
        address_connections: section.capacity("address_connections", &raw.address_connections, 1_000_000),
        failed_attempts: section.non_zero("failed_attempts", &raw.failed_attempts, 1_000_000),
        remembered_addresses: section.capacity("remembered_addresses", &raw.remembered_addresses, 1_000_000),
        frame_grace: section.duration("frame_grace", &raw.frame_grace, seconds(1)..=minutes(10)),
        frame_rate: section.size("frame_rate", &raw.frame_rate, 1..=MIB),
        frame_buffers: section.size("frame_buffers", &raw.frame_buffers, 64 * KIB..=16 * GIB),
    }
}
