//! Tests of the whole way, from text to checked types: error texts are compared whole, since they are the interface.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::loader::load_text;
use super::schema::Schema;
use super::*;
use crate::log::{OnGap, Start};
use crate::routes::Format;
use crate::routes::{NullRule, Source, TimestampSpec, TombstoneRule, TtlSpec};

const SHIPPED: &str = include_str!("../../config/surgetank.toml");

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let loaded = load_text("x.toml", text, Path::new("dir"), &variables);
    loaded.map(|loaded| loaded.config).map_err(|errors| errors.to_string())
}

/// Every key with its default, `devices.listen` and the like, topics by the default one.
fn keys() -> Vec<String> {
    fn collect(path: &str, value: &serde_json::Value, keys: &mut Vec<String>) {
        match value.as_object() {
            Some(table) => table.iter().for_each(|(name, value)| {
                collect(&if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, value, keys);
            }),
            None => keys.push(path.to_owned()),
        }
    }
    let mut keys = Vec::new();
    collect("", Schema::new().unwrap().defaults(), &mut keys);
    keys
}

#[test]
fn the_shipped_file_equals_the_defaults_and_has_every_key() {
    assert_eq!(load(SHIPPED, &[]), Ok(Config::default()));
    assert_eq!(load("", &[]), Ok(Config::default()));
    let file: serde_json::Value = toml::from_str(SHIPPED).unwrap();
    assert_eq!(&file, Schema::new().unwrap().defaults());
}

#[test]
fn every_key_of_the_shipped_file_has_a_comment_with_its_default_and_range() {
    let mut comment = String::new();
    for line in SHIPPED.lines() {
        if line.starts_with('#') {
            comment.push_str(line);
        } else {
            if line.contains(" = ") {
                assert!(comment.contains("Default: "), "{line}");
                assert!(comment.contains("Allowed: ") || comment.contains("Range: "), "{line}");
                assert_eq!(comment.contains("Range: "), comment.contains("Too large: "), "{line}");
            }
            comment.clear();
        }
    }
}

/// A bound of a range as the file or a message writes it: bytes, milliseconds, or a number.
fn bound(text: &str) -> u128 {
    let size = text.parse::<super::units::Size>().map(|size| size.0.into());
    let span = text.parse::<Span>().map(|span| span.0.as_millis());
    size.or(span).ok().or_else(|| text.parse().ok()).unwrap_or_else(|| panic!("{text:?} is no bound"))
}

/// The bounds in `1 KiB to 64 MiB`, or in `0 s, or 1 min to 7300 days`, where 0 has a meaning of its own.
fn bounds(text: &str) -> (bool, u128, u128) {
    let (zero, range) = text.rsplit_once("or ").map_or((None, text), |(zero, range)| (Some(zero), range));
    let (least, most) = range.split_once(" to ").unwrap_or_else(|| panic!("{text:?} is no range"));
    (zero.is_some_and(|zero| zero.starts_with("0 s")), bound(least), bound(most))
}

/// What the checks tell of the values that a key allows.
fn told_range(key: &str) -> String {
    let servers = if key.contains(".embedded.") { "" } else { "log.kind = \"kafka\"\nstore.kind = \"cassandra\"\n" };
    // Where 0 has a meaning of its own, only what is just above it is told both.
    let wrong =
        if ["store.ttl", "reload.look_every", "writer.give_up_after"].contains(&key) { "\"1 ms\"" } else { "1.5" };
    let error = load(&format!("{servers}{key} = {wrong}"), &[]).unwrap_err();
    let (_, allowed) = error.split_once("(allowed: ").unwrap_or_else(|| panic!("{error}"));
    allowed.trim_end_matches(')').to_owned()
}

