//! Durations of one scenario and their quantiles. Pure.

use std::time::Duration;

/// What was measured, in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest value that `quantile` of all are not above; infinite without values, so that
    /// nothing measured meets no goal.
    pub fn quantile(&self, quantile: f64) -> f64 {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let rank = (quantile * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(f64::INFINITY)
    }

    pub fn max(&self) -> f64 {
        self.quantile(1.0)
    }

    /// p50, p99 and max on one line.
    pub fn summary(&self) -> String {
        let [p50, p99] = [0.5, 0.99].map(|quantile| self.quantile(quantile));
        format!("n {} p50 {p50:.2} ms p99 {p99:.2} ms max {:.2} ms", self.count(), self.max())
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        let mut values: Vec<f64> =
            durations.into_iter().map(|duration| duration.as_secs_f64() * 1e3).collect();
        values.sort_unstable_by(f64::total_cmp);
        Self(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let samples: Samples = (1..=200).map(Duration::from_millis).collect();
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} != {b}");
        near(samples.quantile(0.5), 100.0);
        near(samples.quantile(0.99), 198.0);
        near(samples.max(), 200.0);
        assert!(Samples::default().max().is_infinite());
    }
}
