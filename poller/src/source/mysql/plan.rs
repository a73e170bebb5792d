//! What is asked of the server for one trigger: the key, and the statements made from the query.
//!
//! Checked once at start against the real server and its grants. Only the user's own query and
//! names from the server become part of a statement; values never do.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use kipper_statement::{self as template, Dialect, Query, Template};
use mysql_async::{Column, Row, Value, consts::ColumnType};

use super::{
    connection::{Turn, invalid},
    server::Server,
    value::{Kind, write_string},
};
use crate::source::{Key, SourceError};

/// Most keys that one statement looks up is two to this power. A batch between two powers repeats a
/// key, so that few statements serve all sizes.
const CHOSEN_POWERS: u32 = 8;
/// Keys that one statement looks up at most.
pub(super) const MAX_CHOSEN: usize = 1 << CHOSEN_POWERS;

/// One column of the key.
#[derive(Clone, Debug)]
struct KeyColumn {
    name: String,
    kind: Kind,
}

/// Statements for the claims. `__kp` is the alias of the user's query.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    key: Vec<KeyColumn>,
    /// Columns that marks are made with, in the order of a claim's values.
    pub(super) values: Vec<String>,
    /// Columns that hold JSON although the protocol says text.
    json: HashSet<String>,
    /// Columns whose values the server tells in the time zone of the session. Behind all others, a row
    /// has the moments that they mean, in this order.
    moments: Vec<String>,
    /// The parameter says how many: keys of the query's first rows, in its order.
    pub(super) window: String,
    /// By the power of two that is the number of keys: all columns of their rows.
    chosen: Vec<String>,
    /// Whether a row without a key exists.
    pub(super) keyless: String,
}

/// Where in a row things are. Rows of one statement have one shape, until somebody changes the table.
#[derive(Debug)]
pub(super) struct Shape {
    key: Vec<(usize, Kind)>,
    values: Vec<(usize, Kind)>,
    /// Names as JSON, with what stands before the value, and where the moment is that a value means.
    fields: Vec<(Vec<u8>, Kind, Option<usize>)>,
}

impl Plan {
    /// Asks the server about the query's columns and makes the statements.
    pub(super) async fn make(
        turn: &mut Turn<'_>,
        server: &Server,
        query: &Query,
        key: &[String],
        templates: &[&Template],
    ) -> Result<Self, SourceError> {
        let statement = turn.prepare(query.text()).await.map_err(|error| error.about("query"))?;
        let columns = statement.columns();
        let names: Vec<String> =
            columns.iter().map(|column| column.name_str().into_owned()).collect();
        let mut seen = BTreeSet::new();
        // Names that differ in case only are one name to the server.
        if let Some(twice) = names.iter().find(|name| !seen.insert(name.to_lowercase())) {
            return Err(invalid(format!(
                "query: two columns are called {twice:?}; give one another name with AS"
            )));
        }
        let key = key_columns(turn, &columns, key).await?;
        let mut values: Vec<String> = Vec::new();
        for template in templates {
            template.check_columns(&names).map_err(|error| invalid(error.to_string()))?;
            for name in template.parameters() {
                if !template::is_reserved(name) && !values.contains(name) {
                    values.push(name.clone());
                }
            }
        }
        let json =
            if server.is_mariadb { json_columns(turn, &columns).await? } else { HashSet::new() };
        let is_moment = |column: &&Column| matches!(Kind::of(column), Kind::Timestamp(_));
        let moments = columns.iter().filter(is_moment);
        let moments = moments.map(|column| column.name_str().into_owned()).collect();
        Ok(Self::render(query.text(), key, values, json, moments))
    }

    fn render(
        query: &str,
        key: Vec<KeyColumn>,
        values: Vec<String>,
        json: HashSet<String>,
        moments: Vec<String>,
    ) -> Self {
        let names: Vec<String> = key
            .iter()
            .map(|column| {
                format!("__kp.{}", template::quote_identifier(Dialect::Mysql, &column.name))
            })
            .collect();
        let from = format!("FROM (\n{query}\n) __kp");
        // The limit within keeps the query's order, which a derived table has no other way to keep.
        let window = format!("SELECT {} FROM (\n{query}\nLIMIT ?\n) __kp", names.join(", "));
        let any_null: Vec<String> = names.iter().map(|name| format!("{name} IS NULL")).collect();
        let keyless = format!("SELECT EXISTS (SELECT 1 {from} WHERE {})", any_null.join(" OR "));
        let one: Vec<String> = key.iter().map(KeyColumn::parameter).collect();
        let (left, one) = match &names[..] {
            [name] => (name.clone(), one.concat()),
            names => (format!("({})", names.join(", ")), format!("({})", one.join(", "))),
        };
        let quoted = |name: &String| template::quote_identifier(Dialect::Mysql, name);
        let seconds = moments.iter().map(|name| format!(", UNIX_TIMESTAMP(__kp.{})", quoted(name)));
        let seconds: String = seconds.collect();
        let chosen = (0..=CHOSEN_POWERS)
            .map(|power| {
                let keys = vec![one.as_str(); 1_usize << power].join(", ");
                format!("SELECT __kp.*{seconds} {from} WHERE {left} IN ({keys})")
            })
            .collect();
        Self { key, values, json, moments, window, chosen, keyless }
    }

