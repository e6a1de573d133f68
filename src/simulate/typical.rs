//! What fields of these names usually hold. Names that are not here get any value of their declared range.

use std::fmt::Write;

/// The usual lowest and highest value of a number.
pub(super) fn range(name: &str) -> Option<(f64, f64)> {
    Some(match name {
        "altitude" => (20.0, 600.0),
        "hdop" => (0.6, 2.5),
        "satellites" => (6.0, 15.0),
        "rpm" => (650.0, 2600.0),
        "coolant_temperature" => (78.0, 98.0),
        "oil_pressure" => (180.0, 460.0),
        "engine_load" => (8.0, 85.0),
        "fuel_level" => (6.0, 98.0),
        "fuel_used" => (1e6, 9e8),
        "running_time" | "uptime" => (1e4, 3e7),
        "voltage" => (12.1, 14.5),
        "battery_voltage" => (3500.0, 4180.0),
        "external_voltage" => (11_800.0, 14_400.0),
        "temperature" => (5.0, 45.0),
        "signal" => (-112.0, -58.0),
        "queued_messages" => (0.0, 40.0),
        "free_storage" => (4e5, 8e6),
        "severity" => (1.0, 4.0),
        "duration" => (150.0, 2500.0),
        "speed_after" => (0.0, 60.0),
        "sample_rate" => (50.0, 101.0),
        "x" | "y" => (-7.0, 7.0),
        "z" => (8.0, 11.5),
        _ => return None,
    })
}

/// Whether a flag of this name is usually set.
pub(super) fn is_usual(name: &str) -> bool {
    matches!(name, "ignition" | "charging")
}

/// The usual largest number of items of an array.
pub(super) fn max_items(name: &str, otherwise: u32) -> u32 {
    if name == "trouble_codes" { 2 } else { otherwise }
}

/// Appends a text in ASCII, the same for the same device.
pub(super) fn write_text(name: &str, device: usize, out: &mut String) {
    // Writing into a `String` cannot fail.
    let _ = match name {
        "driver" => write!(out, "card-{device:05}"),
        "firmware" => write!(out, "4.{}.{}", device % 7, device % 13),
        _ => write!(out, "P0{:03}", device % 500),
    };
}
