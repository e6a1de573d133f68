//! Whether the role may write to the tables, on servers that ask for rights at all.

use scylla::client::session::Session;
use scylla::statement::unprepared::Statement;
use scylla::value::{CqlValue, Row};

use super::super::settings::CassandraSettings;
use super::TIMEOUT;
use crate::flow::health::{Condition, Part};
use crate::schema::row::Table;

/// What a role may do.
#[derive(Debug)]
pub(super) struct Rights {
    role: String,
    /// Each permission, with what it is on, as the server names both.
    granted: Vec<(String, String)>,
}

// === impl Rights ===

impl Rights {
    /// The rights of the role that we log in as. `None` if it may do everything, if there is no login, and if the server
    /// does not tell: it has no authorizer, or cannot be asked now.
    pub(super) async fn ask(session: &Session, settings: &CassandraSettings) -> Option<Self> {
        let (role, _) = settings.credentials.as_ref()?;
        let name = format!("'{}'", role.replace('\'', "''"));
        // Those of the roles that were granted to it are told, too.
        let roles = list(session, format!("LIST ROLES OF {name}"), ["super"]).await?;
        if roles.iter().any(|[is_super]| is_super.as_boolean() == Some(true)) {
            return None;
        }
        let granted = list(session, format!("LIST ALL PERMISSIONS OF {name}"), ["permission", "resource"]).await?;
        let text = |value: &CqlValue| value.as_text().cloned();
        let granted = granted.iter().map(|[permission, resource]| Some((text(permission)?, text(resource)?)));
        Some(Self { role: role.clone(), granted: granted.collect::<Option<_>>()? })
    }

    /// What is wrong if rows cannot be written to this table.
    pub(super) fn condition(&self, keyspace: &str, table: &Table) -> Option<Condition> {
        let (role, name) = (&self.role, format!("{keyspace}.{}", table.name));
        let resources = [
            "<all keyspaces>".to_owned(),
            format!("<keyspace {keyspace}>"),
            // As Cassandra and as ScyllaDB call the tables of a keyspace.
            format!("<all tables in {keyspace}>"),
            format!("<table {name}>"),
        ];
        if self.granted.iter().any(|(permission, on)| permission == "MODIFY" && resources.contains(on)) {
            return None;
        }
        let detail = format!(
            "role {role} has not the right to write to table {name}, so that no row of it is written: GRANT MODIFY ON \
             KEYSPACE {keyspace} TO {role}, or on this table; servers take notice of it after their \
             permissions_validity, 2 s as they come"
        );
        Some(Condition::failing(Part::Store, "right_missing", name, detail))
    }
}

/// These columns of a list, if the server tells it. How many columns there are depends on the server.
async fn list<const N: usize>(session: &Session, cql: String, names: [&str; N]) -> Option<Vec<[CqlValue; N]>> {
    let mut question = Statement::new(cql);
    question.set_request_timeout(Some(TIMEOUT));
    let answer = session.query_unpaged(question, ()).await;
    let answer = answer.inspect_err(|error| tracing::debug!(%error, "the database does not tell rights"));
    let answer = answer.ok()?.into_rows_result().ok()?;
    let places = names.map(|name| answer.column_specs().iter().position(|column| column.name() == name));
    let rows = answer.rows::<Row>().ok()?.map(|row| {
        let row = row.ok()?;
        let cell = |place: Option<usize>| row.columns.get(place?)?.clone();
        let cells: Vec<CqlValue> = places.iter().map(|place| cell(*place)).collect::<Option<_>>()?;
        cells.try_into().ok()
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(granted: &[(&str, &str)]) -> Option<Condition> {
        let granted = granted.iter().map(|(on, permission)| ((*permission).to_owned(), (*on).to_owned()));
        let rights = Rights { role: "surgetank".to_owned(), granted: granted.collect() };
        rights.condition("fleet", &Table::of_type("position", Vec::new()))
    }

    #[test]
    fn test_the_right_may_be_one_on_everything_the_keyspace_or_the_table() {
        for resource in ["<all keyspaces>", "<keyspace fleet>", "<all tables in fleet>", "<table fleet.position>"] {
            assert_eq!(missing(&[("<role x>", "ALTER"), (resource, "MODIFY")]), None, "{resource}");
            assert!(missing(&[(resource, "SELECT")]).is_some(), "{resource}");
        }
        for resource in ["<keyspace fleet2>", "<table fleet.positions>", "<table other.position>"] {
            let told = missing(&[(resource, "MODIFY")]).unwrap();
            assert_eq!((told.code, told.subject.as_str()), ("right_missing", "fleet.position"));
            assert!(told.detail.contains("GRANT MODIFY ON KEYSPACE fleet TO surgetank"), "{}", told.detail);
        }
    }
}
