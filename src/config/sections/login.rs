//! A login at a server: two keys that mean nothing alone.

use crate::config::checks::Section;
use crate::config::entry::Entry;
use crate::config::secret::Secret;

/// A login at a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user, or the role.
    pub username: String,
    /// Its password.
    pub password: Secret,
}

/// The login that both make, if there is one.
pub(super) fn login(section: &mut Section<'_, '_>, username: &Entry, password: &Entry) -> Option<Login> {
    let username = section.text("username", username, |_| true, "any text, or empty for no login");
    // Not trimmed as other texts are: blanks may be part of a password.
    section.text("password", password, |_| true, "any text, or empty for no login");
    let password = if let Entry::Text(text) = password { text.clone() } else { String::new() };
    match (username.is_empty(), password.is_empty()) {
        (true, true) => return None,
        (true, false) => section.fault("username", "is empty but there is a password; set both or neither"),
        (false, true) => section.fault("password", "is empty but there is a username; set both or neither"),
        (false, false) => {}
    }
    Some(Login { username, password: Secret::new(password) })
}