#[test]
fn the_comments_of_the_shipped_file_tell_the_default_and_the_range_that_are_checked() {
    let (mut section, mut comment, mut num_ranges) = (String::new(), String::new(), 0);
    for line in SHIPPED.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push_str(text);
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((name, value)) = line.split_once(" = ") {
            let key = format!("{section}{name}");
            let (_, default) = comment.split_once("Default: ").unwrap_or_else(|| panic!("{key} tells no default"));
            let rest = default.strip_prefix(value).unwrap_or_else(|| panic!("{key} is not {default:?}"));
            assert!(rest.starts_with(". ") || rest.starts_with(" ("), "{key}: {default}");
            if let Some((_, range)) = comment.split_once("Range: ") {
                let range = range.split_once('.').map_or(range, |(range, _)| range);
                assert_eq!(bounds(range), bounds(&told_range(&key)), "{key}: {range}");
                num_ranges += 1;
            }
        }
        comment.clear();
    }
    assert_eq!(num_ranges, SHIPPED.matches("Range: ").count());
}

#[test]
fn the_file_for_kafka_and_cassandra_is_valid() {
    let config = load(include_str!("../../config/kafka-cassandra.toml"), &[]).unwrap();
    assert!(matches!(config.log.kind, LogKind::Kafka(_)));
    assert!(matches!(config.store.kind, StoreKind::Cassandra(_)));
}

#[test]
fn every_key_is_checked_under_its_own_name() {
    let takes_any_text = [
        "data_dir",
        "credentials.file",
        "devices.tls.certificate",
        "devices.tls.key",
        "devices.tls.client_ca",
        "http.tls.certificate",
        "http.tls.key",
        "ingest.tls.certificate",
        "ingest.tls.key",
        "messages.directory",
        "registry.username",
        "registry.password",
        "registry.tls.ca",
        "registry.tls.certificate",
        "registry.tls.key",
        "log.kafka.group",
        "log.kafka.instance_id",
        "log.kafka.tls.ca",
        "log.kafka.tls.certificate",
        "log.kafka.tls.key",
        "log.kafka.sasl.username",
        "log.kafka.sasl.password",
        "store.cassandra.local_dc",
        "store.cassandra.username",
        "store.cassandra.password",
        "store.cassandra.tls.ca",
        "store.cassandra.tls.certificate",
        "store.cassandra.tls.key",
        "topics.telemetry.types",
    ];
    for key in keys() {
        let text = format!("log.kind = \"kafka\"\nstore.kind = \"cassandra\"\n{key} = 1.5");
        let text = match key.as_str() {
            "log.kind" => "log.kind = 1.5".to_owned(),
            "store.kind" => "store.kind = 1.5".to_owned(),
            key if key.starts_with("log.embedded") => format!("{key} = 1.5"),
            key if key.starts_with("store.embedded") => format!("{key} = 1.5"),
            _ => text,
        };
        let shown = if key.ends_with("password") { "(not shown)" } else { "1.5" };
        let error = load(&text, &[]).unwrap_err();
        assert!(error.contains(&format!(": {key}: {shown} ")) && error.lines().count() == 1, "{key}: {error}");
        if !takes_any_text.contains(&key.as_str()) {
            let variable = format!("SURGETANK__{}", key.to_uppercase().replace('.', "__"));
            let error = load(&text.replace("1.5", "\"\""), &[(&variable, "not it!")]).unwrap_err();
            assert!(error.starts_with(&format!("environment variable {variable}: {key}: ")), "{key}: {error}");
        }
    }
}

