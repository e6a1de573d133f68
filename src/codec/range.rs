//! The declared range of a number with a fraction, as plans keep it: two bounds that may both be absent.

use std::ops::RangeInclusive;

/// The bounds of a range. Bounds that are not numbers stand for no range, see [`is_valid`].
pub(crate) fn bounds(range: &Option<RangeInclusive<f64>>) -> (f64, f64) {
    range.as_ref().map_or((f64::NAN, f64::NAN), |range| (*range.start(), *range.end()))
}

/// Whether a float is in range. A bound that is not a number means that no range is declared.
#[inline]
pub(crate) fn is_valid(value: f64, min: f64, max: f64) -> bool {
    min.is_nan() || (min..=max).contains(&value)
}
