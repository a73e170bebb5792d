//! What a schedule means: the words and the next firings, by the rules that run it.

use axum::Json;
use kipper_function::{
    Timestamp,
    cron::{CronError, Schedule},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::input::{Body, User};
use crate::{Problem, backend::Result};

/// Firings that are shown.
const FIRINGS: usize = 5;

/// A schedule, as it is typed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Asked {
    schedule: String,
    #[serde(default)]
    time_zone: Option<String>,
}

pub(super) async fn describe(User(_): User, Body(asked): Body<Asked>) -> Result<Json<Value>> {
    Ok(Json(described(&asked, Timestamp::now())?))
}

fn described(asked: &Asked, now: Timestamp) -> Result<Value> {
    let zone = asked.time_zone.as_deref().filter(|zone| !zone.is_empty());
    let schedule = Schedule::parse_in(&asked.schedule, zone)
        .and_then(|schedule| schedule.check_fires().map(|()| schedule))
        .map_err(|error| {
            let is_zone = matches!(error, CronError::UnknownZone { .. });
            Problem::field(if is_zone { "timeZone" } else { "schedule" }, error.to_string())
        })?;
    let next = schedule.upcoming(now, FIRINGS).into_iter();
    let next = next.map(|time| {
        let local = schedule.local(time).strftime("%a, %d %b %Y %H:%M:%S %Z").to_string();
        json!({ "time": time, "local": local })
    });
    Ok(json!({ "description": schedule.describe(), "next": next.collect::<Vec<_>>() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(schedule: &str, zone: Option<&str>) -> Asked {
        Asked { schedule: schedule.to_owned(), time_zone: zone.map(str::to_owned) }
    }

    #[test]
    fn a_schedule_has_words_and_five_firings() {
        let now = Timestamp::UNIX_EPOCH;
        let found = described(&asked("0 2 * * *", None), now).unwrap_or_default();
        assert_eq!(found["description"], "Every day at 02:00 UTC");
        assert_eq!(found["next"].as_array().map(Vec::len), Some(FIRINGS));
        assert_eq!(found["next"][0]["local"], "Thu, 01 Jan 1970 02:00:00 UTC");
        let path = |schedule, zone| {
            described(&asked(schedule, zone), now).err().map(|p| p.problems[0].path.clone())
        };
        assert_eq!(path("often", None).as_deref(), Some("schedule"));
        assert_eq!(path("0 0 30 2 *", None).as_deref(), Some("schedule"));
        assert_eq!(path("0 2 * * *", Some("Europe/Berln")).as_deref(), Some("timeZone"));
    }
}