#[test]
fn each_rule_tells_where_what_and_what_to_do() {
    let cases = [
        (
            "[devices]\nmax_frame = \"12 parsecs\"",
            r#"x.toml:2: devices.max_frame: "12 parsecs" is not a size; write a number with a unit, such as "1 MiB" (allowed: 1 KiB to 64 MiB)"#,
        ),
        (
            "devices.max_frame = \"1 B\"",
            r#"x.toml:1: devices.max_frame: "1 B" is too small; raise it (allowed: 1 KiB to 64 MiB)"#,
        ),
        (
            "devices.max_messages = 65536",
            "x.toml:1: devices.max_messages: 65536 is too large; lower it (allowed: 1 to 65535)",
        ),
        ("devices.lisen = \"x\"", r#"x.toml:1: devices.lisen: unknown key; did you mean "listen"?"#),
        ("devices.max_writes = 1", "x.toml:1: devices.max_writes: unknown key; it belongs to [gate]"),
        (
            "gate.colour = 1",
            "x.toml:1: gate.colour: unknown key; remove it (known here: fleet, limiter, look_again, max_latency, max_writes, min_dwell, pause_after, read_again_below, resume_percent, stop_reading_above)",
        ),
        ("gate = 5", "x.toml:1: gate: 5 is not a section; write [gate] and keys below it"),
        ("[data_dir]\n", "x.toml:1: data_dir: [data_dir] is a section; write one value"),
        (
            "devices.hello_timeout = \"1 min\"\ndevices.idle_timeout = \"30 s\"",
            r#"x.toml:1: devices.hello_timeout = "1 min" is not less than devices.idle_timeout = "30 s"; lower devices.hello_timeout or raise devices.idle_timeout"#,
        ),
        (
            "gate.read_again_below = \"2 s\"",
            r#"x.toml:1: gate.read_again_below = "2 s" is not less than gate.stop_reading_above = "1 s"; lower gate.read_again_below or raise gate.stop_reading_above"#,
        ),
        (
            "memory.budget = \"32 MiB\"\ndevices.max_package = \"5 MiB\"",
            r#"x.toml:2: devices.max_package = "5 MiB" is more than an eighth of memory.budget = "32 MiB"; lower devices.max_package or raise memory.budget"#,
        ),
        (
            "log.embedded.retention_size = \"30 GiB\"",
            r#"x.toml:1: log.embedded.retention_size = "30 GiB" is more than log.embedded.disk_budget = "20 GiB"; lower log.embedded.retention_size or raise log.embedded.disk_budget"#,
        ),
        (
            "devices.listen = \"0.0.0.0:7400\"",
            r#"x.toml:1: devices.listen: "0.0.0.0:7400" can be reached by others but credentials.file is empty; set credentials.file, bind 127.0.0.1, or set credentials.insecure = true"#,
        ),
        (
            "[topics.\"a b\"]",
            r#"x.toml:1: topics.a b: "a b" is not a topic name; rename it (allowed: 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', but not "." or "..")"#,
        ),
        (
            "[topics.a]\ntypes = [\"gps\"]\n[topics.b]\ntypes = [\"gps\"]",
            r#"x.toml:4: topics.b.types: ["gps"] names "gps", which topics.a has already; leave it to one of them"#,
        ),
        (
            "[topics.dead-letters]",
            r#"x.toml:1: dead_letter.topic = "dead-letters" is the name of topics.dead-letters too; rename one of them"#,
        ),
        (
            "http.listen = \"127.0.0.1:7400\"",
            r#"x.toml:1: http.listen = "127.0.0.1:7400" is the same address as devices.listen = "127.0.0.1:7400"; give one of them another port"#,
        ),
        (
            "ingest.listen = \"127.0.0.1:7401\"",
            r#"x.toml:1: ingest.listen = "127.0.0.1:7401" is the same address as http.listen = "127.0.0.1:7401"; give one of them another port"#,
        ),
        (
            "ingest.max_event = \"1 MiB\"\ningest.max_body = \"64 KiB\"",
            r#"x.toml:1: ingest.max_event = "1 MiB" is more than ingest.max_body = "64 KiB"; lower ingest.max_event or raise ingest.max_body"#,
        ),
        (
            "ingest.piece = \"16 MiB\"",
            r#"x.toml:1: ingest.piece = "16 MiB" is, with ingest.max_event, more than a sixteenth of memory.budget = "256 MiB"; lower ingest.piece or raise memory.budget"#,
        ),
        (
            "ingest.cors_origins = [\"app.example\"]",
            r#"x.toml:1: ingest.cors_origins: ["app.example"] is not a list of origins; write each as a browser does, such as ["https://app.example"] (allowed: scheme://host with or without a port, or ["*"])"#,
        ),
        (
            "logging.level = \"infos\"",
            r#"x.toml:1: logging.level: "infos" is not valid; change it (allowed: off, error, warn, info, debug or trace, and MODULE=LEVEL after commas)"#,
        ),
        (
            "devices.listen = \"0.0.0.0:1\"\ncredentials.file = 5",
            "x.toml:2: credentials.file: 5 is not valid; change it (allowed: a path, or empty)",
        ),
        ("[topics]", "x.toml:1: topics: there is no topic; add one, such as [topics.telemetry]"),
        (
            "[topics.app]\nowned = false\nformat = \"json\"",
            r#"x.toml:2: topics.app.owned: false but the embedded log has no topics of others; set log.kind = "kafka""#,
        ),
        (
            "log.kind = \"kafka\"\n[topics.app]\nowned = false",
            "x.toml:2: topics.app: format is missing; tell how its records are written (allowed: surgetank, json, avro-registry, raw)",
        ),
        (
            "log.kind = \"kafka\"\n[topics.app]\nowned = false\nformat = \"raw\"\ntypes = [\"gps\"]",
            r#"x.toml:5: topics.app.types: ["gps"] is for topics of ours; remove it, or set owned = true"#,
        ),
        (
            "[topics.app]\nstart = \"latest\"",
            r#"x.toml:2: topics.app.start: "latest" is for topics that others fill; remove it, or set owned = false"#,
        ),
        (
            "log.kind = \"kafka\"\n[topics.app]\nowned = false\nformat = \"raw\"\npattern = \"app-.*\"",
            r#"x.toml:5: topics.app.pattern: "app-.*" is no pattern: it does not begin with ^; change it (allowed: a regular expression that begins with ^)"#,
        ),
        (
            "log.kind = \"kafka\"\n[topics.app]\nowned = false\nformat = \"raw\"\nstart = \"yesterday\"",
            r#"x.toml:5: topics.app.start: "yesterday" says nothing about where to begin; change it (allowed: earliest, latest, or a time in UTC such as "2026-01-31T00:00:00Z")"#,
        ),
        (
            "store.ttl = \"1 s\"",
            r#"x.toml:1: store.ttl: "1 s" is too small; raise it (allowed: 0 s for ever, or 1 min to 7300 days)"#,
        ),
        (
            "store.kind = \"cassandra\"\nstore.cassandra.password = \"hunter2\"",
            "x.toml:2: store.cassandra.username: \"\" is empty but there is a password; set both or neither",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(load(text, &[]).unwrap_err(), expected, "{text}");
    }
}

/// Values that are wrong for most keys, each in its own way.
const WRONG: [&str; 9] =
    ["1.5", "\"not it!\"", "-1", "0", "99999999999", "\"1 B\"", "\"9999 TiB\"", "\"1 ms\"", "\"99999 days\""];

/// What is said of every key with wrong values, in the file and in the environment. The texts are the interface: what
/// changes them is meant, and then the file is, too: the test writes it when `SURGETANK_WRITE_MESSAGES` is set.
#[test]
fn what_is_said_of_wrong_values_stays_to_the_letter() {
    let mut said = String::new();
    for key in keys() {
        let servers =
            if key.contains(".embedded.") { "" } else { "log.kind = \"kafka\"\nstore.kind = \"cassandra\"\n" };
        let variable = format!("SURGETANK__{}", key.to_uppercase().replace('.', "__"));
        for value in WRONG {
            let text = match key.as_str() {
                "log.kind" | "store.kind" => format!("{key} = {value}"),
                _ => format!("{servers}{key} = {value}"),
            };
            let in_file = load(&text, &[]);
            let in_environment = load(servers, &[(&variable, value.trim_matches('"'))]);
            for errors in [in_file, in_environment].into_iter().filter_map(Result::err) {
                said.push_str(&errors);
                said.push('\n');
            }
        }
    }
    if std::env::var_os("SURGETANK_WRITE_MESSAGES").is_some() {
        return std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/messages.txt"), said).unwrap();
    }
    let expected = include_str!("messages.txt");
    if let Some((told, line)) = said.lines().zip(expected.lines()).find(|(told, line)| told != line) {
        panic!("said:     {told}\nexpected: {line}");
    }
    assert_eq!(said.lines().count(), expected.lines().count());
}

const OTHERS: &str = "log.kind = \"kafka\"\n[topics.app]\nowned = false\nformat = \"json\"\n";

#[test]
fn routes_are_read_as_they_are_written() {
    let text = format!(
        r#"{OTHERS}
        [routes.user_events]
        from = "app"
        table = "app.user_events"
        filter = "value.type != 'ping' && kafka.partition < 10"
        timestamp = "timestamp($.ts, 'ms')"
        ttl = {{ until = "timestamp($.expires, 's')" }}
        consistency = "local_quorum"
        null = "unset"
        on_tombstone = "skip"
        key = {{ partition = ["userId"], clustering = ["event[0]"] }}
        [routes.user_events.columns]
        userId = {{ from = "$.user.id", type = "text" }}
        "event[0]" = {{ from = "uuid($.id)", type = "uuid" }}
        [routes.latest]
        types = ["position", "status"]
        table = "latest"
        ttl = "30 days"
        columns.id = "$.device_id""#
    );
    let config = load(&text, &[]).unwrap_or_else(|errors| panic!("{errors}"));
    let [latest, user_events] = &*config.routes else { panic!("{:?}", config.routes) };
    assert_eq!(user_events.name, "user_events");
    assert_eq!(user_events.table.to_string(), "app.user_events");
    assert_eq!(user_events.key, Some((vec!["userId".to_owned()], vec!["event[0]".to_owned()])));
    assert_eq!(user_events.columns["userId"].from, "$.user.id");
    assert_eq!(user_events.columns["event[0]"].type_text.as_deref(), Some("uuid"));
    assert_eq!(user_events.ttl, Some(TtlSpec::Until("timestamp($.expires, 's')".to_owned())));
    assert_eq!(user_events.on_tombstone, Some(TombstoneRule::Skip));
    assert_eq!(latest.from, Source::Types(vec!["position".to_owned(), "status".to_owned()]));
    assert_eq!(latest.ttl, Some(TtlSpec::For(std::time::Duration::from_secs(30 * 86_400))));
    assert_eq!(
        (latest.timestamp.clone(), latest.null, latest.on_tombstone),
        (TimestampSpec::Record, NullRule::Write, None)
    );
}

#[test]
fn a_wrong_route_is_told_by_its_key() {
    let minimal = "[routes.r]\nfrom = \"app\"\ntable = \"t\"\ncolumns.id = \"key\"\n";
    for (route, expected) in [
        (
            "[routes.r]\n",
            "x.toml:5: routes.r.columns: the route has no columns; add one, such as id = \"$.id\"\n\
            x.toml:5: routes.r.from: (nothing) says not where records come from; set from to sections of topics, or types to message types\n\
            x.toml:5: routes.r.table: (nothing) is not valid; change it (allowed: keyspace.table or table, each 1 to 48 of a-z, A-Z, 0-9 and '_')",
        ),
        ("ttl = \"1 ms\"", "x.toml:9: routes.r.ttl: \"1 ms\" is too small; raise it (allowed: 1 s to 7300 days)"),
        ("ttl = \"1500 ms\"", "x.toml:9: routes.r.ttl: \"1500 ms\" is not a whole number of seconds, such as 1 s"),
        (
            "ttl = { hours = \"1\" }",
            "x.toml:9: routes.r.ttl: { hours = \"1\" } does not say how long rows live; change it (allowed: a duration, { seconds = \"…\" } or { until = \"…\" })",
        ),
        (
            "consistency = \"most\"",
            "x.toml:9: routes.r.consistency: \"most\" is not a choice; take another (allowed: \"\", one, two, three, quorum, all, local_one, local_quorum, each_quorum)",
        ),
        ("filter = \"value.a ==\"", "x.toml:9: routes.r.filter: \"value.a ==\" is not valid: at column "),
        (
            "filter = \"val == 1\"",
            "x.toml:9: routes.r.filter: \"val == 1\" is not valid: there is no val (there are value, key, headers, kafka); write value.val for what the record has",
        ),
        (
            "columns.b = \"$.x y\"",
            "x.toml:9: routes.r.columns.b: \"$.x y\" is not valid: at column 5: found 'y'; expected the end",
        ),
        (
            "columns.b = 5",
            "x.toml:9: routes.r.columns.b: 5 does not say what the column is made of; change it (allowed: an expression as text, or { from = \"…\", type = \"…\" })",
        ),
        ("columns.b = { form = \"$.b\" }", "x.toml:9: routes.r.columns.b: { form = \"$.b\" } does not say what"),
        (
            "timestamp = \"$.\"",
            "x.toml:9: routes.r.timestamp: \"$.\" is not valid: at column 3: found the end; expected a name",
        ),
        ("types = \"position\"", "x.toml:9: routes.r.types: \"position\" is set, and from too; leave one of them out"),
        (
            "key = { partition = [\"a\"] }",
            "x.toml:8: routes.r.columns.id: \"key\" is not valid: its route may create the table, which needs its type; write { from = …, type = … }\n\
            x.toml:9: routes.r.key: { partition = [\"a\"] } is not valid: column a is not among the route's columns; add it there",
        ),
        (
            "key = [\"id\"]",
            "x.toml:9: routes.r.key: [\"id\"] is not the key of a table; change it (allowed: { partition = [\"…\"], clustering = [\"…\"] } with names of columns)",
        ),
        ("colums.id = \"key\"", "x.toml:9: routes.r.colums: unknown key; did you mean \"columns\"?"),
    ] {
        let head = if route.starts_with('[') { "" } else { minimal };
        let error = load(&format!("{OTHERS}{head}{route}"), &[]).unwrap_err();
        assert!(error.starts_with(expected), "{error}\n{expected}");
    }
    let of =
        |from: &str| load(&format!("{OTHERS}[topics.own]\n{}", minimal.replace("\"app\"", from)), &[]).unwrap_err();
    assert_eq!(
        of("\"own\""),
        "x.toml:7: routes.r.from: \"own\" names topics.own, which is ours; name its message types in types instead"
    );
    assert_eq!(
        of("[\"app\", \"x\"]"),
        "x.toml:7: routes.r.from: [\"app\", \"x\"] names \"x\", which is no topic of others; add [topics.x] with owned = false"
    );
    let error = load(&format!("{OTHERS}{minimal}"), &[("SURGETANK__ROUTES__R__TABLE", "t")]).unwrap_err();
    assert_eq!(error, "environment variable SURGETANK__ROUTES__R__TABLE: routes are set in the file alone");
}

#[test]
fn all_problems_are_reported_in_the_order_of_the_file() {
    let error = load("gate.max_writes = -1\nhttp.lsten = 1\nwriter.actors = \"x\"", &[("SURGETANK__HTTP__X", "1")]);
    let expected = "x.toml:1: gate.max_writes: -1 is too small; raise it (allowed: 0 to 65536)\n\
        x.toml:2: http.lsten: unknown key; did you mean \"listen\"?\n\
        x.toml:3: writer.actors: \"x\" is not a whole number; write digits only (allowed: 0 to 256)\n\
        environment variable SURGETANK__HTTP__X: unknown key http.x; remove it (known here: listen, max_connections, public_health_checks, public_metrics, tls)";
    assert_eq!(error.unwrap_err(), expected);
}

#[test]
fn syntax_errors_have_line_and_column() {
    let error = load("[devices]\nlisten = = 1", &[]).unwrap_err();
    assert!(error.starts_with("x.toml:2:10: not valid TOML: "), "{error}");
}

#[test]
fn variables_override_the_file() {
    let text = "log.kind = \"kafka\"\ndata_dir = \"here\"";
    let variables = [
        ("SURGETANK__DATA_DIR", "there"),
        ("SURGETANK__DEVICES__MAX_MESSAGES", "7"),
        ("SURGETANK__LOG__KAFKA__BROKERS", "a:1, b:2"),
        ("SURGETANK__TOPICS__TELEMETRY__PARTITIONS", "3"),
        ("SURGETANK_PORT", "tcp://10.0.0.1:7400"),
    ];
    let config = load(text, &variables).unwrap();
    assert_eq!(config.data_dir, Path::new("there"));
    assert_eq!(config.devices.max_messages, 7);
    assert_eq!(config.topics.own[0].partitions.get(), 3);
    assert_eq!(config.topics.own[0].types, TypeSelection::Rest);
    let LogKind::Kafka(log) = config.log.kind else { panic!("not kafka") };
    assert_eq!(log.brokers, ["a:1", "b:2"]);
}

#[test]
fn topics_of_others_may_be_all_that_there_is() {
    let text = "log.kind = \"kafka\"\n[topics.app-events]\nowned = false\nformat = \"json\"\n\
        [topics.pages]\nowned = false\npattern = \"^app-\"\nformat = \"avro-registry\"\n\
        start = \"2026-01-31T00:00:00Z\"\non_gap = \"latest\"";
    let topics = load(text, &[]).unwrap().topics;
    assert!(topics.own.is_empty());
    let [events, pages] = &topics.others[..] else { panic!("{topics:?}") };
    assert_eq!((events.format, events.start, events.on_gap), (Format::Json, Start::Earliest, OnGap::Stop));
    assert_eq!(
        (pages.format, pages.start, pages.on_gap),
        (Format::AvroRegistry, Start::TimeMs(1_769_817_600_000), OnGap::Latest)
    );
    let section = |topic: &str| topics.of_others(topic).map(|others| others.name.as_str());
    let sections = ["app-events", "app-views", "pages", "telemetry"].map(section);
    assert_eq!(sections, [Some("app-events"), Some("pages"), None, None]);
    // The name of a pattern's section is no topic's.
    assert!(load(&text.replace("topics.pages", "topics.dead-letters"), &[]).is_ok());
    assert!(load(&text.replace("topics.app-events", "topics.dead-letters"), &[]).is_err());
}

#[test]
fn an_override_cannot_make_a_topic() {
    let error = load("[topics.9abc]", &[("SURGETANK__TOPICS__OTHER__PARTITIONS", "1")]).unwrap_err();
    let expected = "environment variable SURGETANK__TOPICS__OTHER__PARTITIONS: there is no topic \"other\" to override; add [topics.other] to the file";
    assert_eq!(error, expected);
    let config = load("[topics.9abc]", &[("SURGETANK__TOPICS__9ABC__PARTITIONS", "2")]).unwrap();
    assert_eq!(config.topics.own[0].partitions.get(), 2);
}

#[test]
fn secrets_come_from_variables_and_never_show() {
    let text = "store.kind = \"cassandra\"\nstore.cassandra.username = \"u\"\n\
        store.cassandra.password = \"${SECRET}\"\ndevices.max_frame = \"${SIZE}\"";
    let config = load(text, &[("SECRET", "correct-horse"), ("SIZE", "8 KiB")]).unwrap();
    assert!(!format!("{config:?}").contains("correct-horse"));
    let StoreKind::Cassandra(store) = config.store.kind else { panic!("not cassandra") };
    assert_eq!(store.login.unwrap().password.expose(), "correct-horse");
    let error = load(text, &[("SIZE", "s3cret")]).unwrap_err();
    let expected = "x.toml:3: store.cassandra.password: environment variable \"SECRET\" is not set; set it, or write \"$${\" for the text itself\n\
        x.toml:4: devices.max_frame: \"${SIZE}\" is not a size; write a number with a unit, such as \"1 MiB\" (allowed: 1 KiB to 64 MiB)";
    assert_eq!(error, expected);
    let error = load(&text.replace("\"u\"", "\"\""), &[("SECRET", "correct-horse"), ("SIZE", "8 KiB")]).unwrap_err();
    assert!(error.contains("store.cassandra.username") && !error.contains("correct-horse"), "{error}");
}

#[test]
fn a_room_that_is_not_chosen_may_be_half_filled_in() {
    let text = "[store.cassandra]\npassword = \"${UNSET}\"\nnodes = []";
    assert_eq!(load(text, &[]), Ok(Config::default()));
    assert_eq!(load(text, &[("SURGETANK__STORE__KIND", "cassandra")]).unwrap_err().lines().count(), 2);
}

#[test]
fn the_pod_name_is_the_default_member_id() {
    let id = |variables: &[(&str, &str)]| match load("log.kind = \"kafka\"", variables).unwrap().log.kind {
        LogKind::Kafka(log) => log.instance_id,
        LogKind::Embedded(_) => None,
    };
    assert_eq!(id(&[("HOSTNAME", "laptop")]), None);
    assert_eq!(id(&[("HOSTNAME", "pod-0"), ("KUBERNETES_SERVICE_HOST", "10.0.0.1")]).as_deref(), Some("pod-0"));
    assert_eq!(id(&[("POD_NAME", "pod-1")]).as_deref(), Some("pod-1"));
}

#[test]
fn layouts_and_tokens_are_found_relative_to_the_file() {
    let directory = |text: &str, variables: &[(&str, &str)]| load(text, variables).unwrap().messages.directory;
    assert_eq!(directory("messages.directory = \"m\"", &[]).as_deref(), Some(Path::new("dir/m")));
    assert_eq!(directory("", &[("SURGETANK__MESSAGES__DIRECTORY", "m")]).as_deref(), Some(Path::new("m")));
    let file = |text: &str, variables: &[(&str, &str)]| load(text, variables).unwrap().credentials.file;
    assert_eq!(file("credentials.file = \"t\"", &[]).as_deref(), Some(Path::new("dir/t")));
    assert_eq!(file("", &[("SURGETANK__CREDENTIALS__FILE", "t")]).as_deref(), Some(Path::new("t")));
    assert_eq!(file("", &[]), None);
}

#[test]
fn files_are_read_from_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    std::fs::write(&path, "messages.directory = \"m\"").unwrap();
    let config = Config::load_with(Some(&path), BTreeMap::new()).unwrap();
    assert_eq!(config.messages.directory, Some(directory.path().join("m")));
    std::fs::write(&path, "x = 1").unwrap();
    let error = Config::load_with(Some(&path), BTreeMap::new()).unwrap_err();
    assert!(error.to_string().starts_with(&format!("{}:1: x: unknown key; ", path.display())), "{error}");
    assert_eq!(error.num_problems(), 1);
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load_with(Some(Path::new("no/such.toml")), BTreeMap::new()).unwrap_err().to_string();
    assert!(error.starts_with("no/such.toml: cannot be read: "), "{error}");
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*|([a-z_.\\[\\]{}\"'=#$,\n 0-9])*") {
        let _ = load(&text, &[]);
    }

    #[test]
    fn arbitrary_values_and_overrides_never_panic(key in proptest::sample::select(keys()), value in "\\PC*", name in "[A-Z_0-9\\[\\]]{0,20}") {
        let _ = load(&format!("{key} = {value}"), &[]);
        let _ = load(&format!("{key} = {value:?}"), &[(&format!("SURGETANK__{name}"), &value)]);
        let _ = load("", &[(&format!("SURGETANK__{}", key.to_uppercase().replace('.', "__")), &value)]);
    }
}
