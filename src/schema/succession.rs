//! Layouts that take the place of earlier ones while devices are connected: what is new, and that nothing is gone.

use thiserror::Error;

use super::catalog::Catalog;
use super::message_type::MessageType;
use crate::schema::Version;

/// Something is missing that messages may still be made with: they would be turned away for good, and records of it that
/// wait in a log would not become rows.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "message type {type_name}{} is gone; bring it back, or restart once no device sends it and every record is stored",
    version.map(|version| format!(" version {version}")).unwrap_or_default()
)]
pub struct Withdrawn {
    /// The type.
    pub type_name: String,
    /// The version, if others of the type are there.
    pub version: Option<Version>,
}

impl Catalog {
    /// What changes when this takes the place of `before`, one line for each version or new type.
    pub fn changes_since(&self, before: &Catalog) -> Result<Vec<String>, Withdrawn> {
        for old in before.types() {
            let gone = |version| Withdrawn { type_name: old.name.clone(), version };
            let new = self.by_name(&old.name).filter(|new| new.id == old.id).ok_or_else(|| gone(None))?;
            if let Some(version) = old.versions.iter().find(|version| new.version(version.number).is_none()) {
                return Err(gone(Some(version.number)));
            }
        }
        let mut changes = Vec::new();
        for new in self.types() {
            match before.by_name(&new.name) {
                None => changes.push(format!("message type {} (new)", new.name)),
                Some(old) => changes.extend(changed_versions(old, new)),
            }
        }
        Ok(changes)
    }
}

fn changed_versions(old: &MessageType, new: &MessageType) -> Vec<String> {
    let mut changes = Vec::new();
    for version in &new.versions {
        let number = version.number;
        match old.version(number) {
            None => changes.push(format!("message type {} version {number} (new)", new.name)),
            Some(before) if before != version => {
                changes.push(format!("message type {} version {number} (changed)", new.name));
            }
            Some(_) => {}
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, number, and versions with their only field.
    type TypeOf<'a> = (&'a str, u16, &'a [(u8, &'a str)]);

    fn catalog(types: &[TypeOf<'_>]) -> Catalog {
        let sources = types.iter().map(|(name, id, versions)| {
            let versions = versions.iter().map(|(version, field)| {
                format!("[[version]]\nversion = {version}\nfields = [{{ name = \"{field}\", kind = \"bool\", doc = \"d\" }}]\n")
            });
            let text = format!("type = \"{name}\"\nid = {id}\ndoc = \"d\"\n{}", versions.collect::<String>());
            (format!("{name}.toml"), text)
        });
        Catalog::from_sources(sources).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn test_new_types_and_versions_are_told() {
        let before = catalog(&[("door", 1, &[(1, "open")]), ("window", 2, &[(1, "open")])]);
        assert_eq!(before.changes_since(&before).unwrap(), Vec::<String>::new());
        let after = catalog(&[
            ("cat", 3, &[(1, "asleep")]),
            ("door", 1, &[(1, "open"), (2, "shut")]),
            ("window", 2, &[(1, "ajar")]),
        ]);
        let expected =
            ["message type cat (new)", "message type door version 2 (new)", "message type window version 1 (changed)"];
        assert_eq!(after.changes_since(&before).unwrap(), expected);
    }

    #[test]
    fn test_nothing_is_taken_away() {
        let before = catalog(&[("door", 1, &[(1, "open"), (2, "open")]), ("window", 2, &[(1, "open")])]);
        let without_type = catalog(&[("door", 1, &[(1, "open"), (2, "open")])]);
        let without_version = catalog(&[("door", 1, &[(2, "open")]), ("window", 2, &[(1, "open")])]);
        let with_other_number = catalog(&[("door", 7, &[(1, "open"), (2, "open")]), ("window", 2, &[(1, "open")])]);
        let gone = |type_name: &str, version| Withdrawn { type_name: type_name.to_owned(), version };
        assert_eq!(without_type.changes_since(&before), Err(gone("window", None)));
        assert_eq!(without_version.changes_since(&before), Err(gone("door", Some(1))));
        assert_eq!(with_other_number.changes_since(&before), Err(gone("door", None)));
        let told = gone("door", Some(1)).to_string();
        assert!(told.starts_with("message type door version 1 is gone; "), "{told}");
    }
}
