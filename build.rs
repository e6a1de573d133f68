//! Puts the commit into `surgetank --version`, and its time into the program: no clock that shows an earlier one is right.

use std::process::Command;

/// Stands in where neither git nor a variable tells the commit's time, as in a build from an archive. Files' own times are
/// not asked: they are those of the machine that unpacked them. Too early does no harm, so it moves when somebody thinks
/// of it: 2026-11-01.
const NEWEST_KNOWN: u64 = 1_793_491_200;

fn main() {
    // HEAD itself names a branch and does not change with a commit; its log does. In a work tree it is elsewhere, and a file
    // that is not there would have cargo build anew each time.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|path| std::path::Path::new(path).exists());
    println!("cargo:rerun-if-changed={}", log.as_deref().unwrap_or("build.rs"));
    for variable in ["SURGETANK_COMMIT", "SURGETANK_COMMIT_TIME", "SOURCE_DATE_EPOCH"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let given = |variable| std::env::var(variable).ok().filter(|value| !value.is_empty());
    let commit = given("SURGETANK_COMMIT").or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo:rustc-env=SURGETANK_COMMIT={}", commit.unwrap_or_else(|| "unknown".to_owned()));
    let time = given("SURGETANK_COMMIT_TIME")
        .or_else(|| git(&["log", "-1", "--format=%ct"]))
        .or_else(|| given("SOURCE_DATE_EPOCH"))
        .map_or(NEWEST_KNOWN, |text| {
            text.parse().unwrap_or_else(|_| panic!("{text:?} is no time in seconds since 1970"))
        });
    println!("cargo:rustc-env=SURGETANK_COMMIT_TIME={time}");
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let answer = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| answer.trim().to_owned())
}
