//! `kip function logs`.

use std::{collections::BTreeSet, time::Duration};

use clap::Args as ClapArgs;
use humantime::parse_duration;
use kipper_api::names::CONTAINER;
use kipper_client::logs::{Line, Logs, Query};
use serde_json::json;

use crate::{output, settings::ScopeArgs};

use super::Session;

/// Show what the pods of a function say.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Name of the function
    pub name: String,

    /// No older lines: 5m, 15m, 1h, 6h, 24h, 7d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1h")]
    pub since: Duration,

    /// Only lines that contain this text
    #[arg(long, value_name = "TEXT")]
    pub search: Option<String>,

    /// Go on with lines as they come, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,

    /// Begin each line with its time
    #[arg(long)]
    pub timestamps: bool,

    /// A JSON object per line: pod, container, time, text
    #[arg(long)]
    pub json: bool,
}

pub(super) async fn run(args: &Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let session = Session::open(scope).await?;
    let function = session.functions.get(&args.name).await?;
    let logs = Logs::new(&session.connection);
    let query = Query { search: args.search.clone(), ..Query::function(&args.name, args.since) };
    let mut shown = Shown { args, pods: BTreeSet::new(), result: Ok(()) };
    if args.follow {
        if logs.pods(&query).await?.is_empty() {
            eprintln!("{} has no pods now; its lines follow when it has", args.name);
        }
        logs.follow(query).run(|line| shown.line(&line)).await?;
        return shown.result;
    }
    let recent = logs.recent(&query).await?;
    for notice in &recent.notices {
        eprintln!("{notice}");
    }
    shown.pods = recent.lines.iter().map(|line| line.pod.clone()).collect();
    for line in &recent.lines {
        shown.line(line);
    }
    if recent.lines.is_empty() {
        let since = humantime::format_duration(args.since);
        match recent.pods {
            0 if function.spec.is_served() => eprintln!(
                "{} is at zero replicas: it has no pods, and what former ones said went with them",
                args.name
            ),
            0 => eprintln!("{} has no run whose pod is still there", args.name),
            _ => eprintln!("its pods said nothing of that in the last {since}"),
        }
    }
    shown.result
}

/// Prints lines. As soon as there is a second pod, each says whose it is.
struct Shown<'a> {
    args: &'a Args,
    pods: BTreeSet<String>,
    result: anyhow::Result<()>,
}

impl Shown<'_> {
    fn line(&mut self, line: &Line) {
        if self.result.is_err() {
            return;
        }
        if !self.pods.contains(&line.pod) {
            self.pods.insert(line.pod.clone());
        }
        self.result = output::line(text(line, self.args, self.pods.len() > 1));
    }
}

fn text(line: &Line, args: &Args, with_pod: bool) -> String {
    let time = line.time.map(|time| time.to_string());
    if args.json {
        return json!({
            "pod": line.pod, "container": line.container, "time": time, "text": line.text,
        })
        .to_string();
    }
    let mut prefix = String::new();
    if let Some(time) = time.filter(|_| args.timestamps) {
        prefix.push_str(&time);
        prefix.push(' ');
    }
    let whose = if line.container == CONTAINER { "" } else { line.container.as_str() };
    if with_pod || !whose.is_empty() {
        let slash = if with_pod && !whose.is_empty() { "/" } else { "" };
        let pod = if with_pod { line.pod.as_str() } else { "" };
        prefix.push_str(&format!("[{pod}{slash}{whose}] "));
    }
    format!("{prefix}{}", line.text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Example {
        #[command(flatten)]
        args: Args,
    }

    fn args(flags: &[&str]) -> Args {
        Example::try_parse_from([&["x", "hello"], flags].concat()).unwrap().args
    }

    #[test]
    fn a_line_says_as_much_as_is_needed() {
        let line = |container: &str| Line {
            pod: "hello-1".to_owned(),
            container: container.to_owned(),
            time: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            text: "hi".to_owned(),
        };
        let (own, poller) = (line("function"), line("kipper-poll"));
        let plain = args(&[]);
        assert_eq!(text(&own, &plain, false), "hi");
        assert_eq!(text(&own, &plain, true), "[hello-1] hi");
        assert_eq!(text(&poller, &plain, false), "[kipper-poll] hi");
        assert_eq!(text(&poller, &plain, true), "[hello-1/kipper-poll] hi");
        assert_eq!(text(&own, &args(&["--timestamps"]), false), "2026-01-01T00:00:00Z hi");
        let json: serde_json::Value = text(&own, &args(&["--json"]), true).parse().unwrap();
        assert_eq!((json["pod"].as_str(), json["text"].as_str()), (Some("hello-1"), Some("hi")));
    }
}
