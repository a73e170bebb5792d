//! What is asked of the server for one trigger: the key, and the statements made from the query.
//!
//! Checked once at start against the real server and its grants. Only the user's own query and
//! names from the server become part of a statement; values never do.

use std::{collections::BTreeSet, fmt::Write as _};

use kipper_statement::{self as template, Dialect, Query, Template};
use tokio_postgres::{
    Client, Column, Statement,
    error::SqlState,
    types::{Kind, Type},
};

use super::{
    connection::{Role, cause, explain, invalid},
    form,
};
use crate::source::SourceError;

/// One column of the key.
#[derive(Clone, Debug)]
pub(super) struct KeyColumn {
    /// Quoted.
    name: String,
    /// Its type, quoted, as an array's element.
    element: String,
    /// Its text depends on settings.
    varies: bool,
}

/// Statements for the claims. `__kp` is the alias of the user's query.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) key: Vec<KeyColumn>,
    /// The query's columns and their types.
    pub(super) columns: Vec<(String, Type)>,
    /// Columns that marks are made with, in the order of a claim's values.
    pub(super) values: Vec<String>,
    /// `$1` seed, `$2` keys left out, `$3` how many: key and lock of each event taken.
    pub(super) claim: String,
    /// `$1…` keys by column, then the bytes at most: key, body, values. Rows beyond the bytes come
    /// without a body.
    pub(super) fetch: String,
    /// `$1…` keys by column: key and body.
    pub(super) peek: String,
    /// Run after a peek in a transaction that goes on, where the peek changed its settings.
    pub(super) restore: Option<String>,
    /// Whether a row without a key exists.
    pub(super) keyless: String,
}

impl Plan {
    /// Asks the server about the query's columns and makes the statements.
    pub(super) async fn make(
        client: &Client,
        query: &Query,
        key: &[String],
        templates: &[&Template],
    ) -> Result<Self, SourceError> {
        let from = format!("FROM (\n{}\n) __kp", query.text());
        let statement = client
            .prepare(&format!("SELECT * {from}"))
            .await
            .map_err(|error| about("query", Role::Claims, &error))?;
        let columns = statement.columns();
        let names: Vec<String> = columns.iter().map(|column| column.name().to_owned()).collect();
        let mut seen = BTreeSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(*name)) {
            return Err(invalid(format!(
                "query: two columns are called {twice:?}; give one another name with AS"
            )));
        }
        let key = key_columns(client, columns, key).await?;
        let mut values: Vec<String> = Vec::new();
        for template in templates {
            template.check_columns(&names).map_err(|error| invalid(error.to_string()))?;
            for name in template.parameters() {
                if !name.starts_with('_') && !values.contains(name) {
                    values.push(name.clone());
                }
            }
        }
        Ok(Self::render(&from, key, columns, values))
    }

    fn render(from: &str, key: Vec<KeyColumn>, columns: &[Column], values: Vec<String>) -> Self {
        let names: Vec<&str> = key.iter().map(|column| column.name.as_str()).collect();
        let as_key = match &names[..] {
            [name] => format!("__kp.{name}::text"),
            names => {
                let texts: Vec<String> =
                    names.iter().map(|name| format!("__kp.{name}::text")).collect();
                format!("jsonb_build_array({})::text", texts.join(", "))
            }
        };
        let any_null: Vec<String> =
            names.iter().map(|name| format!("__kp.{name} IS NULL")).collect();
        let any_null = any_null.join(" OR ");
        // Without the fence the planner may try locks of rows that are not returned.
        let selected: Vec<String> = names.iter().map(|name| format!("__kp.{name}")).collect();
        let selected = format!("SELECT {} {from} WHERE NOT ({any_null})", selected.join(", "));
        let (with, rows) = form::over(&selected, key.iter().any(|column| column.varies));
        let claim = format!(
            "{with}, c AS MATERIALIZED (SELECT {as_key} AS k {rows})\n\
             SELECT k, hashtextextended(k, $1) FROM c WHERE CASE WHEN k = ANY($2::text[]) \
             THEN false ELSE pg_try_advisory_lock(hashtextextended(k, $1)) END LIMIT $3"
        );
        let (chosen, next) = chosen(&key);
        let mut texts = String::new();
        for (at, name) in values.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let name = template::quote_identifier(Dialect::Postgres, name);
            // Writing to a String cannot fail.
            let _ = write!(texts, "{comma}__kp.{name}::text");
        }
        let varies = columns.iter().any(|column| form::varies(column.type_()));
        let (with, rows) = form::over(&format!("SELECT __kp.* {from} WHERE {chosen}"), varies);
        let read = format!("SELECT {as_key} AS k, row_to_json(__kp)::text AS j");
        let fetch = format!(
            "{with} SELECT k, CASE WHEN before < ${next}::int8 THEN j END, \
             CASE WHEN before < ${next}::int8 THEN v END FROM (SELECT k, j, v, \
             sum(octet_length(j)) OVER (ROWS UNBOUNDED PRECEDING) - octet_length(j) AS before FROM (\
             {read}, ARRAY[{texts}]::text[] AS v {rows}) r) s"
        );
        let peek = format!("{with} {read} {rows}");
        let restore = varies.then(form::restore);
        let keyless = format!("SELECT EXISTS (SELECT 1 {from} WHERE {any_null})");
        let columns = columns.iter().map(|c| (c.name().to_owned(), c.type_().clone())).collect();
        Self { key, columns, values, claim, fetch, peek, restore, keyless }
    }
}

