//! The SQL of triggers: a query stays within the parentheses put around it, and a statement has as
//! many parameters as it had placeholders.

use kipper_statement::{Dialect, Purpose, Query, Template};

/// A query and a statement. The first byte says for which database, and what the statement is for.
pub fn statement(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let Ok(sql) = std::str::from_utf8(data) else { return };
    let dialect = if first & 1 == 0 { Dialect::Postgres } else { Dialect::Mysql };
    let purpose = if first & 2 == 0 { Purpose::MarkDone } else { Purpose::OnFailed };
    if let Ok(query) = Query::parse(dialect, sql) {
        assert_eq!(Query::parse(dialect, query.text()).as_ref(), Ok(&query));
        let around = format!("SELECT * FROM (\n{}\n) kp", query.text());
        Query::parse(dialect, &around).expect("it stays within parentheses");
    }
    if let Ok(template) = Template::parse(dialect, sql, purpose) {
        let columns: Vec<String> = template.parameters().to_vec();
        assert!(template.check_columns(&columns).is_ok());
        if columns.is_empty() {
            let rest = sql.strip_prefix(template.sql());
            assert!(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(';')));
        }
    }
}
