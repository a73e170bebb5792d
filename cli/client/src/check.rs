//! Everything wrong with a Function that can be found without a cluster. Pure.
//!
//! What the resource types know of themselves, and the statements of an event trigger, read by the
//! rules that controller and poller read them by.

use kipper_function::{Function, FunctionSpec, function::Problem};

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
    let events = spec.triggers.iter().enumerate();
    let events = events.filter_map(|(at, trigger)| Some((at, trigger.event()?)));
    let problems = events.flat_map(|(at, event)| {
        event.statement_problems().into_iter().map(move |problem| Problem {
            path: format!("spec.triggers[{at}].config.{}", problem.key),
            message: problem.message,
        })
    });
    problems.collect()
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
        let trigger = Trigger { type_: type_.to_owned(), config, ..Trigger::default() };
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
