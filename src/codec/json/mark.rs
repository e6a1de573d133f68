//! The byte order mark that some programs begin UTF-8 with. It says nothing, and is no part of JSON.

const MARK: &[u8] = b"\xef\xbb\xbf";

/// How many of a body's first bytes are a mark; `None` while too few are there to tell. `is_last` says that nothing
/// follows `bytes`.
pub(super) fn mark_len(bytes: &[u8], is_last: bool) -> Option<usize> {
    if bytes.starts_with(MARK) {
        return Some(MARK.len());
    }
    let may_become_one = MARK.starts_with(bytes) && !is_last;
    if may_become_one { None } else { Some(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_mark_is_waited_for_and_only_a_whole_one_is_one() {
        assert_eq!(mark_len(b"\xef\xbb\xbf{}", false), Some(3));
        assert_eq!(mark_len(b"\xef\xbb\xbf", true), Some(3));
        for start in [&b""[..], b"\xef", b"\xef\xbb"] {
            assert_eq!((mark_len(start, false), mark_len(start, true)), (None, Some(0)));
        }
        for other in [&b"{"[..], b"\xef\xbb{", b"\xff\xfe{"] {
            assert_eq!(mark_len(other, false), Some(0));
        }
    }
}
