//! From the config to what the gate decides by.

use crate::actors::gate::GateSettings;
use crate::config::{self, GateLimiter};
use crate::flow::limiter::{AdaptiveSettings, FixedSettings, LimiterSettings};
use crate::flow::pause::PauseSettings;

pub(super) fn settings(config: &config::Gate) -> GateSettings {
    let max_writes = |usual: u32| config.max_writes.map_or(usual, |most| most.get() as u32);
    let limiter = match config.limiter {
        GateLimiter::Adaptive => {
            let usual = AdaptiveSettings::default();
            LimiterSettings::Adaptive(AdaptiveSettings { max: max_writes(usual.max), ..usual })
        }
        GateLimiter::Fixed => LimiterSettings::Fixed(FixedSettings {
            max_writes: max_writes(FixedSettings::default().max_writes),
            max_latency: config.max_latency,
            look_again: config.look_again,
            resume_below: config.resume_percent.get() as f64 / 100.0,
        }),
    };
    let pause = PauseSettings {
        high: config.stop_reading_above,
        low: config.read_again_below,
        pause_after: config.pause_after,
        min_dwell: config.min_dwell,
    };
    GateSettings { limiter, pause }
}