/// The condition that picks rows by their keys, given as one array a column, and the number of the
/// next parameter. Typed, so that the key's index can be used.
fn chosen(key: &[KeyColumn]) -> (String, usize) {
    if let [column] = key {
        return (format!("(__kp.{}) = ANY($1::{}[])", column.name, column.element), 2);
    }
    let names: Vec<String> = key.iter().map(|column| format!("__kp.{}", column.name)).collect();
    let arrays: Vec<String> = key
        .iter()
        .enumerate()
        .map(|(at, column)| format!("${}::{}[]", at + 1, column.element))
        .collect();
    let chosen = format!("({}) IN (SELECT * FROM unnest({}))", names.join(", "), arrays.join(", "));
    (chosen, key.len() + 1)
}

/// The configured key, or else the primary key of the one table that has all of it in the result.
async fn key_columns(
    client: &Client,
    columns: &[Column],
    configured: &[String],
) -> Result<Vec<KeyColumn>, SourceError> {
    let names: Vec<String> = if configured.is_empty() {
        primary_key(client, columns).await?
    } else {
        configured.to_vec()
    };
    names
        .iter()
        .map(|name| {
            let column = columns
                .iter()
                .find(|column| column.name() == name)
                .ok_or_else(|| invalid(format!("key: the query has no column {name:?}")))?;
            let ty = column.type_();
            if let Some(why) = unfit(ty) {
                return Err(invalid(format!("key: column {name:?} {why}")));
            }
            let name = template::quote_identifier(Dialect::Postgres, name);
            Ok(KeyColumn { name, element: type_name(ty), varies: form::varies(ty) })
        })
        .collect()
}

async fn primary_key(client: &Client, columns: &[Column]) -> Result<Vec<String>, SourceError> {
    let tables: BTreeSet<u32> = columns.iter().filter_map(Column::table_oid).collect();
    let tables: Vec<u32> = tables.into_iter().collect();
    let sql = "SELECT i.indrelid, a.attnum FROM pg_catalog.pg_index i \
               JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) \
               WHERE i.indisprimary AND i.indrelid = ANY($1) \
               ORDER BY i.indrelid, array_position(i.indkey::int2[], a.attnum)";
    let rows =
        client.query(sql, &[&tables]).await.map_err(|error| explain(Role::Claims, &error))?;
    let mut keys: Vec<(u32, Option<Vec<String>>)> = Vec::new();
    for row in rows {
        let (table, number): (u32, i16) = (row.get(0), row.get(1));
        let name = columns
            .iter()
            .find(|column| column.table_oid() == Some(table) && column.column_id() == Some(number))
            .map(|column| column.name().to_owned());
        if keys.last().is_none_or(|(last, _)| *last != table) {
            keys.push((table, Some(Vec::new())));
        }
        if let Some((_, names)) = keys.last_mut() {
            *names = names.take().zip(name).map(|(mut names, name)| {
                names.push(name);
                names
            });
        }
    }
    let mut whole: Vec<Vec<String>> = keys.into_iter().filter_map(|(_, names)| names).collect();
    match (whole.pop(), whole.is_empty()) {
        (Some(names), true) => Ok(names),
        (Some(_), false) => Err(invalid(
            "key: the query has the primary keys of several tables; name the columns that tell its \
             rows apart in key",
        )),
        (None, _) => Err(invalid(
            "key: no table's whole primary key is among the query's columns; select it, or name the \
             columns that tell its rows apart in key",
        )),
    }
}

