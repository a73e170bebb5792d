//! Judge: measured values against the limits of `limits.json`, one line each.
//!
//! `FIGURE <name> <measured> <unit> goal <op><value> met|short` never fails a run;
//! `CONDITION <name> <measured> <unit> limit <op><value> held|broken` does. A value without a
//! limit in the file is an error: a scenario cannot forget to state what it must reach.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;
use kipper_bench::figures::{Figure, Goal};
use serde::Deserialize;

const LIMITS: &str = include_str!("../limits.json");

/// The pass limits of every scenario.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    figures: BTreeMap<String, Limit>,
    conditions: BTreeMap<String, Limit>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    unit: String,
    at_most: Option<f64>,
    at_least: Option<f64>,
}

impl Limits {
    /// Reads `path`, or the limits this binary was built with.
    ///
    /// # Errors
    /// When the file cannot be read, or is not what is expected.
    pub fn load(path: Option<&Path>) -> Result<Self, anyhow::Error> {
        let Some(path) = path else {
            return serde_json::from_str(LIMITS).context("limits.json");
        };
        let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }
}

impl Limit {
    fn goal(&self) -> Option<Goal> {
        match (self.at_most, self.at_least) {
            (Some(bound), None) => Some(Goal::AtMost(bound)),
            (None, Some(bound)) => Some(Goal::AtLeast(bound)),
            _ => None,
        }
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
        let (limit, goal) = find(&self.limits.figures, name)?;
        println!("{}", Line { name, measured, limit, goal }.figure());
        Ok(())
    }

    /// Prints a condition, and remembers when it is broken.
    ///
    /// # Errors
    /// When the limits do not name it.
    pub fn condition(&mut self, name: &str, measured: usize) -> Result<(), anyhow::Error> {
        let (limit, goal) = find(&self.limits.conditions, name)?;
        // Exact up to 2^53 of whatever is counted.
        #[allow(clippy::cast_precision_loss)]
        let line = Line { name, measured: measured as f64, limit, goal };
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

fn find<'a>(
    limits: &'a BTreeMap<String, Limit>,
    name: &str,
) -> Result<(&'a Limit, Goal), anyhow::Error> {
    let limit = limits.get(name).with_context(|| format!("the limits do not name {name}"))?;
    let goal = limit.goal().with_context(|| format!("{name} needs at_most or at_least"))?;
    Ok((limit, goal))
}

struct Line<'a> {
    name: &'a str,
    measured: f64,
    limit: &'a Limit,
    goal: Goal,
}

impl Line<'_> {
    /// The line the benchmarks print, so that one reader understands both.
    fn figure(&self) -> String {
        let Self { name, measured, goal, .. } = *self;
        let figure = Figure { name: name.to_owned(), measured, unit: "#", goal };
        figure.to_string().replacen(" # ", &format!(" {} ", self.limit.unit), 1)
    }

    fn condition(&self) -> String {
        let Self { name, measured, limit, goal } = self;
        let verdict = if self.is_met() { "held" } else { "broken" };
        format!("CONDITION {name} {measured} {} limit {goal} {verdict}", limit.unit)
    }

    fn is_met(&self) -> bool {
        match self.goal {
            Goal::AtMost(bound) => self.measured <= bound,
            Goal::AtLeast(bound) => self.measured >= bound,
        }
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
            let (limit, goal) = find(&limits.figures, "wake").unwrap();
            Line { name: "wake", measured, limit, goal }.figure()
        };
        assert_eq!(line(4.2), "FIGURE wake 4.20 ms goal <=5.0 met");
        assert_eq!(line(6.0), "FIGURE wake 6.00 ms goal <=5.0 short");
        let (limit, goal) = find(&limits.conditions, "lost").unwrap();
        let line = Line { name: "lost", measured: 2.0, limit, goal }.condition();
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
    fn the_built_in_limits_are_whole() {
        let limits = Limits::load(None).unwrap();
        for (name, limit) in limits.figures.iter().chain(&limits.conditions) {
            assert!(limit.goal().is_some(), "{name}");
        }
    }
}
