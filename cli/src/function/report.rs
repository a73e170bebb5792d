//! What a write did: its URL, how to try it, when it fires next.

use std::time::Duration;

use kipper_client::{
    functions::Written,
    invoke::Gateway,
    wait::{self, Stage, WaitError, Woken},
};
use kipper_function::{Function, Timestamp, cron::Schedule};
use kube::ResourceExt as _;
use tokio::time::Instant;

use crate::{
    output::{self, Format},
    progress::Progress,
    session::Session,
    settings::Settings,
    write::{self, WaitArgs},
};

use super::invoke;

/// How long the controller is waited for where nobody asked to wait: it looks at once.
const LOOK: Duration = Duration::from_secs(10);
/// Firings of a schedule that are listed.
const FIRINGS: usize = 5;

/// Waits as far as was asked, and prints.
pub(super) async fn after(
    session: &Session,
    written: Written,
    args: WaitArgs,
    format: Option<Format>,
) -> anyhow::Result<()> {
    let reported = write::outcome(&written.function.name_any(), written.outcome);
    after_saying(session, &reported, &written.function, args, format).await
}

/// The same, of a write that is reported in these words.
pub(super) async fn after_saying(
    session: &Session,
    reported: &str,
    written: &Function,
    args: WaitArgs,
    format: Option<Format>,
) -> anyhow::Result<()> {
    let (function, woken) = if args.wait {
        let deadline = Instant::now() + args.timeout;
        waited(session, written, deadline).await?
    } else {
        (observed(session, written).await?, None)
    };
    match format {
        Some(format) => output::object(format, output::FUNCTIONS, &function),
        None => {
            let reported = format!("{reported} in namespace {}", session.namespace());
            output::print(text(&reported, &function, &session.settings, woken.as_ref()))
        }
    }
}

/// Waits for a function whose pods a change replaces, if that was asked, and says that it is ready.
pub(super) async fn settle(
    session: &Session,
    function: &Function,
    args: WaitArgs,
) -> anyhow::Result<()> {
    if !args.wait {
        return Ok(());
    }
    let (function, woken) = waited(session, function, Instant::now() + args.timeout).await?;
    let awake = woken.as_ref().map(|woken| format!(", {}", awake(woken)));
    output::line(format!("function {} ready{}", function.name_any(), awake.unwrap_or_default()))
}

/// The function once it is ready and, if requests reach it, has answered one.
pub(super) async fn waited(
    session: &Session,
    function: &Function,
    deadline: Instant,
) -> anyhow::Result<(Function, Option<Woken>)> {
    let name = function.name_any();
    let progress = Progress::start(format!("waiting until {name} is ready"));
    let tell = |stage: &Stage| progress.say(format!("waiting until {name} is ready: {stage}"));
    let mut ready = wait::ready(&session.functions, function, deadline, tell).await?;
    if ready.spec.is_served() {
        progress.say(format!("waiting until the old pods of {name} are gone"));
        let rolled_out = tokio::select! {
            rolled_out = wait::rolled_out(&session.connection, function, deadline) => rolled_out?,
            // Pods of the version before may go on serving all the while.
            why = wait::broken(&session.functions, function) => return Err(why.into()),
        };
        if !rolled_out {
            let now = session.functions.get(&name).await?;
            let last = match wait::stage(&now, function.metadata.generation.unwrap_or_default()) {
                Stage::Ready => "its new pods are not ready".to_owned(),
                stage => stage.to_string(),
            };
            return Err(WaitError::TooLate { name, last }.into());
        }
        ready = session.functions.get(&name).await?;
    }
    if !ready.spec.is_http() {
        return Ok((ready, None));
    }
    progress.say(format!("waking {name}"));
    let tell = |last: &str| progress.say(format!("waking {name}: {last}"));
    let gateway = &session.settings.gateway;
    let woken = wait::woken(&session.functions, &ready, gateway, deadline, tell).await?;
    Ok((ready, Some(woken)))
}

/// The function as the controller sees it, or as it was written where the controller is away.
pub(super) async fn observed(session: &Session, function: &Function) -> anyhow::Result<Function> {
    let name = function.name_any();
    let deadline = Instant::now() + LOOK;
    let Some(observed) = wait::observed(&session.functions, function, deadline).await? else {
        output::note(format!(
            "warning: the controller has not processed {name} yet; `kip function get {name}{}` shows \
             its URL once it has",
            session.settings.flags
        ));
        return Ok(function.clone());
    };
    let generation = function.metadata.generation.unwrap_or_default();
    let stage = wait::stage(&observed, generation);
    if stage != Stage::Ready {
        output::note(format!("warning: {name} is not ready: {stage}"));
    }
    Ok(observed)
}

/// The lines of a report.
fn text(reported: &str, function: &Function, settings: &Settings, woken: Option<&Woken>) -> String {
    let mut lines = vec![reported.to_owned()];
    let mut add = |what: &str, value: String| lines.push(format!("{what:<10}{value}"));
    let url = function.status.as_ref().and_then(|status| status.endpoint.as_deref());
    if let Some(url) = url {
        add("url", url.to_owned());
        add("try", curl(url, &settings.gateway));
    }
    for line in schedule(function, Timestamp::now()) {
        let (what, value) = line;
        add(what, value);
    }
    if function.spec.cron_trigger().is_some() {
        add("try", format!("kip function test {}{}", function.name_any(), settings.flags));
    }
    if let Some(event) = function.spec.event() {
        add("events", format!("{} {}", event.kind, event.source()));
    }
    if let Some(woken) = woken {
        add("awake", awake(woken));
    }
    lines.join("\n") + "\n"
}

