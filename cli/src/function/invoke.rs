//! `kip function invoke`: one request, its answer on stdout, how it went on stderr.

use std::{
    fs,
    io::{self, Read as _},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use clap::{Args as ClapArgs, ValueEnum};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header::CONTENT_TYPE};
use kipper_client::{
    invoke::{self, Answer, Phase, Request},
    wait,
};
use kipper_function::Function;
use serde_json::{Value, json};

use crate::{
    duration,
    failure::{Report, Unanswered},
    output,
    progress::Progress,
    session::Session,
    settings::ScopeArgs,
    visible::Stream,
};

/// Largest body that is sent.
const MAX_BODY: u64 = 64 << 20;
/// Largest answer that is put into JSON.
const MAX_ANSWER: usize = 64 << 20;

/// Send a function a request.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Name of the function
    pub name: String,

    /// Body of the request; @PATH reads it from a file, as it is, and @- from stdin
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file")]
    pub data: Option<String>,

    /// File with the body; `-` reads it from stdin
    #[arg(short, long, value_name = "PATH")]
    pub file: Option<PathBuf>,

    /// Header field (may be repeated)
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = field)]
    pub headers: Vec<(HeaderName, HeaderValue)>,

    /// Method [default: POST with a body, else GET]
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub method: Option<Method>,

    /// Path and query
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub path: String,

    /// How long to wait for the response
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "60s")]
    pub timeout: Duration,

    /// Output format, instead of the plain response body
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Form>,
}

/// Forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Status, header, body and timing as one object
    Json,
}

pub(super) async fn run(args: &Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    let request = args.request()?;
    let session = Session::open(scope).await?;
    let function = session.functions.get(&args.name).await?;
    let url = url(&function)?;
    let unanswered = |source| Unanswered { function: args.name.clone(), source };
    let progress = Progress::start(format!("{} {}", request.method, request.url(&url)));
    let answer = tokio::select! {
        answer = invoke::send(&session.settings.gateway, &url, &request) => {
            answer.map_err(unanswered)?
        }
        why = wait::hopeless(&session.functions, &args.name) => return Err(why.into()),
    };
    drop(progress);
    let status = answer.status;
    match args.output {
        None => {
            output::note(format!("{status} after {}", output::duration(answer.took)));
            if let Some(phases) = phases(&answer.phases) {
                output::note(phases);
            }
            stream(&args.name, answer).await?;
        }
        Some(Form::Json) => {
            output::raw(serde_json::to_string_pretty(&whole(&args.name, answer).await?)? + "\n")?;
        }
    }
    if status.is_client_error() || status.is_server_error() {
        return Err(Report(format!("function {} answered {status}", args.name)).into());
    }
    Ok(())
}

/// Where requests to a function go.
fn url(function: &Function) -> anyhow::Result<String> {
    let status = function.status.as_ref();
    if let Some(url) = status.and_then(|status| status.endpoint.clone()) {
        return Ok(url);
    }
    let name = function.metadata.name.clone().unwrap_or_default();
    let spec = &function.spec;
    if spec.is_http() {
        anyhow::bail!("function {name} has no URL yet; `kip function describe {name}` shows why");
    }
    let instead = if spec.cron_trigger().is_some() {
        format!("it runs on its schedule; `kip function test {name}` runs it now")
    } else {
        "it handles events of its source".to_owned()
    };
    anyhow::bail!("function {name} takes no requests: {instead}")
}

impl Args {
    fn request(&self) -> anyhow::Result<Request> {
        let named = self.data.as_deref().and_then(|data| data.strip_prefix('@')).map(PathBuf::from);
        let body = match (&self.data, named.as_ref().or(self.file.as_ref())) {
            (_, Some(path)) => Some(read(path).with_context(|| path.display().to_string())?),
            (Some(data), None) => Some(data.clone().into_bytes()),
            (None, None) => None,
        };
        let usual = if body.is_some() { Method::POST } else { Method::GET };
        let method = self.method.clone().unwrap_or(usual);
        let mut headers = HeaderMap::new();
        if let Some(body) = &body {
            let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
            let kind = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        for (name, _) in &self.headers {
            headers.remove(name);
        }
        headers.extend(self.headers.iter().cloned().map(|(name, value)| (Some(name), value)));
        let body = body.unwrap_or_default().into();
        Ok(Request { headers, body, timeout: self.timeout, ..Request::new(method, &self.path) })
    }
}

fn read(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin().lock().take(MAX_BODY + 1).read_to_end(&mut body)?;
    } else {
        fs::File::open(path)?.take(MAX_BODY + 1).read_to_end(&mut body)?;
    }
    anyhow::ensure!(body.len() as u64 <= MAX_BODY, "a body may have {MAX_BODY} bytes");
    Ok(body)
}

/// The next part of the body.
async fn chunk(function: &str, answer: &mut Answer) -> Result<Option<Bytes>, Unanswered> {
    let unanswered = |source| Unanswered { function: function.to_owned(), source };
    answer.chunk().await.map_err(unanswered)
}