    /// The statement for rows of these keys, which are at most [`MAX_CHOSEN`] and at least one.
    pub(super) fn chosen(&self, keys: &[&str]) -> Result<(&str, Vec<Value>), String> {
        let size = keys.len().next_power_of_two();
        let power = usize::try_from(size.trailing_zeros()).unwrap_or(usize::MAX);
        let Some(sql) = self.chosen.get(power) else {
            return Err(format!("{} keys are too many at once", keys.len()));
        };
        let mut parameters = Vec::with_capacity(size * self.key.len());
        let last = keys.last().copied();
        for key in keys.iter().copied().chain(last.into_iter().cycle()).take(size) {
            self.push_values(key, &mut parameters)?;
        }
        Ok((sql, parameters))
    }

    /// What [`Self::chosen`] says of no row at all, to see at start that it works.
    pub(super) fn chosen_none(&self) -> (&str, Vec<Value>) {
        (self.chosen.first().map_or("", String::as_str), vec![Value::NULL; self.key.len()])
    }

    fn push_values(&self, key: &str, parameters: &mut Vec<Value>) -> Result<(), String> {
        let bad = || format!("key {key:?} is not a key of this query");
        if let [column] = &self.key[..] {
            parameters.push(column.kind.parse(key).ok_or_else(bad)?);
            return Ok(());
        }
        let parts: Vec<String> = serde_json::from_str(key).map_err(|_| bad())?;
        if parts.len() != self.key.len() {
            return Err(bad());
        }
        for (column, part) in self.key.iter().zip(&parts) {
            parameters.push(column.kind.parse(part).ok_or_else(bad)?);
        }
        Ok(())
    }

    /// The key of a row of [`Self::window`]; `None` where a part of it is NULL.
    pub(super) fn window_key(&self, row: &Row) -> Option<Key> {
        let places = self.key.iter().enumerate();
        key_of(row, places.map(|(at, column)| (at, column.kind)))
    }

    /// The shape of rows with these columns.
    pub(super) fn shape(&self, columns: &[Column]) -> Result<Shape, String> {
        let count = columns.len().saturating_sub(self.moments.len());
        let columns = &columns[..count];
        let place = |name: &str| {
            let at = columns.iter().position(|column| column.name_ref() == name.as_bytes());
            at.ok_or_else(|| format!("the query lost its column {name:?}"))
        };
        let key = self.key.iter().map(|column| Ok((place(&column.name)?, column.kind)));
        let values = self.values.iter().map(|name| {
            let at = place(name)?;
            Ok((at, Kind::of(&columns[at])))
        });
        let (key, values) =
            (key.collect::<Result<_, String>>()?, values.collect::<Result<_, String>>()?);
        let fields = columns.iter().enumerate().map(|(at, column)| {
            let name = column.name_str();
            let mut head = if at == 0 { vec![b'{'] } else { vec![b','] };
            write_string(&name, &mut head);
            head.push(b':');
            let kind = Kind::of(column);
            let is_json = kind == Kind::Text && self.json.contains(&*name);
            let moment = self.moments.iter().position(|moment| *moment == *name);
            let moment = moment.map(|moment| count + moment);
            (head, if is_json { Kind::Json } else { kind }, moment)
        });
        let fields = fields.collect();
        Ok(Shape { key, values, fields })
    }
}

impl Shape {
    pub(super) fn key(&self, row: &Row) -> Option<Key> {
        key_of(row, self.key.iter().copied())
    }

    /// The row as JSON.
    pub(super) fn body(&self, row: &Row) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        for (at, (head, kind, moment)) in self.fields.iter().enumerate() {
            out.extend_from_slice(head);
            let value = row.as_ref(at).unwrap_or(&Value::NULL);
            match moment.and_then(|at| kind.moment(value, row.as_ref(at)?)) {
                Some(text) => write_string(&text, &mut out),
                None => kind.write_json(value, &mut out),
            }
        }
        out.push(b'}');
        out
    }

    /// What marks of this row are made with.
    pub(super) fn values(&self, row: &Row) -> Vec<Value> {
        let value =
            |(at, kind): &(usize, Kind)| kind.parameter(row.as_ref(*at).unwrap_or(&Value::NULL));
        self.values.iter().map(value).collect()
    }
}

impl KeyColumn {
    /// A DECIMAL is not compared with a text, lest both become floating point.
    fn parameter(&self) -> String {
        match self.kind {
            Kind::Decimal(digits) => format!("CAST(? AS DECIMAL(65,{digits}))"),
            _ => "?".to_owned(),
        }
    }
}

