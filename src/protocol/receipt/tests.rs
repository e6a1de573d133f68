use super::*;

fn decode(bytes: &[u8]) -> Result<Receipt, FrameError> {
    Receipt::decode(&mut Bytes::copy_from_slice(bytes))
}

fn receipt(status: u8, reason: u8, delay: u32, num_messages: u16, exceptions: &[(u16, u8, u8)]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 7, status, reason];
    bytes.put_u32(delay);
    bytes.put_u16(num_messages);
    bytes.put_u16(exceptions.len() as u16);
    for (index, status, reason) in exceptions {
        bytes.put_u16(*index);
        bytes.put_slice(&[*status, *reason]);
    }
    bytes
}

#[test]
fn test_receipt_default_is_retry_later() {
    let builder = ReceiptBuilder::new(7, 3);
    assert_eq!(builder.build(1500), Receipt::retry_later(7, 1500));

    let mut builder = ReceiptBuilder::new(7, 3);
    builder.set(1, Outcome::Accepted);
    let outcomes: Vec<_> = builder.build(1500).outcomes(3).unwrap().collect();
    assert_eq!(outcomes, [Outcome::RetryLater, Outcome::Accepted, Outcome::RetryLater]);
}

#[test]
fn test_receipt_lists_only_what_is_not_accepted() {
    let mut builder = ReceiptBuilder::new(7, 4);
    for index in 0..4 {
        builder.set(index, Outcome::Accepted);
    }
    builder.set(2, Outcome::Rejected(RejectReason::OutOfRange));
    builder.set(9, Outcome::Accepted);
    let expected = Verdict::PerMessage {
        num_messages: 4,
        exceptions: vec![Exception { index: 2, outcome: Outcome::Rejected(RejectReason::OutOfRange) }],
        retry_after_ms: 0,
    };
    assert_eq!(builder.build(1500), Receipt { package_id: 7, verdict: expected });
}

#[test]
fn test_receipt_duplicate_shares_the_fate_of_its_first() {
    let rejected = Outcome::Rejected(RejectReason::Undecodable);
    for (first, expected) in
        [(Outcome::Accepted, Outcome::Duplicate), (Outcome::RetryLater, Outcome::RetryLater), (rejected, rejected)]
    {
        let mut builder = ReceiptBuilder::new(7, 2);
        builder.set_duplicate(1, 0);
        builder.set(0, first);
        assert_eq!(builder.outcome(1), expected);
    }
    let mut chained = ReceiptBuilder::new(7, 2);
    chained.set_duplicate(1, 0);
    chained.set_duplicate(0, 1);
    assert_eq!(chained.outcome(1), Outcome::RetryLater);
}

#[test]
fn test_receipt_empty_package_is_accepted() {
    let receipt = ReceiptBuilder::new(7, 0).build(1500);
    assert_eq!(receipt.outcomes(0).unwrap().count(), 0);
    assert_eq!(receipt.retry_after_ms(), 0);
}

#[test]
fn test_receipt_for_another_number_of_messages_has_no_outcomes() {
    let receipt = decode(&receipt(0, 0, 0, 3, &[])).unwrap();
    assert!(receipt.outcomes(3).is_some());
    assert!(receipt.outcomes(4).is_none());
    // A receipt for the whole package needs no count.
    assert!(Receipt::retry_later(7, 1).outcomes(4).unwrap().all(|outcome| outcome == Outcome::RetryLater));
}

#[test]
fn test_receipt_that_contradicts_itself_is_refused() {
    let cases: [(Vec<u8>, ReceiptError); 16] = [
        (receipt(3, 0, 0, 0, &[]), ReceiptError::UnknownStatus(3)),
        (receipt(0, 1, 0, 1, &[]), ReceiptError::Reason { status: 0, reason: 1 }),
        (receipt(1, 0, 0, 0, &[]), ReceiptError::Reason { status: 1, reason: 0 }),
        (receipt(2, 1, 0, 0, &[]), ReceiptError::Reason { status: 2, reason: 1 }),
        (receipt(0, 0, 5, 1, &[]), ReceiptError::Delay(5)),
        (receipt(1, 16, 5, 0, &[]), ReceiptError::Delay(5)),
        (receipt(1, 16, 0, 1, &[]), ReceiptError::Counts { num_messages: 1, num_exceptions: 0 }),
        (receipt(2, 0, 5, 1, &[]), ReceiptError::Counts { num_messages: 1, num_exceptions: 0 }),
        (receipt(0, 0, 0, 1, &[(0, 1, 0), (1, 1, 0)]), ReceiptError::Counts { num_messages: 1, num_exceptions: 2 }),
        (receipt(0, 0, 0, 2, &[(2, 1, 0)]), ReceiptError::Index(2)),
        (receipt(0, 0, 0, 2, &[(1, 1, 0), (0, 1, 0)]), ReceiptError::Index(0)),
        (receipt(0, 0, 0, 2, &[(1, 1, 0), (1, 1, 0)]), ReceiptError::Index(1)),
        (receipt(0, 0, 0, 2, &[(0, 0, 0)]), ReceiptError::UnknownStatus(0)),
        (receipt(0, 0, 0, 2, &[(0, 1, 1)]), ReceiptError::Reason { status: 1, reason: 1 }),
        (receipt(0, 0, 0, 2, &[(0, 2, 0)]), ReceiptError::Reason { status: 2, reason: 0 }),
        (receipt(0, 0, 9, 2, &[(0, 3, 1)]), ReceiptError::Reason { status: 3, reason: 1 }),
    ];
    for (bytes, expected) in cases {
        assert_eq!(decode(&bytes), Err(FrameError::BadReceipt(expected)));
    }
}

#[test]
fn test_receipt_claiming_more_exceptions_than_bytes_is_truncated() {
    let mut bytes = receipt(0, 0, 0, u16::MAX, &[]);
    let counts = bytes.len() - 2;
    bytes[counts..].copy_from_slice(&u16::MAX.to_be_bytes());
    assert_eq!(decode(&bytes), Err(FrameError::Truncated));
}

#[test]
fn test_receipt_unknown_reason_reads_as_other() {
    let receipt = decode(&receipt(0, 0, 0, 1, &[(0, 2, 99)])).unwrap();
    assert_eq!(receipt.outcomes(1).unwrap().next(), Some(Outcome::Rejected(RejectReason::Other)));
}
