//! Wakes and floors, phase by phase. Pure.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kipper_measure::samples::Samples;

use super::{floor::Floor, wake::Wake};

/// From `start` to `end`. What was seen late counts as no time at all, never as time gained.
pub(crate) fn between(start: Timestamp, end: Timestamp) -> Duration {
    end.duration_since(start).try_into().unwrap_or_default()
}

impl Wake {
    /// What we added to what Kubernetes and the function need: from the request to the scale, and
    /// from a listening pod to the first byte.
    pub(crate) fn added(&self) -> Duration {
        between(self.sent, self.scaled.at) + between(self.listening, self.first_byte)
    }

    pub(crate) fn whole(&self) -> Duration {
        between(self.sent, self.first_byte)
    }
}

impl Floor {
    pub(crate) fn whole(&self) -> Duration {
        between(self.scaled.at, self.listening)
    }
}

/// p50, p90 and max of one phase.
fn line(name: &str, samples: &Samples) -> String {
    let [p50, p90] = [0.5, 0.9].map(|quantile| samples.quantile(quantile));
    format!("   {name:<34} p50 {p50:8.1} ms  p90 {p90:8.1} ms  max {:8.1} ms", samples.max())
}

/// Every phase of the wakes on a line of its own.
pub(crate) fn wakes(wakes: &[Wake]) -> String {
    type Phase = (&'static str, fn(&Wake) -> Duration);
    let phases: [Phase; 8] = [
        ("request -> scale written", |w| between(w.sent, w.scaled.at)),
        ("scale written -> pod created", |w| between(w.scaled.at, w.scaled.pod_created)),
        ("pod created -> scheduled", |w| between(w.scaled.pod_created, w.scaled.scheduled)),
        ("scheduled -> address in slice", |w| between(w.scaled.scheduled, w.in_slice)),
        ("address in slice -> listening", |w| between(w.in_slice, w.listening)),
        ("listening -> first byte", |w| between(w.listening, w.first_byte)),
        ("added by us", Wake::added),
        ("whole", Wake::whole),
    ];
    let lines = phases.map(|(name, of)| line(name, &wakes.iter().map(of).collect()));
    format!("   {} wakes\n{}", wakes.len(), lines.join("\n"))
}

/// The same of starts by hand.
pub(crate) fn floors(floors: &[Floor]) -> String {
    let slice = floors.iter().map(|f| between(f.scaled.at, f.in_slice)).collect();
    let listening = floors.iter().map(Floor::whole).collect();
    [
        format!("   {} starts by hand", floors.len()),
        line("by hand: scale -> slice has the IP", &slice),
        line("by hand: scale -> listening", &listening),
    ]
    .join("\n")
}
