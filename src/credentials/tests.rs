//! Who is let in by which file, and what is said about a wrong one: error texts are compared whole.

use proptest::prelude::*;

use super::*;

fn hash(token: &str) -> String {
    TokenHash::of(token.as_bytes()).to_string()
}

fn parse(text: &str) -> Credentials {
    Credentials::parse("t.toml", text).unwrap_or_else(|error| panic!("{error}"))
}

fn error(text: &str) -> String {
    Credentials::parse("t.toml", text).unwrap_err().to_string()
}

fn id(text: &str) -> DeviceId {
    DeviceId::new(text).unwrap()
}

fn example() -> Credentials {
    parse(&format!(
        "[[device]]\nname = \"old\"\nhash = \"{}\"\n[[device]]\nhash = \"{}\"\n\
         [[device]]\ndevice = \"truck-1\"\nhash = \"{}\"\n[[device]]\ndevice = \"truck-1\"\nhash = \"{}\"\n\
         [[http]]\nname = \"app\"\ntypes = [\"position\"]\nhash = \"{}\"\n[[http]]\nhash = \"{}\"\n\
         [[observer]]\nname = \"metrics\"\nhash = \"{}\"\n[[operator]]\nhash = \"{}\"\n[[admin]]\nhash = \"{}\"\n",
        hash("fleet-a"),
        hash("fleet-b"),
        hash("one-a"),
        hash("one-b"),
        hash("app"),
        hash("all"),
        hash("look"),
        hash("root"),
        hash("old-root")
    ))
}

#[test]
fn test_device_is_let_in_by_the_fleets_tokens_and_its_own() {
    let credentials = example();
    for token in ["fleet-a", "fleet-b", "one-a", "one-b"] {
        assert_eq!(credentials.device(&id("truck-1"), token.as_bytes()), Ok(()), "{token}");
    }
    for token in ["fleet-a", "fleet-b"] {
        assert_eq!(credentials.device(&id("truck-2"), token.as_bytes()), Ok(()), "{token}");
    }
    for token in ["one-a", "app", "all", "look", "root", "", "fleet-", "fleet-aa", &hash("fleet-a")] {
        assert_eq!(credentials.device(&id("truck-2"), token.as_bytes()), Err(Denied), "{token}");
    }
}

#[test]
fn test_a_token_of_another_device_is_known_as_that() {
    let credentials = example();
    for token in ["fleet-a", "fleet-b", "one-a", "one-b"] {
        assert!(credentials.is_of_a_device(token.as_bytes()), "{token}");
    }
    for token in ["app", "look", "root", "", "one-", &hash("one-a")] {
        assert!(!credentials.is_of_a_device(token.as_bytes()), "{token}");
    }
    assert!(Credentials::open().is_of_a_device(b""), "nobody is asked");
}

#[test]
fn test_http_token_has_its_types() {
    let credentials = example();
    let app = credentials.http(Some("app")).unwrap();
    assert_eq!((app.name(), app.may_send("position"), app.may_send("harsh_event")), ("app", true, false));
    let all = credentials.http(Some("all")).unwrap();
    assert!(all.may_send("position") && all.may_send("harsh_event"));
    assert_eq!(all.name().len(), 16, "a token without a name is known by its hash");
    for token in [None, Some(""), Some("fleet-a"), Some("one-a"), Some("look"), Some("root"), Some("nobody")] {
        assert_eq!(credentials.http(token).unwrap_err(), Denied, "{token:?}");
    }
}

#[test]
fn test_observers_may_look_and_operators_may_look_and_change() {
    let credentials = example();
    for token in ["root", "old-root"] {
        assert_eq!(credentials.operator(Some(token)), Ok(()), "{token}");
        assert_eq!(credentials.observer(Some(token)), Ok(()), "{token}");
    }
    assert_eq!(credentials.observer(Some("look")), Ok(()));
    assert_eq!(credentials.operator(Some("look")), Err(Denied));
    for token in [None, Some(""), Some("all"), Some("fleet-a"), Some(&*hash("look"))] {
        assert_eq!(credentials.operator(token), Err(Denied), "{token:?}");
        assert_eq!(credentials.observer(token), Err(Denied), "{token:?}");
    }
    assert_eq!(credentials.num_tokens(), [4, 2, 1, 2]);
    let devices_only = parse(&format!("[[device]]\nhash = \"{}\"", hash("fleet")));
    assert!(credentials.has_observers() && Credentials::open().has_observers() && !devices_only.has_observers());
    assert!(parse(&format!("[[operator]]\nhash = \"{}\"", hash("root"))).has_observers());
    assert_eq!(credentials.http_types().collect::<Vec<_>>(), [("app", "position")]);
}