/// One column's text, or a JSON array of several.
fn key_of(row: &Row, places: impl Iterator<Item = (usize, Kind)>) -> Option<Key> {
    let mut parts: Vec<String> = Vec::with_capacity(1);
    for (at, kind) in places {
        match row.as_ref(at)? {
            Value::NULL => return None,
            value => parts.push(kind.text(value)),
        }
    }
    if parts.len() == 1 {
        return parts.pop().map(Key::from);
    }
    serde_json::to_string(&parts).ok().map(Key::from)
}

/// The configured key, or else the primary key of the one table that has all of it in the result.
async fn key_columns(
    turn: &mut Turn<'_>,
    columns: &[Column],
    configured: &[String],
) -> Result<Vec<KeyColumn>, SourceError> {
    let names =
        if configured.is_empty() { primary_key(turn, columns).await? } else { configured.to_vec() };
    let column = |name: String| {
        let column = columns.iter().find(|column| column.name_ref() == name.as_bytes());
        let column =
            column.ok_or_else(|| invalid(format!("key: the query has no column {name:?}")))?;
        if matches!(
            column.column_type(),
            ColumnType::MYSQL_TYPE_JSON
                | ColumnType::MYSQL_TYPE_GEOMETRY
                | ColumnType::MYSQL_TYPE_VECTOR
        ) {
            return Err(invalid(format!("key: values of column {name:?} are not comparable")));
        }
        Ok(KeyColumn { kind: Kind::of(column), name })
    };
    names.into_iter().map(column).collect()
}

async fn primary_key(turn: &mut Turn<'_>, columns: &[Column]) -> Result<Vec<String>, SourceError> {
    let mut whole: Vec<Vec<String>> = Vec::new();
    for ((schema, _, table), members) in tables(columns) {
        let sql = "SELECT COLUMN_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? \
                   AND TABLE_NAME = ? AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX";
        let rows = turn.rows(sql, vec![Value::from(schema), Value::from(table)]).await?;
        let name = |row: &Row| {
            let name = row.get_opt::<String, usize>(0)?.ok()?;
            let column = members
                .iter()
                .find(|column| column.org_name_str().to_lowercase() == name.to_lowercase())?;
            Some(column.name_str().into_owned())
        };
        let names: Option<Vec<String>> = rows.iter().map(name).collect();
        whole.extend(names.filter(|names| !names.is_empty()));
    }
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

/// Columns that the server checks to be JSON. To MariaDB that is a text with a constraint, which is
/// told to anyone who may read the table by `SHOW CREATE TABLE` alone.
async fn json_columns(
    turn: &mut Turn<'_>,
    columns: &[Column],
) -> Result<HashSet<String>, SourceError> {
    let mut json = HashSet::new();
    for ((schema, _, table), members) in tables(columns) {
        let texts: Vec<&&Column> = members
            .iter()
            .filter(|column| {
                use ColumnType::{MYSQL_TYPE_BLOB, MYSQL_TYPE_LONG_BLOB};
                matches!(column.column_type(), MYSQL_TYPE_BLOB | MYSQL_TYPE_LONG_BLOB)
                    && Kind::of(column) == Kind::Text
            })
            .collect();
        if texts.is_empty() {
            continue;
        }
        let quote = |name: &str| template::quote_identifier(Dialect::Mysql, name);
        let sql = format!("SHOW CREATE TABLE {}.{}", quote(&schema), quote(&table));
        let rows = match turn.text(&sql).await {
            Ok(rows) => rows,
            Err(error) if error.gone => return Err(error.into()),
            // A view whose text is not for this user: its JSON comes as text.
            Err(_) => continue,
        };
        let definition = rows.first().and_then(|row| row.get_opt::<String, usize>(1)?.ok());
        let definition = definition.unwrap_or_default();
        for column in texts {
            let name = quote(&column.org_name_str());
            let start = format!("{name} longtext");
            let check = format!("CHECK (json_valid({name}))");
            let mut lines = definition.lines().map(str::trim_start);
            if lines.any(|line| line.starts_with(&start) && line.contains(&check)) {
                json.insert(column.name_str().into_owned());
            }
        }
    }
    Ok(json)
}

/// The result's columns by the schema, alias and name of the table they come from.
fn tables(columns: &[Column]) -> BTreeMap<(String, String, String), Vec<&Column>> {
    let mut tables: BTreeMap<_, Vec<&Column>> = BTreeMap::new();
    for column in columns {
        let (schema, table) = (column.schema_str(), column.org_table_str());
        if !schema.is_empty() && !table.is_empty() {
            let place = (schema.into_owned(), column.table_str().into_owned(), table.into_owned());
            tables.entry(place).or_default().push(column);
        }
    }
    tables
}
