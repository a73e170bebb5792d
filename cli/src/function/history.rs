//! `kip function history`: the specs a function had, and which of them it has.

use clap::Args as ClapArgs;
use kipper_client::history::{self, Entry, History};
use kipper_function::{Timestamp, function::effective::Workload, names, revision::Revision};
use kube::ResourceExt as _;

use crate::{
    output::{self, Format, OutputArgs},
    session::Session,
    settings::ScopeArgs,
};

/// The resource of revisions: its plural, with its group.
const REVISIONS: &str = "controllerrevisions.apps";

/// List the revisions of a function, or show one.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Name of the function
    pub name: String,

    /// Show the spec of this revision
    #[arg(long, value_name = "N")]
    pub revision: Option<i64>,

    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(super) async fn run(args: &Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let session = Session::open(scope).await?;
    let function = session.functions.get(&args.name).await?;
    let history = history::read(&session.connection, &function).await?;
    if let Some(number) = args.revision {
        return show(history.get(number)?, args.output.output);
    }
    if let Some(format) = args.output.output {
        let objects = history.entries.iter().map(|entry| &entry.object);
        return output::objects(format, REVISIONS, objects);
    }
    if history.current.is_none() {
        output::note(format!(
            "the present spec of {} is not in its history: the controller has not applied it",
            function.name_any()
        ));
    }
    output::print(table(&history, Timestamp::now()))
}

fn show(entry: &Entry, format: Option<Format>) -> anyhow::Result<()> {
    match format {
        Some(format) => output::object(format, REVISIONS, &entry.object),
        None => output::print(serde_saphyr::to_string(&entry.revision.spec)?),
    }
}

fn table(history: &History, now: Timestamp) -> String {
    let row = |entry: &Entry| {
        let revision = &entry.revision;
        let is_current = history.current == Some(revision.number);
        let or_none = |text: Option<&str>| text.unwrap_or("-").to_owned();
        vec![
            revision.number.to_string(),
            if is_current { "*" } else { "" }.to_owned(),
            output::age(revision.changed_at.as_ref().map(|time| time.0), now),
            or_none(revision.changed_by.as_deref()),
            runs(revision),
            or_none(revision.cause.as_deref().and_then(|cause| cause.lines().next())),
        ]
    };
    let headings = ["REVISION", "CURRENT", "AGE", "CHANGED BY", "RUNS", "CAUSE"];
    output::table(&headings, &history.entries.iter().map(row).collect::<Vec<_>>())
}

/// The image, or the runtime and the digest of its code.
fn runs(revision: &Revision) -> String {
    match revision.spec.workload() {
        Some(Workload::Image(image)) => image.to_owned(),
        Some(Workload::Inline(runtime, _)) => {
            let code = revision.code.as_deref().and_then(|name| name.rsplit_once('-'));
            let digest =
                code.map(|(_, digest)| digest).filter(|text| text.len() == names::DIGEST_LEN);
            digest.map_or_else(|| runtime.to_string(), |digest| format!("{runtime}, code {digest}"))
        }
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kipper_function::revision::Record;
    use serde_json::{Value, json};

    use super::*;

    fn entry(number: i64, spec: Value, record: &Record, cause: Option<&str>) -> Entry {
        let object = serde_json::from_value(json!({
            "metadata": {
                "name": "hello", "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {
                    names::REVISION: record.write().unwrap(), names::CHANGE_CAUSE: cause,
                },
            },
            "data": { "spec": spec }, "revision": number,
        }));
        let object = object.unwrap();
        Entry { revision: Revision::read(&object).unwrap(), object }
    }

    #[test]
    fn a_revision_is_a_line() {
        let inline = json!({ "runtime": "python", "source": { "code": "x" } });
        let record = Record {
            code: Some("hello-code-0123456789".to_owned()),
            changed_at: Some(serde_json::from_value(json!("2026-01-01T00:59:00Z")).unwrap()),
            changed_by: Some("kip".to_owned()),
            ..Record::default()
        };
        let history = History {
            name: "hello".to_owned(),
            entries: vec![
                entry(1, json!({ "image": "shop/hello:1" }), &Record::default(), Some("")),
                entry(3, inline, &record, Some("a new greeting\nin two lines")),
            ],
            current: Some(3),
        };
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        assert_eq!(
            table(&history, now),
            "\
REVISION   CURRENT   AGE   CHANGED BY   RUNS                      CAUSE
1                    60m   -            shop/hello:1              -
3          *         60s   kip          python, code 0123456789   a new greeting
"
        );
    }
}
