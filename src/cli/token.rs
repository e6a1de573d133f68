//! `surgetank token new`: a token, and what the file of tokens is to hold of it.

use std::io::Write;

use toml::Value;

use super::args::{TokenKindArg, TokenNewArgs};
use super::output::print;
use super::{Failure, Outcome};
use crate::credentials::{Credentials, TokenKind, new_token};

/// The token goes to stderr and the lines to stdout, so that `>> tokens.toml` keeps one and shows the other.
pub(super) fn new(args: &TokenNewArgs) -> Outcome {
    let kind = match args.kind {
        TokenKindArg::Device => TokenKind::Device,
        TokenKindArg::Http => TokenKind::Http,
        TokenKindArg::Observer => TokenKind::Observer,
        TokenKindArg::Operator => TokenKind::Operator,
    };
    if args.device.is_some() && kind != TokenKind::Device {
        return Err(Failure::Usage("--device goes with --kind device only".to_owned()));
    }
    if !args.types.is_empty() && kind != TokenKind::Http {
        return Err(Failure::Usage("--types goes with --kind http only".to_owned()));
    }
    let (token, hash) = new_token(kind).map_err(Failure::job)?;
    let mut lines = format!("[[{}]]\n", kind.name());
    let mut line = |key: &str, value: Value| lines.push_str(&format!("{key} = {value}\n"));
    if let Some(name) = &args.name {
        line("name", name.as_str().into());
    }
    if let Some(device) = &args.device {
        line("device", device.as_str().into());
    }
    if !args.types.is_empty() {
        line("types", args.types.clone().into());
    }
    line("hash", hash.into());
    // What could not be read back is refused here, not by the engine.
    Credentials::parse("the new token", &lines).map_err(Failure::usage)?;
    // Before the token: nobody is to be given one whose hash is nowhere.
    print(&lines)?;
    // It is nowhere else: who did not see it has to make another.
    writeln!(std::io::stderr(), "{token}").map_err(|error| Failure::Job(format!("cannot print the token: {error}")))
}
