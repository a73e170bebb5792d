//! Everything wrong with a Function that can be found without a cluster. Pure.
//!
//! What the resource types know of themselves, and the statements of an event trigger, read by the
//! rules that controller and poller read them by.

use kipper_function::{
    Function, FunctionSpec,
    function::{Problem, TriggerKind},
};
use kipper_statement::{Dialect, Purpose, Query, Template};

/// Every problem of a whole Function; empty when there is none.
pub fn function(function: &Function) -> Vec<Problem> {
    let mut problems = function.validate();
    problems.extend(statements(&function.spec));
    problems
}

/// Every problem of a spec; empty when there is none.
pub fn spec(spec: &FunctionSpec) -> Vec<Problem> {
    let mut problems = spec.validate();
    problems.extend(statements(spec));
    problems
}

/// What is wrong with the SQL of the event trigger.
fn statements(spec: &FunctionSpec) -> Vec<Problem> {
    let Some(at) = spec.triggers.iter().position(|trigger| is_sql(trigger.kind())) else {
        return Vec::new();
    };
    let trigger = &spec.triggers[at];
    let dialect = match trigger.kind() {
        Some(TriggerKind::Mysql) => Dialect::Mysql,
        _ => Dialect::Postgres,
    };
    let check = |key: &str, sql: &str| match key {
        "query" => Query::parse(dialect, sql).map(drop),
        "markDone" => Template::parse(dialect, sql, Purpose::MarkDone).map(drop),
        _ => Template::parse(dialect, sql, Purpose::OnFailed).map(drop),
    };
    let mut problems = Vec::new();
    for key in ["query", "markDone", "onFailed"] {
        if let Some(sql) = trigger.setting(key)
            && let Err(error) = check(key, sql)
        {
            let path = format!("spec.triggers[{at}].config.{key}");
            problems.push(Problem { path, message: error.to_string() });
        }
    }
    problems
}

fn is_sql(kind: Option<TriggerKind>) -> bool {
    matches!(kind, Some(TriggerKind::Postgres | TriggerKind::Mysql))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kipper_function::function::Trigger;

    use super::*;

    #[track_caller]
    fn check(type_: &str, settings: &[(&str, &str)], expected: &[&str]) {
        let mut config = BTreeMap::from([("source".to_owned(), "db".to_owned())]);
        config.extend(settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let trigger = Trigger { type_: type_.to_owned(), schedule: None, config };
        let image = Some("registry/x".to_owned());
        let triggers = vec![trigger];
        let function =
            Function::new("f", FunctionSpec { image, triggers, ..FunctionSpec::default() });
        let found = super::function(&function);
        let paths: Vec<&str> = found.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, expected, "{found:?}");
        assert_eq!(spec(&function.spec), found);
    }

    #[test]
    fn statements_are_read_as_a_poller_will() {
        let query = ("query", "SELECT id FROM orders");
        let config = |key: &str| format!("spec.triggers[0].config.{key}");
        check("postgres", &[query], &[]);
        check("postgres", &[query, ("markDone", "DELETE FROM orders WHERE id = {{id}}")], &[]);
        check("mysql", &[query, ("onFailed", "UPDATE o SET e = {{_error}}")], &[]);
        check("postgres", &[("query", "SELECT 1 LIMIT 3")], &[&config("query")]);
        check("mysql", &[query, ("markDone", "SET x = 'a {{id}}'")], &[&config("markDone")]);
        check("postgres", &[query, ("markDone", "x = {{_error}}")], &[&config("markDone")]);
        check("redis", &[("list", "jobs")], &[]);
    }
}
