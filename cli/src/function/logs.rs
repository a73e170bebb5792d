//! `kip function logs`.

use std::{collections::BTreeSet, time::Duration};

use clap::Args as ClapArgs;
use kipper_client::{
    ApiError,
    logs::{Line, Logs, Query, Recent, Search},
    loki::{Address, Loki, Tenant},
};
use kipper_function::names::{CONTAINER, is_test_pod};
use kube::ResourceExt as _;
use serde_json::json;

use crate::{duration, output, session::Session, settings::ScopeArgs, visible::visible};

/// Print the logs of a function: of its pods, and with Loki also of former pods.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Name of the function
    pub name: String,

    /// Only lines newer than this: 5m, 15m, 1h, 6h, 24h, 7d [default: 1h, with --tail or --previous 7d]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub since: Option<Duration>,

    /// Only this many lines, the last ones
    #[arg(long, value_name = "LINES")]
    pub tail: Option<usize>,

    /// Print what containers logged before their last restart
    #[arg(short, long, conflicts_with_all = ["follow", "loki", "loki_tenant"])]
    pub previous: bool,

    /// Only lines that contain this text, in upper or lower case
    #[arg(long, value_name = "TEXT")]
    pub search: Option<Search>,

    /// Follow the log until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,

    /// Prefix each line with its timestamp
    #[arg(long)]
    pub timestamps: bool,

    /// Print one JSON object per line: pod, container, time, text
    #[arg(long)]
    pub json: bool,

    /// Loki that collects the lines: its URL, or <namespace>/<service>[:<port>] to go through the API
    /// server [env: KIP_LOKI]
    #[arg(long, value_name = "ADDRESS")]
    pub loki: Option<Address>,

    /// Tenant of that Loki, if it has several [env: KIP_LOKI_TENANT]
    #[arg(long, value_name = "NAME")]
    pub loki_tenant: Option<Tenant>,

    /// Read only existing pods, even if a Loki is configured
    #[arg(long, conflicts_with_all = ["loki", "loki_tenant"])]
    pub pods: bool,
}

pub(super) async fn run(args: &Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let session = Session::open(scope).await?;
    let loki = loki(args, &session).await?;
    let function = session.functions.get(&args.name).await?;
    let logs = Logs::new(&session.connection);
    let query = args.query();
    let mut shown = Shown { args, pods: BTreeSet::new(), result: Ok(()) };
    if args.follow {
        return follow(&mut shown, &logs, loki.as_ref(), query).await;
    }
    let recent = match &loki {
        Some(loki) => loki.recent(&args.name, &query).await?,
        None => logs.recent(&query).await?,
    };
    shown.recent(&recent);
    if recent.lines.is_empty() {
        let (name, since) = (&args.name, humantime::format_duration(query.since));
        match recent.pods {
            _ if loki.is_some() => {
                output::note(format!("no matching lines of {name} in the last {since}"))
            }
            _ if args.previous => output::note(format!(
                "no container of {name} that logged in the last {since} has been restarted"
            )),
            0 if function.spec.is_served() => output::note(format!(
                "{name} is scaled to zero: it has no pods, and the logs of former pods are gone"
            )),
            0 => output::note(format!("{name} has no runs whose pods still exist")),
            _ => output::note(format!("no matching lines of its pods in the last {since}")),
        }
    }
    shown.result
}

/// How far back lines are shown.
const SINCE: Duration = Duration::from_secs(3600);
/// The same where something else says how many.
const SINCE_OF_FEW: Duration = Duration::from_secs(7 * 24 * 3600);

impl Args {
    fn query(&self) -> Query {
        let few = self.tail.is_some() || self.previous;
        let since = self.since.unwrap_or(if few { SINCE_OF_FEW } else { SINCE });
        Query {
            search: self.search.clone(),
            tail: self.tail,
            previous: self.previous,
            ..Query::function(&self.name, since)
        }
    }
}

