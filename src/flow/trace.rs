//! What a request says of the trace that it belongs to, as W3C's Trace Context has it: read, and carried along unchanged.

use std::sync::Arc;

/// The header that names the trace and the caller's span; records have it under the same name.
pub const TRACEPARENT: &str = "traceparent";

/// The header with what tracing systems of the caller say beside it.
pub const TRACESTATE: &str = "tracestate";

/// Bytes of a `traceparent` of version 00: a valid one has no fewer.
pub const PARENT_LEN: usize = 55;

/// The longest `tracestate` that is carried along, in bytes: what everybody has to carry by the specification.
const MAX_STATE: usize = 512;

/// The trace of a request. What the request brought shares it.
pub type Trace = Arc<TraceContext>;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    parent: String,
    state: String,
}

// === impl TraceContext ===

impl TraceContext {
    /// Reads the values of both headers. `None` without a `traceparent`, with several, or with one that is not valid: it
    /// is as if there was none then. A `tracestate` that is too long, or has other than printable characters of ASCII, is
    /// left out; several are one list.
    pub fn read<'a>(
        parents: impl IntoIterator<Item = &'a [u8]>,
        states: impl IntoIterator<Item = &'a [u8]>,
    ) -> Option<Self> {
        let mut parents = parents.into_iter();
        let (Some(parent), None) = (parents.next(), parents.next()) else { return None };
        let parent = parent_of(std::str::from_utf8(parent).ok()?.trim())?;
        let mut state = String::new();
        for item in states {
            let item = std::str::from_utf8(item).unwrap_or("\0").trim();
            let separator = if state.is_empty() || item.is_empty() { "" } else { "," };
            let is_printable = item.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            if !is_printable || state.len() + separator.len() + item.len() > MAX_STATE {
                return Some(Self { parent, state: String::new() });
            }
            state.push_str(separator);
            state.push_str(item);
        }
        Some(Self { parent, state })
    }

    /// The `traceparent`.
    pub fn parent(&self) -> &str {
        &self.parent
    }

    /// The headers, by name.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let state = (!self.state.is_empty()).then_some((TRACESTATE, self.state.as_str()));
        std::iter::once((TRACEPARENT, self.parent.as_str())).chain(state)
    }
}

/// The `traceparent` in version 00. A later version has the same fields in the same places, and perhaps more behind them.
fn parent_of(text: &str) -> Option<String> {
    let (fields, rest) = text.split_at_checked(PARENT_LEN)?;
    let mut parts = fields.split('-');
    let [version, trace_id, parent_id, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let is_hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_set = |part: &str| part.bytes().any(|digit| digit != b'0');
    let has_form = is_hex(version, 2) && is_hex(trace_id, 32) && is_hex(parent_id, 16) && is_hex(flags, 2);
    let ends_well = if version == "00" { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
    let is_valid = has_form && ends_well && version != "ff" && is_set(trace_id) && is_set(parent_id);
    is_valid.then(|| format!("00-{trace_id}-{parent_id}-{flags}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(parents: &[&str], states: &[&str]) -> Option<Vec<(&'static str, String)>> {
        let bytes = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
        let (parents, states) = (bytes(parents), bytes(states));
        let trace = TraceContext::read(parents.iter().map(Vec::as_slice), states.iter().map(Vec::as_slice))?;
        Some(trace.headers().map(|(name, value)| (name, value.to_owned())).collect())
    }

    #[test]
    fn test_a_valid_parent_is_carried_along() {
        assert_eq!(read(&[PARENT], &[]), Some(vec![(TRACEPARENT, PARENT.to_owned())]));
        let state = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";
        let both = Some(vec![(TRACEPARENT, PARENT.to_owned()), (TRACESTATE, state.to_owned())]);
        assert_eq!(read(&[PARENT], &[state]), both);
        assert_eq!(read(&[PARENT], &["congo=t61rcWkgMzE", "", "rojo=00f067aa0ba902b7"]), both);
        // Later versions are read as far as they are known.
        let later = PARENT.replacen("00", "cc", 1);
        for later in [later.clone(), format!("{later}-what-may-come")] {
            assert_eq!(read(&[&later], &[]), Some(vec![(TRACEPARENT, PARENT.to_owned())]), "{later}");
        }
    }

    #[test]
    fn test_a_parent_that_is_not_valid_is_as_none() {
        let wrong = [
            "".to_owned(),
            PARENT[..54].to_owned(),
            format!("{PARENT}-00"),
            PARENT.replacen("00", "ff", 1),
            format!("{}.x", PARENT.replacen("00", "cc", 1)),
            PARENT.to_uppercase(),
            PARENT.replace('-', "_"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01".to_owned(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01".to_owned(),
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01".to_owned(),
            "ä".repeat(30),
        ];
        for wrong in &wrong {
            assert_eq!(read(&[wrong], &["a=b"]), None, "{wrong}");
        }
        assert_eq!(read(&[], &["a=b"]), None);
        assert_eq!(read(&[PARENT, PARENT], &[]), None);
    }

    #[test]
    fn test_a_state_that_is_too_much_is_left_out() {
        let bare = Some(vec![(TRACEPARENT, PARENT.to_owned())]);
        let long = format!("a={}", "x".repeat(MAX_STATE - 2));
        assert_eq!(read(&[PARENT], &[&long]).unwrap().len(), 2);
        for states in [&[&*long, "b=c"][..], &[&format!("{long}x")], &["a=\u{7}"], &["a=ä"]] {
            assert_eq!(read(&[PARENT], states), bare, "{states:?}");
        }
    }

    proptest! {
        #[test]
        fn test_whatever_comes_what_is_carried_along_is_bounded(parent in "[0-9a-f\\-]{0,80}|\\PC{0,60}", state in "\\PC{0,700}") {
            if let Some(headers) = read(&[&parent], &[&state]) {
                prop_assert_eq!(headers[0].1.len(), PARENT_LEN);
                prop_assert!(headers.iter().skip(1).all(|(_, state)| state.len() <= MAX_STATE && state.is_ascii()));
            }
        }
    }
}