#[test]
fn test_without_a_file_everybody_may_send_and_look_and_nobody_is_operator() {
    let credentials = Credentials::open();
    assert_eq!(credentials.device(&id("truck-1"), b""), Ok(()));
    assert!(credentials.http(None).unwrap().may_send("position"));
    assert_eq!(credentials.observer(None), Ok(()));
    assert_eq!(credentials.operator(None), Err(Denied));
    assert_eq!(credentials.operator(Some("root")), Err(Denied));
}

#[test]
fn test_an_empty_file_lets_nobody_in() {
    let credentials = parse("# no tokens yet\n");
    assert_eq!(credentials.device(&id("truck-1"), b""), Err(Denied));
    assert!(credentials.http(None).is_err() && credentials.http(Some("")).is_err());
    assert_eq!(credentials.observer(Some("")), Err(Denied));
    assert_eq!(credentials.operator(Some("")), Err(Denied));
}

#[test]
fn test_each_mistake_tells_where_what_and_what_to_do() {
    let hash = hash("x");
    let cases = [
        (
            "[[device]]\nhash = \"my-secret-token\"".to_owned(),
            "t.toml:2: device.hash: is not the hash of a token; write \"sha256:\" and 64 hexadecimal digits, as `surgetank token new` does",
        ),
        (
            format!("[[http]]\nhash = \"{hash}\"\n[[operator]]\nhash = \"{hash}\""),
            "t.toml:4: operator.hash: is the one of line 2 again; make a token of its own with `surgetank token new`",
        ),
        (
            format!("[[device]]\ndevice = \"a b\"\nhash = \"{hash}\""),
            "t.toml:2: device.device: device id holds white space, characters that cannot be printed or invalid UTF-8; write the id that the device sends in its Hello",
        ),
        (
            format!("[[http]]\nhash = \"{hash}\"\ntypes = []"),
            "t.toml:3: http.types: does not name message types; name the types, or leave the key out for all of them",
        ),
        (
            format!("[[device]]\nhash = \"{hash}\"\ntypes = []"),
            "t.toml:3: unknown field `types`, expected one of `name`, `device`, `hash`",
        ),
        (
            "[[devices]]".to_owned(),
            "t.toml:1: unknown field `devices`, expected one of `device`, `http`, `observer`, `operator`, `admin`",
        ),
        ("\n[[observer]]\nname = \"n\"".to_owned(), "t.toml:2: missing field `hash`"),
        ("device = \"my-secret-token\"".to_owned(), "t.toml:1: a value of the wrong kind; write a sequence"),
    ];
    for (text, expected) in cases {
        assert_eq!(error(&text), expected, "{text}");
    }
    assert!(error("[[device]\n").starts_with("t.toml:1: "), "syntax");
}

#[test]
fn test_all_mistakes_are_told_in_the_order_of_the_file() {
    let text = "[[http]]\nhash = \"a\"\n[[device]]\nhash = \"b\"\n[[http]]\nhash = \"c\"";
    let lines: Vec<_> = error(text).lines().map(|line| line.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(lines, ["t.toml:2", "t.toml:4", "t.toml:6"]);
}

#[test]
fn test_tokens_that_every_hello_is_compared_with_are_few() {
    let table = |number: usize, device: &str| format!("[[device]]\n{device}hash = \"{}\"\n", hash(&number.to_string()));
    for (max, device) in [(MAX_TOKENS_OF_THE_FLEET, ""), (MAX_TOKENS_OF_A_DEVICE, "device = \"d\"\n")] {
        let text: String = (0..max).map(|number| table(number, device)).collect();
        assert_eq!(parse(&text).num_tokens(), [max, 0, 0, 0]);
        assert!(error(&(text + &table(max, device))).contains(&format!("more than {max} tokens")));
    }
}

#[test]
fn test_a_missing_file_is_named() {
    let error = Credentials::load(std::path::Path::new("no/such.toml")).unwrap_err().to_string();
    assert!(error.starts_with("no/such.toml: cannot be read: "), "{error}");
}

proptest! {
    #[test]
    fn test_arbitrary_text_never_panics(text in "\\PC*|([a-z_\\[\\]\"=\n 0-9:]|device|http|observer|operator|hash|types)*") {
        let _ = Credentials::parse("t.toml", &text);
    }

    #[test]
    fn test_a_token_lets_in_only_whom_it_is_for(token in "[a-z]{1,4}", presented in "[a-z]{1,4}", device in "[ab]") {
        let credentials = parse(&format!("[[device]]\ndevice = \"a\"\nhash = \"{}\"", hash(&token)));
        let is_in = credentials.device(&id(&device), presented.as_bytes()).is_ok();
        prop_assert_eq!(is_in, device == "a" && token == presented);
    }
}