/// The body, as it comes.
async fn stream(function: &str, mut answer: Answer) -> anyhow::Result<()> {
    if !io::IsTerminal::is_terminal(&io::stdout()) {
        while let Some(chunk) = chunk(function, &mut answer).await? {
            output::raw(chunk)?;
        }
        return Ok(());
    }
    let (mut text, mut ends_line) = (Stream::default(), true);
    while let Some(chunk) = chunk(function, &mut answer).await? {
        if let Some(last) = chunk.last() {
            ends_line = *last == b'\n';
        }
        output::raw(text.push(&chunk))?;
    }
    output::raw(text.finish())?;
    // The prompt of a shell stands on a line of its own.
    if ends_line { Ok(()) } else { output::raw("\n") }
}

/// All of an answer; a body that is JSON stands in it as such.
async fn whole(function: &str, mut answer: Answer) -> anyhow::Result<Value> {
    let mut body = Vec::new();
    while let Some(chunk) = chunk(function, &mut answer).await? {
        body.extend_from_slice(&chunk);
        anyhow::ensure!(body.len() <= MAX_ANSWER, "the answer has more than {MAX_ANSWER} bytes");
    }
    let headers = answer.headers.iter();
    let headers: Vec<_> = headers
        .map(|(name, value)| {
            json!({ "name": name.as_str(), "value": String::from_utf8_lossy(value.as_bytes()) })
        })
        .collect();
    let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
    let phases = answer.phases.iter();
    let phases: serde_json::Map<_, _> =
        phases.map(|phase| (phase.name.clone(), json!(phase.milliseconds))).collect();
    Ok(json!({
        "status": answer.status.as_u16(),
        "headers": headers,
        "body": serde_json::from_slice(&body).unwrap_or_else(|_| text()),
        "took_ms": u64::try_from(answer.took.as_millis()).unwrap_or(u64::MAX),
        "phases_ms": phases,
    }))
}

/// `cold start: queue 790 ms, wake 240 ms`; `None` for a warm answer.
pub(super) fn phases(phases: &[Phase]) -> Option<String> {
    let reported: Vec<_> =
        phases.iter().map(|phase| format!("{} {:.0} ms", phase.name, phase.milliseconds)).collect();
    (!reported.is_empty()).then(|| format!("cold start: {}", reported.join(", ")))
}

fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME: VALUE")?;
    let name = name.trim().parse().map_err(|_| "invalid header name")?;
    let value = value.trim().parse().map_err(|_| "invalid header value")?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;
    use kipper_function::FunctionSpec;

    use super::*;

    #[derive(Debug, Parser)]
    struct Example {
        #[command(flatten)]
        args: Args,
    }

    #[track_caller]
    fn check(flags: &[&str], method: &str, kind: Option<&str>) {
        let args = Example::try_parse_from([&["x", "hello"], flags].concat()).unwrap().args;
        let request = args.request().unwrap();
        assert_eq!(request.method, method);
        let reported: Vec<_> = request.headers.get_all(CONTENT_TYPE).iter().collect();
        assert_eq!(reported, kind.as_slice());
    }

    #[test]
    fn a_body_says_what_it_is() {
        check(&[], "GET", None);
        check(&["--data={\"a\":1}"], "POST", Some("application/json"));
        check(&["--data=a"], "POST", Some("text/plain; charset=utf-8"));
        check(&["--data=a", "-X", "PUT", "-H", "Content-Type: x/y"], "PUT", Some("x/y"));
        for flags in [&["--data=a", "--file=b"][..], &["-H", "x"], &["-H", ": y"]] {
            Example::try_parse_from([&["x", "hello"], flags].concat()).unwrap_err();
        }
    }

    #[test]
    fn a_body_may_be_in_a_file_as_for_curl() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("order.json");
        std::fs::write(&path, "{\n \"id\": 7 }\n").unwrap();
        let path = path.to_str().unwrap();
        let body = |flags: &[&str]| {
            let args = Example::try_parse_from([&["x", "hello"], flags].concat()).unwrap().args;
            args.request().map(|request| request.body).map_err(|error| format!("{error:#}"))
        };
        let expected = "{\n \"id\": 7 }\n".as_bytes();
        for flags in [&["-d", &format!("@{path}")][..], &["--file", path], &["-f", path]] {
            assert_eq!(body(flags).unwrap(), expected, "{flags:?}");
        }
        assert_eq!(body(&["-d", "me@example.com"]).unwrap(), "me@example.com".as_bytes());
        let gone = body(&["-d", "@no/such/file"]).unwrap_err();
        assert!(gone.starts_with("no/such/file: No such file"), "{gone}");
    }

    #[test]
    fn who_takes_no_requests_says_what_else_to_do() {
        let reported = |triggers: Value| {
            let spec: FunctionSpec =
                serde_json::from_value(json!({ "triggers": triggers })).unwrap();
            url(&Function::new("f", spec)).unwrap_err().to_string()
        };
        assert!(reported(json!([])).contains("has no URL yet"));
        assert!(reported(json!([{ "type": "cron" }])).contains("kip function test f"));
        assert!(reported(json!([{ "type": "redis" }])).contains("events"));
    }

    #[test]
    fn only_a_cold_start_has_phases() {
        let phase = |name: &str, milliseconds| Phase { name: name.to_owned(), milliseconds };
        let reported = phases(&[phase("queue", 790.4), phase("wake", 240.0)]);
        assert_eq!(reported.as_deref(), Some("cold start: queue 790 ms, wake 240 ms"));
        assert_eq!(phases(&[]), None);
    }
}
