use super::*;

const DAY: Duration = Duration::from_secs(86_400);
const BUILT_MS: u64 = 1_790_000_000_000;
const NOW_MS: u64 = 1_795_000_000_000;

fn reading(unix_ms: u64, at: Instant) -> Reading {
    Reading { unix_ms, at }
}

fn alone(at: Instant) -> Evidence {
    Evidence::new(BUILT_MS, reading(NOW_MS, at), &[])
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[test]
fn test_no_time_before_the_build_is_believed() {
    let at = Instant::now();
    for wall_ms in [0, BUILT_MS - ms(MAX_DIFFERENCE) - 1] {
        // Whatever others say: no server lived before the program either.
        let evidence = alone(at).with_testimony(Witness::Database, Some(reading(wall_ms, at)));
        assert!(matches!(evidence.doubt(wall_ms, at), Some(Doubt::BeforeBuild { .. })), "{wall_ms}");
        assert_eq!(evidence.trust(wall_ms, at), Trust::Wrong);
    }
    let evidence = Evidence::new(BUILT_MS, reading(BUILT_MS - 1000, at), &[]);
    assert_eq!(evidence.trust(BUILT_MS - 1000, at), Trust::Sound, "who built it may have been a little ahead");
}

#[test]
fn test_a_clock_far_from_the_only_other_one_is_wrong_until_it_is_set_right() {
    let at = Instant::now();
    for witness in [Witness::Database, Witness::Broker] {
        let evidence = alone(at).with_testimony(witness, Some(reading(NOW_MS, at)));
        let later = at + DAY;
        let right_ms = NOW_MS + ms(DAY);
        assert_eq!(evidence.trust(right_ms, later), Trust::Sound, "the reading goes on with the monotonic clock");
        let behind = Offset::Behind(Duration::from_secs(26 * 3600));
        assert_eq!(evidence.doubt(right_ms - 26 * 3_600_000, later), Some(Doubt::Apart(witness, behind)));
        assert_eq!(evidence.trust(right_ms + ms(MAX_DIFFERENCE) + 1, later), Trust::Wrong);
        assert_eq!(evidence.trust(right_ms + ms(MAX_DIFFERENCE), later), Trust::Sound);
    }
}

#[test]
fn test_one_server_with_a_wrong_clock_does_not_stop_the_engine() {
    let at = Instant::now();
    let evidence = alone(at)
        .with_testimony(Witness::Database, Some(reading(NOW_MS + ms(DAY), at)))
        .with_testimony(Witness::Broker, Some(reading(NOW_MS, at)));
    assert_eq!(evidence.doubt(NOW_MS, at), Some(Doubt::Disputed(Witness::Database, Offset::Behind(DAY))));
    assert_eq!(evidence.trust(NOW_MS, at), Trust::Doubtful);
    assert_eq!(evidence.trust(NOW_MS + ms(3 * DAY), at), Trust::Wrong, "far from both");
}

#[test]
fn test_the_log_is_a_hint_and_servers_outweigh_it() {
    let at = Instant::now();
    let evidence = alone(at).with_newest_logged(Some(NOW_MS + ms(DAY)));
    assert_eq!(evidence.doubt(NOW_MS, at), Some(Doubt::BehindLog { by: DAY }));
    assert_eq!(evidence.trust(NOW_MS, at), Trust::Doubtful, "one run with a fast clock stops no later one");
    let evidence = evidence.with_testimony(Witness::Broker, Some(reading(NOW_MS, at)));
    assert_eq!(evidence.trust(NOW_MS, at), Trust::Sound);
}

#[test]
fn test_a_clock_that_was_set_is_doubtful_for_a_while_if_nobody_else_tells_the_time() {
    let at = Instant::now();
    let second = at + Duration::from_secs(1);
    let set_ms = NOW_MS + ms(2 * DAY);
    assert!(matches!(alone(at).doubt(set_ms, second), Some(Doubt::Jumped(_))), "before anybody has looked");
    let (evidence, jump) = alone(at).with_own(reading(set_ms + 1000, second));
    assert_eq!(jump, Some(Offset::Ahead(2 * DAY)));
    assert_eq!(evidence.trust(set_ms + 1000, second), Trust::Doubtful);
    let mut evidence = evidence;
    for hour in 1..=2u64 {
        let now = second + Duration::from_secs(3600 * hour);
        let (looked, jump) = evidence.with_own(reading(set_ms + 1000 + 3_600_000 * hour, now));
        assert_eq!(jump, None);
        evidence = looked;
    }
    let now = second + Duration::from_secs(7200);
    assert_eq!(evidence.trust(set_ms + 7_201_000, now), Trust::Sound);
    let (_, jump) = alone(at).with_own(reading(NOW_MS + 20_000, second));
    assert_eq!(jump, None, "a clock that is kept right moves by seconds");
}

#[test]
fn test_nobody_is_refused_before_the_witness_was_asked() {
    let at = Instant::now();
    let evidence = Evidence::new(BUILT_MS, reading(NOW_MS, at), &[Witness::Database]);
    assert_eq!(evidence.doubt(NOW_MS, at), Some(Doubt::Unasked));
    assert!(Doubt::Unasked.condition().is_none());
    let silent = evidence.with_testimony(Witness::Database, None);
    assert_eq!(silent.trust(NOW_MS, at), Trust::Sound, "a server that does not tell the time is none to wait for");
}

#[test]
fn test_only_a_wrong_clock_refuses_intake() {
    let doubts = [
        Doubt::BeforeBuild { by: DAY },
        Doubt::Apart(Witness::Database, Offset::Ahead(DAY)),
        Doubt::Disputed(Witness::Broker, Offset::Behind(DAY)),
        Doubt::Jumped(Offset::Ahead(DAY)),
        Doubt::BehindLog { by: DAY },
    ];
    for doubt in doubts {
        let condition = doubt.condition().unwrap();
        assert_eq!(condition.refuses_intake, doubt.trust() == Trust::Wrong, "{condition}");
    }
    let detail = Doubt::Apart(Witness::Database, Offset::Behind(DAY + Duration::from_secs(7200))).condition().unwrap();
    assert!(detail.detail.contains("1day 2h behind the database's"), "{}", detail.detail);
}

#[test]
fn test_the_median_does_not_hear_one_clock_that_is_far_off() {
    assert_eq!(median(vec![]), None);
    assert_eq!(median(vec![7]), Some(7));
    assert_eq!(median(vec![u64::MAX, 100, 101]), Some(101));
    assert_eq!(median(vec![0, 100, 101]), Some(100));
}