/// The flags' before the one that is set elsewhere, and that before the cluster's.
async fn loki(args: &Args, session: &Session) -> Result<Option<Loki>, ApiError> {
    // A Loki does not know which lines were before a restart.
    if args.pods || args.previous {
        return Ok(None);
    }
    let settings = &session.settings;
    let mut address = args.loki.clone().or_else(|| settings.loki.clone());
    let mut tenant = args.loki_tenant.clone().or_else(|| settings.loki_tenant.clone());
    if address.is_none()
        && let Some(cluster) = session.cluster().await?
    {
        address = cluster.loki;
        tenant = tenant.or(cluster.loki_tenant);
    }
    Ok(address.map(|address| Loki::new(&session.connection, address, tenant.as_ref())))
}

/// Pods tell a line at once, and Loki a moment later: it is asked only for those that are gone.
async fn follow(
    shown: &mut Shown<'_>,
    logs: &Logs,
    loki: Option<&Loki>,
    query: Query,
) -> anyhow::Result<()> {
    let name = &shown.args.name;
    let pods: BTreeSet<_> = logs.pods(&query).await?.iter().map(|pod| pod.name_any()).collect();
    if let Some(loki) = loki {
        let mut gone = loki.recent(name, &query).await?;
        gone.lines.retain(|line| !pods.contains(&line.pod));
        shown.recent(&gone);
    }
    if pods.is_empty() {
        output::note(format!("{name} has no pods now; waiting for new ones"));
    }
    logs.follow(query).run(|line| shown.line(&line)).await?;
    std::mem::replace(&mut shown.result, Ok(()))
}

/// Prints lines. As soon as there is a second pod, each says whose it is; one of a test run always does.
struct Shown<'a> {
    args: &'a Args,
    pods: BTreeSet<String>,
    result: anyhow::Result<()>,
}

impl Shown<'_> {
    fn recent(&mut self, recent: &Recent) {
        for notice in &recent.notices {
            output::note(notice);
        }
        self.pods.extend(recent.lines.iter().map(|line| line.pod.clone()));
        for line in &recent.lines {
            self.line(line);
        }
    }

    fn line(&mut self, line: &Line) {
        if self.result.is_err() {
            return;
        }
        if !self.pods.contains(&line.pod) {
            self.pods.insert(line.pod.clone());
        }
        let with_pod = self.pods.len() > 1 || is_test_pod(&self.args.name, &line.pod);
        let text = text(line, self.args, with_pod) + "\n";
        // What is not JSON has been made visible.
        self.result = output::raw(text);
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
    // The end of a line, where a program writes CR LF, is not a part of it.
    let text = line.text.strip_suffix('\r').unwrap_or(&line.text);
    visible(&format!("{prefix}{text}")).into_owned()
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
    fn a_query_reaches_back_as_far_as_it_must() {
        let since = |flags: &[&str]| args(flags).query().since.as_secs();
        assert_eq!(since(&[]), 3600);
        assert_eq!(since(&["--tail=10"]), 604_800);
        assert_eq!(since(&["-p"]), 604_800);
        assert_eq!(since(&["--tail=10", "--since=5m"]), 300);
        for flags in [&["-p", "-f"][..], &["-p", "--loki=monitoring/loki"], &["--tail=-1"]] {
            Example::try_parse_from([&["x", "hello"], flags].concat()).unwrap_err();
        }
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
        let hidden = Line { text: "\t\x1b[2Jgone\r".to_owned(), ..line("function") };
        assert_eq!(text(&hidden, &plain, false), "\t^[[2Jgone");
        for (pod, expected) in
            [("hello-test-0a1b2c3d-x", true), ("hello-1", false), ("hello-tests-1", false)]
        {
            assert_eq!(is_test_pod("hello", pod), expected, "{pod}");
        }
        let json = text(&hidden, &args(&["--json"]), false);
        assert!(json.contains(r"\t\u001b[2Jgone\r"), "{json}");
        let json: serde_json::Value = text(&own, &args(&["--json"]), true).parse().unwrap();
        assert_eq!((json["pod"].as_str(), json["text"].as_str()), (Some("hello-1"), Some("hi")));
    }
}
