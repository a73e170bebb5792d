//! The SQL of a trigger: whether its statements are as a poller takes them.

use kipper_statement::{Dialect, Purpose, Query, Template};

use crate::{
    event::{EventTrigger, Problem},
    kind::Kind,
    setting::Setting,
};

impl Kind {
    /// The dialect of its statements; `None` where events are no rows.
    pub const fn dialect(self) -> Option<Dialect> {
        match self {
            Self::Postgres => Some(Dialect::Postgres),
            Self::Mysql => Some(Dialect::Mysql),
            Self::Redis | Self::Minio => None,
        }
    }
}

impl EventTrigger<'_> {
    /// What is wrong with the statements that are there.
    pub fn statement_problems(&self) -> Vec<Problem> {
        let Some(dialect) = self.kind.dialect() else { return Vec::new() };
        let check = |setting, sql: &str| match setting {
            Setting::MarkDone => Template::parse(dialect, sql, Purpose::MarkDone).map(drop),
            Setting::OnFailed => Template::parse(dialect, sql, Purpose::OnFailed).map(drop),
            _ => Query::parse(dialect, sql).map(drop),
        };
        let statements = [Setting::Query, Setting::MarkDone, Setting::OnFailed];
        let problem = |setting: Setting| {
            let error = check(setting, self.setting(setting)?).err()?;
            Some(Problem { key: setting.name().to_owned(), message: error.to_string() })
        };
        statements.into_iter().filter_map(problem).collect()
    }

    /// The query, fit to be a derived table; `None` where events are no rows, or it cannot be read.
    pub fn query(&self) -> Option<String> {
        let query = Query::parse(self.kind.dialect()?, self.setting(Setting::Query)?).ok()?;
        Some(query.text().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn check(kind: Kind, config: &[(Setting, &str)], expected: Result<Option<&str>, &str>) {
        let pairs = config.iter().map(|(key, sql)| (key.name().to_owned(), (*sql).to_owned()));
        let config: BTreeMap<_, _> = pairs.collect();
        let trigger = EventTrigger::new(kind, &config);
        let problems: Vec<_> = trigger
            .statement_problems()
            .iter()
            .map(|problem| format!("{}: {}", problem.key, problem.message))
            .collect();
        match expected {
            Ok(query) => {
                assert!(problems.is_empty(), "{problems:?}");
                assert_eq!(trigger.query().as_deref(), query, "{config:?}");
            }
            Err(start) => assert!(problems[0].starts_with(start), "{problems:?}"),
        }
    }

    #[test]
    fn statements_are_those_a_poller_takes() {
        let query = "SELECT * FROM orders -- all of them";
        let ended = format!("{query}\n;");
        check(Kind::Postgres, &[(Setting::Query, ended.as_str())], Ok(Some(query)));
        check(Kind::Redis, &[(Setting::Query, "nonsense")], Ok(None));
        check(Kind::Mysql, &[(Setting::Query, "SELECT 1 LIMIT 3")], Err("query: LIMIT at "));
        check(Kind::Postgres, &[(Setting::Query, "SELECT $1")], Err("query: $1 at "));
        let marks = |sql| [(Setting::Query, query), (Setting::MarkDone, sql)];
        check(Kind::Postgres, &marks("UPDATE o SET s = 'x {{id}}'"), Err("markDone: "));
        check(Kind::Postgres, &marks("UPDATE o SET s = {{_error}}"), Err("markDone: {{_error}}"));
        let failed = [(Setting::OnFailed, "UPDATE o SET s = {{_error}}; SELECT 1")];
        check(Kind::Mysql, &failed, Err("onFailed: "));
    }
}
