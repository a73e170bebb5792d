//! From samples to the lines a run prints. Pure.

use std::fmt;

/// The middle of the values, or the mean of the two middle ones; `None` without values.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// The ratio of two peers over the rounds of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Median of the rounds' ratios.
    pub median: f64,
    /// Smallest of the rounds' ratios.
    pub low: f64,
    /// Largest of the rounds' ratios.
    pub high: f64,
}

impl Ratio {
    /// Divides round by round, because two runs a few seconds apart saw the same noise from the
    /// machine and two medians did not. `None` when no round has both values.
    pub fn by_round(
        ours: impl IntoIterator<Item = Option<f64>>,
        theirs: impl IntoIterator<Item = Option<f64>>,
    ) -> Option<Self> {
        let ratios: Vec<f64> = ours
            .into_iter()
            .zip(theirs)
            .filter_map(|(ours, theirs)| Some(ours? / theirs.filter(|theirs| *theirs > 0.0)?))
            .collect();
        Some(Self {
            median: median(ratios.iter().copied())?,
            low: ratios.iter().copied().min_by(f64::total_cmp)?,
            high: ratios.iter().copied().max_by(f64::total_cmp)?,
        })
    }
}

/// What a figure must reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

impl Goal {
    /// Whether `measured` reaches it.
    pub fn is_met(self, measured: f64) -> bool {
        match self {
            Self::AtMost(bound) => measured <= bound,
            Self::AtLeast(bound) => measured >= bound,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "<={bound:?}"),
            Self::AtLeast(bound) => write!(f, ">={bound:?}"),
        }
    }
}

/// One line of outcome, for people and for scripts:
/// `FIGURE <name> <measured> <unit> goal <op><value> met|short`.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Lower-case words joined by underscores.
    pub name: String,
    /// The measured value.
    pub measured: f64,
    /// Its unit.
    pub unit: String,
    /// What it must reach.
    pub goal: Goal,
}

impl Figure {
    /// A ratio of ours to a peer's.
    pub fn ratio(name: impl Into<String>, ratio: Ratio, goal: Goal) -> Self {
        Self { name: name.into(), measured: ratio.median, unit: "ratio".to_owned(), goal }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, measured, unit, goal } = self;
        // Judged as printed: a line that says 1.00 against a goal of 1.0 says met.
        let shown = format!("{measured:.2}");
        let met = goal.is_met(shown.parse().unwrap_or(*measured));
        let verdict = if met { "met" } else { "short" };
        write!(f, "FIGURE {name} {shown} {unit} goal {goal} {verdict}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median([4.0, 1.0, 2.0, 100.0]), Some(3.0));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The machine is twice as slow in the second round, for both.
        let ours = [Some(10.0), Some(20.0), Some(11.0)];
        let theirs = [Some(20.0), Some(40.0), Some(20.0)];
        let ratio = Ratio::by_round(ours, theirs).unwrap();
        assert_eq!(ratio, Ratio { median: 0.5, low: 0.5, high: 0.55 });
        assert_eq!(Ratio::by_round([None, Some(1.0)], [Some(1.0), Some(0.0)]), None);
    }

    #[test]
    fn figure_lines() {
        let figure = |measured, goal| {
            let (name, unit) = ("proxy_cpu_vs_nginx_c16".to_owned(), "ratio".to_owned());
            Figure { name, measured, unit, goal }.to_string()
        };
        assert_eq!(
            figure(0.8749, Goal::AtMost(1.0)),
            "FIGURE proxy_cpu_vs_nginx_c16 0.87 ratio goal <=1.0 met"
        );
        assert_eq!(
            figure(1.21, Goal::AtMost(1.2)),
            "FIGURE proxy_cpu_vs_nginx_c16 1.21 ratio goal <=1.2 short"
        );
        assert_eq!(
            figure(1.004, Goal::AtMost(1.0)),
            "FIGURE proxy_cpu_vs_nginx_c16 1.00 ratio goal <=1.0 met"
        );
        assert_eq!(
            figure(0.969, Goal::AtLeast(0.97)),
            "FIGURE proxy_cpu_vs_nginx_c16 0.97 ratio goal >=0.97 met"
        );
        assert_eq!(
            figure(0.96, Goal::AtLeast(0.97)),
            "FIGURE proxy_cpu_vs_nginx_c16 0.96 ratio goal >=0.97 short"
        );
    }
}
