//! What the documents say of the commands and of what operators see.

use crate::common::process::{arg, run, told};

#[test]
fn the_quickstart_of_the_readme_is_right() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("quickstart")).unwrap();
    for file in ["quickstart.toml", "quickstart/temperature.toml"] {
        std::fs::copy(root.join("config").join(file), copy.path().join(file)).unwrap();
    }
    // What the README has its reader type: a message type of their own.
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (_, typed) = readme.split_once("cat > config/quickstart/humidity.toml <<'END'\n").unwrap();
    let (layout, _) = typed.split_once("END\n").unwrap();
    assert_eq!(layout.lines().count(), 6, "{layout}");
    std::fs::write(copy.path().join("quickstart/humidity.toml"), layout).unwrap();

    let (code, _, stderr) = told(&run(&["check", "--config", arg(&copy.path().join("quickstart.toml"))]));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("fine (1 topics, 2 message types in 2 versions)"), "{stderr}");
}

#[test]
fn every_command_and_option_is_in_the_documents() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commands.md")).unwrap();
    let (_, help, _) = told(&run(&["--help"]));
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    // What a command is for may take more than one line; only its name is two columns in.
    let names = commands.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let names: Vec<&str> = names.filter_map(|line| line.split(' ').next()).filter(|name| *name != "help").collect();
    assert!(names.contains(&"run") && names.contains(&"token"), "{help}");
    for name in names {
        assert!(document.contains(&format!("surgetank {name}")) || document.contains(&format!("## {name}")), "{name}");
        let command = match name {
            "token" => vec![name, "new", "--help"],
            "route" => vec![name, "test", "--help"],
            _ => vec![name, "--help"],
        };
        let (code, help, _) = told(&run(&command));
        assert_eq!(code, 0, "{name}");
        let options = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
        for option in options.filter_map(|line| line.split(' ').next()) {
            assert!(document.contains(&format!("--{option}")), "docs/commands.md lacks --{option} of {name}");
        }
    }
}

#[test]
fn every_code_of_health_is_in_the_operators_table() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("docs/troubleshooting.md")).unwrap();
    let (mut directories, mut codes) = (vec![root.join("src")], Vec::new());
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => directories.push(path),
                false => codes.extend(codes_in(&std::fs::read_to_string(path).unwrap())),
            }
        }
    }
    assert!(codes.iter().any(|code| code == "store_unavailable"), "{codes:?}");
    let lacking: Vec<&String> = codes.iter().filter(|code| !table.contains(&format!("`{code}`"))).collect();
    assert!(lacking.is_empty(), "docs/troubleshooting.md lacks {lacking:?}");
}

/// The codes of the conditions that a source file makes, as far as they are written where the condition is made.
fn codes_in(source: &str) -> Vec<String> {
    let made =
        source.split("Condition::").filter_map(|rest| rest.strip_prefix("degraded(").or(rest.strip_prefix("failing(")));
    let arguments = made.filter_map(|rest| rest.trim_start().strip_prefix("Part::")?.split_once(','));
    let codes = arguments.filter_map(|(_, rest)| rest.trim_start().strip_prefix('"')?.split('"').next());
    codes.map(str::to_owned).collect()
}
