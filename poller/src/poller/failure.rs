//! A delivery that failed, in words.

use crate::{dispatcher::Verdict, source::Key, target::Outcome};

/// Why a delivery failed, for the log and the dead letter.
pub(super) fn reason(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => String::new(),
        Outcome::NotSent { reason, detail } => format!("{}: {detail}", reason.label()),
        Outcome::Retry { reason, status, detail, .. } => match status {
            Some(status) => format!("{}: {detail}", status.as_u16()),
            None => format!("{}: {detail}", reason.label()),
        },
        Outcome::Permanent { status, detail, .. } => format!("{}: {detail}", status.as_u16()),
    }
}

/// One line for the log.
pub(super) fn log_failure<C>(key: &Key, attempt: u32, reason: &str, verdict: &Verdict<C>) {
    match verdict {
        Verdict::Wait(pause) => {
            tracing::warn!(%key, attempt, pause_ms = pause.as_millis(), "delivery failed: {reason}");
        }
        Verdict::DeadLetter(_) => tracing::error!(%key, attempt, "event is dead: {reason}"),
        Verdict::Mark(_) | Verdict::Release(_) => {
            tracing::warn!(%key, attempt, "delivery failed, event released: {reason}");
        }
    }
}