/// `200 after 1.2 s (cold start: …)`.
fn awake(woken: &Woken) -> String {
    let phases = invoke::phases(&woken.phases).map(|phases| format!(" ({phases})"));
    let (status, took) = (woken.status.as_u16(), output::duration(woken.took));
    format!("{status} after {took}{}", phases.unwrap_or_default())
}

/// The schedule in English and when it fires next; nothing where there is none.
pub(super) fn schedule(function: &Function, now: Timestamp) -> Vec<(&'static str, String)> {
    let spec = &function.spec;
    let Some(schedule) = spec.schedule() else { return Vec::new() };
    if spec.cron_trigger().is_some_and(|trigger| trigger.suspend) {
        return vec![("schedule", format!("{}, suspended", schedule.describe()))];
    }
    let mut lines = vec![("schedule", schedule.describe())];
    for (at, time) in upcoming(function, now).into_iter().enumerate() {
        lines.push((if at == 0 { "next" } else { "" }, minute(&schedule, time)));
    }
    lines
}

/// The next runs of its schedule; none while it is suspended.
pub(super) fn upcoming(function: &Function, now: Timestamp) -> Vec<Timestamp> {
    let is_suspended = function.spec.cron_trigger().is_some_and(|trigger| trigger.suspend);
    let schedule = function.spec.schedule().filter(|_| !is_suspended);
    schedule.map(|schedule| schedule.upcoming(now, FIRINGS)).unwrap_or_default()
}

/// `2026-01-02 03:04:05 CET` on the clocks of a schedule, without seconds where there are none.
pub(super) fn minute(schedule: &Schedule, time: Timestamp) -> String {
    let form =
        if time.as_second() % 60 == 0 { "%Y-%m-%d %H:%M %Z" } else { "%Y-%m-%d %H:%M:%S %Z" };
    schedule.local(time).strftime(form).to_string()
}

/// A command that sends the function a request.
fn curl(url: &str, gateway: &Gateway) -> String {
    match &gateway.interceptor {
        None => format!("curl {url}"),
        Some(interceptor) => {
            let host = url.split_once("://").map_or(url, |(_, host)| host);
            let interceptor = interceptor.to_string();
            format!("curl -H 'Host: {host}' {}", interceptor.trim_end_matches('/'))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kipper_function::{FunctionSpec, FunctionStatus};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_says_how_to_try_it() {
        let mut function = Function::new("hello", FunctionSpec::default());
        let url = "https://fn-hello.example.com";
        let endpoint = Some(url.to_owned());
        function.status = Some(FunctionStatus { endpoint, ..FunctionStatus::default() });
        let settings = Settings::default();
        let reported = text("function hello created", &function, &settings, None);
        assert_eq!(
            reported,
            format!("function hello created\nurl       {url}\ntry       curl {url}\n")
        );
        let gateway = Gateway { interceptor: Some("http://10.0.0.7".parse().unwrap()) };
        let expected = "curl -H 'Host: fn-hello.example.com' http://10.0.0.7";
        assert_eq!(curl(url, &gateway), expected);

        let cron = json!({ "triggers": [{ "type": "cron", "schedule": "@daily" }] });
        let nightly = Function::new("nightly", serde_json::from_value(cron).unwrap());
        let settings = Settings { flags: " -n shop-dev".to_owned(), ..Settings::default() };
        let reported = text("function nightly created", &nightly, &settings, None);
        assert!(
            reported.ends_with("try       kip function test nightly -n shop-dev\n"),
            "{reported}"
        );
    }

    #[test]
    fn a_schedule_is_told_in_english() {
        let spec = |schedule: &str, zone: &str, suspend: bool| -> FunctionSpec {
            let cron = json!({
                "type": "cron", "schedule": schedule, "timeZone": zone, "suspend": suspend,
            });
            serde_json::from_value(json!({ "triggers": [cron] })).unwrap()
        };
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let reported = schedule(&Function::new("f", spec("0 2 * * *", "", false)), now);
        assert_eq!(reported.len(), 1 + FIRINGS);
        assert_eq!(reported[0], ("schedule", "Every day at 02:00 UTC".to_owned()));
        assert_eq!(reported[1], ("next", "2026-01-01 02:00 UTC".to_owned()));
        assert_eq!(reported[2], ("", "2026-01-02 02:00 UTC".to_owned()));
        assert_eq!(schedule(&Function::new("f", FunctionSpec::default()), now), []);
        let berlin = schedule(&Function::new("f", spec("0 2 * * *", "Europe/Berlin", false)), now);
        assert_eq!(berlin[0], ("schedule", "Every day at 02:00 Europe/Berlin".to_owned()));
        assert_eq!(berlin[1], ("next", "2026-01-02 02:00 CET".to_owned()));
        let suspended = schedule(&Function::new("f", spec("@daily", "", true)), now);
        assert_eq!(suspended, [("schedule", "Every day at midnight UTC, suspended".to_owned())]);
        let every = Schedule::parse("@every 5s").unwrap();
        let second = minute(&every, "2026-01-01T00:00:05Z".parse().unwrap());
        assert_eq!(second, "2026-01-01 00:00:05 UTC");
    }
}
