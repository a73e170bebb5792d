//! Reads the text in which processes export their metrics (Prometheus text format 0.0.4). Pure.

/// The value of one sample, named with its labels as it is printed.
pub fn sample(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

/// The sum over every sample of a metric, whatever its labels; `None` without any.
pub fn total(text: &str, metric: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?;
        let value =
            if rest.starts_with('{') { rest.rsplit_once("} ")?.1 } else { rest.strip_prefix(' ')? };
        value.trim().parse::<f64>().ok()
    });
    values.reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_their_whole_name() {
        let text = "# HELP held x\nheld_total 3\nheld 2\ndone{outcome=\"a\"} 7\n";
        assert_eq!(sample(text, "held"), Some(2.0));
        assert_eq!(sample(text, "done{outcome=\"a\"}"), Some(7.0));
        assert_eq!(sample(text, "hel"), None);
    }

    #[test]
    fn sums_one_metric_and_no_other() {
        let text = "# HELP a b\na{x=\"1\"} 2\na{x=\"2\"} 3.5\na_total 7\nb 1\n";
        assert_eq!(total(text, "a"), Some(5.5));
        assert_eq!(total(text, "b"), Some(1.0));
        assert_eq!(total(text, "c"), None);
    }
}
