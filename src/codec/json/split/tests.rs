//! Where bodies are cut, however they arrive.

use proptest::prelude::*;

use super::*;

/// Feeds a body in pieces; the events, and how it ended.
fn split(framing: Framing, body: &[u8], piece: usize, max_event: usize) -> (Vec<String>, Split) {
    let mut splitter = Splitter::new(framing, max_event);
    let (mut held, mut fed) = (Vec::new(), 0);
    let mut events = Vec::new();
    loop {
        let (num_consumed, split) = splitter.next(&held, fed == body.len());
        match split {
            Split::Event { range, line } => {
                events.push(format!("{line}:{}", String::from_utf8_lossy(&held[range])));
            }
            Split::TooLarge { line } => events.push(format!("{line}:too large")),
            Split::More => {
                assert!(fed < body.len(), "all of it was fed: {events:?}");
                assert!(held.len() - num_consumed <= max_event + piece, "no more than an event is in hand");
                held.drain(..num_consumed);
                let end = body.len().min(fed + piece);
                held.extend_from_slice(&body[fed..end]);
                fed = end;
                continue;
            }
            Split::End | Split::Broken { .. } => return (events, split),
        }
        held.drain(..num_consumed);
    }
}

#[test]
fn test_lines_are_events_however_they_arrive() {
    let body = b"{\"a\":1}\r\n\n  \n{\"b\":2}\nnot json\n{\"c\":\"a very long line indeed\"}\n{\"d\":4}";
    for piece in 1..body.len() {
        let (events, end) = split(Framing::Lines, body, piece, 16);
        assert_eq!(events, ["1:{\"a\":1}\r", "4:{\"b\":2}", "5:not json", "6:too large", "7:{\"d\":4}"], "{piece}");
        assert_eq!(end, Split::End);
    }
}

#[test]
fn test_items_of_an_array_are_events_however_they_arrive() {
    let body =
        b" [ {\"a\":\"x]},\\\"\"} ,\n[1,[2]],3\n, \"s,\\\\\" ,{\"b\":\n\"much longer than allowed is this\"},{}] \n";
    for piece in 1..body.len() {
        let (events, end) = split(Framing::Json, body, piece, 20);
        let expected = ["1:{\"a\":\"x]},\\\"\"}", "2:[1,[2]]", "2:3", "3:\"s,\\\\\"", "3:too large", "4:{}"];
        assert_eq!(events, expected, "{piece}");
        assert_eq!(end, Split::End);
    }
    assert_eq!(split(Framing::Json, b"[]", 1, 9), (vec![], Split::End));
}

#[test]
fn test_an_object_is_one_event() {
    for piece in 1..9 {
        let (events, end) = split(Framing::Json, b"\n {\"a\":{}}\n", piece, 20);
        assert_eq!((events, end), (vec!["2:{\"a\":{}}".to_owned()], Split::End));
    }
}

#[test]
fn test_a_byte_order_mark_is_passed_over() {
    for (framing, body) in [(Framing::Lines, "\u{feff}{}\n[]"), (Framing::Json, "\u{feff}[{}\n,[]]")] {
        for piece in 1..9 {
            let expected = vec!["1:{}".to_owned(), "2:[]".to_owned()];
            assert_eq!(split(framing, body.as_bytes(), piece, 20), (expected, Split::End), "{framing:?} {piece}");
        }
    }
}

#[test]
fn test_what_cannot_be_cut_is_broken_where_it_breaks() {
    let cases: [(&[u8], usize, u64); 9] = [
        (b"", 0, 1),
        (b"\n7", 0, 2),
        (b"{\"a\":1", 0, 1),
        (b"{}\n{}", 1, 2),
        (b"[{},\n]", 1, 2),
        (b"[,{}]", 0, 1),
        (b"[{}\n{}]", 1, 2),
        (b"[{}", 1, 1),
        (b"[{}]]", 1, 1),
    ];
    for (body, num_events, expected) in cases {
        for piece in 1..9 {
            let (events, end) = split(Framing::Json, body, piece, 20);
            assert_eq!(events.len(), num_events, "{body:?}");
            assert!(matches!(end, Split::Broken { line, .. } if line == expected), "{body:?}: {end:?}");
        }
    }
}

proptest! {
    #[test]
    fn test_arbitrary_bytes_end_somewhere(
        body in prop::collection::vec(prop::sample::select(b"{}[],:\"\\ \na1".to_vec()), 0..60),
        piece in 1usize..20,
    ) {
        for framing in [Framing::Json, Framing::Lines] {
            let whole = split(framing, &body, usize::MAX / 4, 12);
            prop_assert_eq!(split(framing, &body, piece, 12), whole);
        }
    }
}