/// Why values of a type are no keys.
fn unfit(ty: &Type) -> Option<&'static str> {
    match ty.kind() {
        Kind::Domain(base) => unfit(base),
        // An array of arrays has no type of its own, by which rows could be found again.
        Kind::Array(_) => Some("is an array; a key needs columns with a single value"),
        _ if *ty == Type::JSON => Some("is json, which has no equality; jsonb has"),
        _ => None,
    }
}

fn type_name(ty: &Type) -> String {
    let quote = |name| template::quote_identifier(Dialect::Postgres, name);
    match ty.kind() {
        // The key's own type, not what a domain adds to it.
        Kind::Domain(base) => type_name(base),
        _ => format!("{}.{}", quote(ty.schema()), quote(ty.name())),
    }
}

/// A prepared statement of the user's, with types for its parameters.
pub(super) struct Prepared {
    pub(super) statement: Statement,
    /// The server counts the rows that it changes.
    pub(super) counts: bool,
}

/// Prepares one of the user's statements.
///
/// The server infers the types; where it cannot, the type of the column is taken, and where that is of
/// no use either, the user is asked for a cast. The whole is checked by `EXPLAIN`, which, other than
/// `PREPARE`, looks at the grants. `CALL` has no plan to explain: what is wrong with it beyond its
/// arguments shows when it runs.
pub(super) async fn prepare(
    client: &Client,
    what: &'static str,
    template: &Template,
    columns: &[(String, Type)],
) -> Result<Prepared, SourceError> {
    let statement = match client.prepare(template.sql()).await {
        Err(error) if error.code() == Some(&SqlState::INDETERMINATE_DATATYPE) => {
            let types: Vec<Type> = template
                .parameters()
                .iter()
                .map(|name| {
                    let column = columns.iter().find(|(column, _)| column == name);
                    column.map_or(Type::TEXT, |(_, ty)| ty.clone())
                })
                .collect();
            client.prepare_typed(template.sql(), &types).await.map_err(|error| {
                invalid(format!(
                    "{what}: {}; say the type of the placeholder, as in {{{{id}}}}::bigint",
                    cause(&error)
                ))
            })?
        }
        result => result.map_err(|error| about(what, Role::Marks, &error))?,
    };
    // The driver keeps its statements' names to itself, so the check makes one of its own.
    let types: Vec<String> = statement.params().iter().map(type_name).collect();
    let list = |items: &[String]| {
        if items.is_empty() { String::new() } else { format!("({})", items.join(", ")) }
    };
    let nulls = vec!["NULL".to_owned(); types.len()];
    let check = format!(
        "PREPARE kp_check{} AS {};\nEXPLAIN EXECUTE kp_check{};\nDEALLOCATE kp_check",
        list(&types),
        template.sql(),
        list(&nulls)
    );
    match client.simple_query(&check).await {
        Ok(_) => Ok(Prepared { statement, counts: true }),
        // The protocol has prepared it: it is no more than `PREPARE` that knows no such statement.
        Err(error) if error.code() == Some(&SqlState::SYNTAX_ERROR) => {
            Ok(Prepared { statement, counts: false })
        }
        Err(error) => Err(about(what, Role::Marks, &error)),
    }
}

/// An error of one of the user's statements: theirs to mend, unless the connection broke.
pub(super) fn about(what: &str, role: Role, error: &tokio_postgres::Error) -> SourceError {
    match explain(role, error) {
        SourceError::Failed(text) => invalid(format!("{what}: {text}")),
        other => other,
    }
}
