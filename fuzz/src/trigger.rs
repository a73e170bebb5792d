//! Settings of triggers, and what KEDA passes along: whatever they say, they have a meaning or a
//! problem.

use std::collections::{BTreeMap, HashMap};

use kipper_trigger::{EventTrigger, Kind, scaler::Metadata};

/// Lines of `name=value`; the first byte says the kind.
pub fn trigger_settings(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(data) else { return };
    let config: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let kind = Kind::ALL[usize::from(*first) % Kind::ALL.len()];
    let trigger = EventTrigger::new(kind, &config);
    let problems = trigger.problems();
    let variables = trigger.variables();
    assert!(problems.iter().all(|problem| !problem.message.is_empty()));
    // A variable that is set twice would mean what the sidecar happens to read last.
    let mut names: Vec<_> = variables.iter().map(|(variable, _)| variable.name()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));

    let given: HashMap<String, String> = config.into_iter().collect();
    if let Ok(metadata) = Metadata::parse(&given) {
        let texts = metadata.texts().into_iter().map(|(key, value)| (key.to_owned(), value));
        assert_eq!(Metadata::parse(&texts.collect()), Ok(metadata));
    }
}
