//! The schema registry that ids in records of others lead to.

use std::time::Duration;

use super::login::{Login, login};
use super::tls::{self, WrittenClientTls};
use crate::config::checks::Checker;
use crate::config::section::section;
use crate::config::units::{millis, minutes};
use crate::tls::ServerTrust;

section! {
    /// The schema registry.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Registry, WrittenRegistry {
        /// How long one of its answers may take.
        pub timeout: Duration = "10 s", duration(millis(100)..=minutes(5));
    }
    sections {
        /// TLS to it. `None`: plain HTTP.
        pub tls: Option<ServerTrust>, WrittenClientTls, tls::client;
    }
    keys {
        url = "";
        username = "";
        password = "";
    }
    made_of_these {
        /// Its address, without a slash at the end. `None`: there is none.
        pub url: Option<String>, registry_url;
        /// Who logs in. `None`: without a login.
        pub login: Option<Login>, registry_login;
    }
}

fn registry_url(check: &mut Checker<'_>, path: &str, written: &WrittenRegistry) -> Option<String> {
    let allowed = "http://HOST:PORT or https://HOST:PORT, with a path if it has one, or empty for no registry";
    let url = check.section(path).text("url", &written.url, |url| url.is_empty() || is_address(url), allowed);
    let has_tls = written.tls.ca.text().is_some_and(|ca| !ca.is_empty());
    if url.starts_with("https://") && !has_tls {
        let what = "has https, and nobody says which authorities to trust; set registry.tls.ca";
        check.section(path).fault("url", what);
    }
    if url.starts_with("http://") && has_tls {
        let what = "is plain http although registry.tls.ca is set; write https, or leave registry.tls.ca empty";
        check.section(path).fault("url", what);
    }
    (!url.is_empty()).then(|| url.trim_end_matches('/').to_owned())
}

fn registry_login(check: &mut Checker<'_>, path: &str, written: &WrittenRegistry) -> Option<Login> {
    login(&mut check.section(path), &written.username, &written.password)
}

/// The address of an HTTP server. A login in it would be shown wherever it is.
fn is_address(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or(rest);
        let is_plain =
            |letter: char| letter.is_ascii_graphic() && !matches!(letter, '@' | '?' | '#' | '"' | '<' | '>' | '\\');
        !host.is_empty() && !host.starts_with(':') && rest.chars().all(is_plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_addresses() {
        for url in ["http://127.0.0.1:8081", "https://registry", "http://[::1]:80/apis/ccompat/v7", "http://r/"] {
            assert!(is_address(url), "{url}");
        }
        for url in [
            "registry:8081",
            "http://",
            "http:///x",
            "http://:80",
            "ftp://r",
            "http://me:pw@r",
            "http://r/a b",
            "http://r?x",
        ] {
            assert!(!is_address(url), "{url}");
        }
    }
}
