//! Judge: measured values against the limits of a file, one line each.
//!
//! `FIGURE <name> <measured> <unit> goal <op><value> met|short` never fails a run;
//! `CONDITION <name> <measured> <unit> limit <op><value> held|broken` does. A value without a
//! limit in the file is an error: a scenario cannot forget to state what it must reach.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;
use serde::Deserialize;

use crate::figures::{Figure, Goal};

/// The pass limits of every scenario.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    figures: BTreeMap<String, Limit>,
    conditions: BTreeMap<String, Limit>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Entry")]
struct Limit {
    unit: String,
    goal: Goal,
}

/// As it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    unit: String,
    at_most: Option<f64>,
    at_least: Option<f64>,
}

impl Limits {
    /// Reads `path`, or `built_in`, the text of the limits that a binary was built with.
    ///
    /// # Errors
    /// When the file cannot be read, is malformed, or a limit has no bound or two.
    pub fn load(path: Option<&Path>, built_in: &str) -> Result<Self, anyhow::Error> {
        let Some(path) = path else {
            return serde_json::from_str(built_in).context("the built-in limits");
        };
        let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }
}

impl TryFrom<Entry> for Limit {
    type Error = &'static str;

    fn try_from(entry: Entry) -> Result<Self, Self::Error> {
        let goal = match (entry.at_most, entry.at_least) {
            (Some(bound), None) => Goal::AtMost(bound),
            (None, Some(bound)) => Goal::AtLeast(bound),
            _ => return Err("a limit needs either at_most or at_least"),
        };
        Ok(Self { unit: entry.unit, goal })
    }
}

/// What a run found so far.
#[derive(Debug)]
pub struct Outcome {
    limits: Limits,
    broken: Vec<String>,
}

impl Outcome {
    /// Nothing found yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, broken: Vec::new() }
    }

    /// Prints a figure.
    ///
    /// # Errors
    /// When the limits do not name it.
    pub fn figure(&self, name: &str, measured: f64) -> Result<(), anyhow::Error> {
        let limit = find(&self.limits.figures, name)?;
        println!("{}", Line { name, measured, limit }.figure());
        Ok(())
    }

    /// Prints a condition, and remembers when it is broken.
    ///
    /// # Errors
    /// When the limits do not name it.
    pub fn condition(&mut self, name: &str, measured: usize) -> Result<(), anyhow::Error> {
        let limit = find(&self.limits.conditions, name)?;
        // Exact up to 2^53 of whatever is counted.
        #[allow(clippy::cast_precision_loss)]
        let line = Line { name, measured: measured as f64, limit };
        println!("{}", line.condition());
        if !line.is_met() {
            self.broken.push(name.to_owned());
        }
        Ok(())
    }

    /// The conditions that were broken.
    pub fn broken(&self) -> &[String] {
        &self.broken
    }
}

fn find<'a>(limits: &'a BTreeMap<String, Limit>, name: &str) -> Result<&'a Limit, anyhow::Error> {
    limits.get(name).with_context(|| format!("the limits do not name {name}"))
}

struct Line<'a> {
    name: &'a str,
    measured: f64,
    limit: &'a Limit,
}

impl Line<'_> {
    /// The line the benchmarks print, so that one reader understands both.
    fn figure(&self) -> String {
        let Limit { unit, goal } = self.limit.clone();
        Figure { name: self.name.to_owned(), measured: self.measured, unit, goal }.to_string()
    }

    fn condition(&self) -> String {
        let Self { name, measured, limit: Limit { unit, goal } } = self;
        let verdict = if self.is_met() { "held" } else { "broken" };
        format!("CONDITION {name} {measured} {unit} limit {goal} {verdict}")
    }

    fn is_met(&self) -> bool {
        self.limit.goal.is_met(self.measured)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn limits() -> Limits {
        let text = r#"{
            "figures": {"wake": {"unit": "ms", "at_most": 5}},
            "conditions": {"lost": {"unit": "requests", "at_most": 0}}
        }"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn lines() {
        let limits = limits();
        let line = |measured| {
            let limit = find(&limits.figures, "wake").unwrap();
            Line { name: "wake", measured, limit }.figure()
        };
        assert_eq!(line(4.2), "FIGURE wake 4.20 ms goal <=5.0 met");
        assert_eq!(line(6.0), "FIGURE wake 6.00 ms goal <=5.0 short");
        let limit = find(&limits.conditions, "lost").unwrap();
        let line = Line { name: "lost", measured: 2.0, limit }.condition();
        assert_eq!(line, "CONDITION lost 2 requests limit <=0.0 broken");
    }

    #[test]
    fn only_a_broken_condition_fails() {
        let mut outcome = Outcome::new(limits());
        outcome.figure("wake", 100.0).unwrap();
        outcome.condition("lost", 0).unwrap();
        assert!(outcome.broken().is_empty());
        outcome.condition("lost", 1).unwrap();
        assert_eq!(outcome.broken(), ["lost"]);
        outcome.condition("found", 1).unwrap_err();
    }

    #[test]
    fn a_limit_has_one_bound() {
        for bounds in ["", r#", "at_most": 1, "at_least": 2"#] {
            let text =
                format!(r#"{{"figures": {{"a": {{"unit": "s"{bounds}}}}}, "conditions": {{}}}}"#);
            let error = format!("{:#}", Limits::load(None, &text).unwrap_err());
            assert!(error.contains("either at_most or at_least"), "{error}");
        }
    }
}
