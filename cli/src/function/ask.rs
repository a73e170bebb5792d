//! `kip function ask`: the assistant of the console's editor, on the command line.
//!
//! The reply goes to stdout as it arrives. Code in it that replaces the function's file is shown as a
//! diff, and with `--apply` it is written once somebody said yes.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::Context as _;
use clap::Args as ClapArgs;
use futures_util::StreamExt as _;
use kipper_assistant::{
    Attachment, Binding, Draft, Event, Message, Prompt, Request, Role, Stop, Usage, limits,
    reply::{self, Block},
};
use kipper_client::{
    ApiError,
    edits::EditError,
    services::{Services, injected},
};
use kipper_console::backend::{
    Backend as _,
    cluster::{Cluster, Place},
};
use kipper_function::{
    Function, FunctionSpec, code,
    function::{Runtime, effective::Workload},
};
use kipper_process::exit::UsageError;

use super::{
    diff::{code_files, unified},
    report,
};
use crate::{
    ai_args::AiArgs, failure::Report, output, progress::Progress, prompt, session::Session,
    settings::ScopeArgs, write::WaitArgs,
};

/// Ask the assistant about a function; it sees its code and names, never values.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// Name of the function
    pub name: String,

    /// What to ask, in one argument
    pub question: String,

    /// Text file to send along (may be repeated)
    #[arg(short, long, value_name = "PATH")]
    pub file: Vec<PathBuf>,

    /// Write the code of the reply into the function, after asking
    #[arg(long)]
    pub apply: bool,

    /// Apply without asking
    #[arg(short, long, requires = "apply")]
    pub yes: bool,

    /// How it is waited for.
    #[command(flatten)]
    pub wait: WaitArgs,

    /// The assistant's provider, instead of the cluster's.
    #[command(flatten)]
    pub ai: AiArgs,
}

pub(super) async fn run(args: &Args, scope: &ScopeArgs) -> anyhow::Result<()> {
    if args.apply && !args.yes && !prompt::is_possible() {
        let message =
            "--apply asks before it writes, and there is no terminal to ask on; add --yes";
        return Err(UsageError::new(message).into());
    }
    let attachments = attachments(&args.file)?;
    let place = args.ai.stored()?.map(Place::Flags).unwrap_or_default();
    let session = Session::open(scope).await?;
    let function = session.functions.get(&args.name).await?;
    let runtime = runtime(&args.name, &function.spec)?;
    let files = code_files(&args.name, &function.spec);
    let mut draft = draft(&session, &function.spec, runtime, files.clone()).await?;
    let keys = function.status.iter().flat_map(|status| &status.secret_keys);
    draft.secret_names = keys.map(|key| key.name.clone()).collect();
    let question = Message { role: Role::User, text: args.question.clone() };
    let request = Request { messages: vec![question], draft, attachments };
    if let Some(problem) = limits::check(&request).first() {
        return Err(UsageError::new(format!("{}: {}", problem.path, problem.message)).into());
    }
    let text = reply(&session, place, &request).await?;
    let blocks = reply::blocks(&text);
    let Some(block) = reply::file(&blocks, runtime) else {
        return match args.apply {
            false => Ok(()),
            true => Err(Report("the reply has no code that could be applied".to_owned()).into()),
        };
    };
    let entry =
        code::entry_of(runtime, &files).context("the function has no file with its handler")?;
    let before = files.get(&entry).map(String::as_str).unwrap_or_default();
    let shown =
        unified(&[format!("current/{entry}"), format!("reply/{entry}")], before, &block.code);
    if shown.is_empty() {
        output::note("the reply has the code as it is");
        return Ok(());
    }
    output::print(format!("\n{shown}"))?;
    if let Some(line) = block.partial() {
        output::note(format!("warning: the code is not whole, it says {line:?}"));
    }
    if !args.apply {
        return Ok(());
    }
    if !args.yes && !prompt::confirm(&format!("write this into function {}?", args.name))? {
        return Err(Report("nothing was written".to_owned()).into());
    }
    write(&session, &function, &entry, block, args.wait).await
}

fn attachments(paths: &[PathBuf]) -> anyhow::Result<Vec<Attachment>> {
    let read = |path: &PathBuf| {
        let shown = path.display().to_string();
        // A longer one is refused by its size alone.
        let size = fs::metadata(path).with_context(|| shown.clone())?.len();
        let wrong = |why: String| UsageError::new(format!("{shown} {why}"));
        if size > limits::MAX_FILE_BYTES as u64 {
            let most = limits::MAX_FILE_BYTES;
            return Err(wrong(format!("has {size} bytes; at most {most} are allowed")).into());
        }
        let bytes = fs::read(path).with_context(|| shown.clone())?;
        Ok(Attachment::read(&shown, bytes).map_err(wrong)?)
    };
    paths.iter().map(read).collect()
}

/// What is asked about: inline code.
fn runtime(name: &str, spec: &FunctionSpec) -> anyhow::Result<Runtime> {
    match spec.workload() {
        Some(Workload::Inline(runtime, _)) => Ok(runtime),
        _ => Err(Report(format!(
            "function {name} is an image: the assistant knows inline code only"
        ))
        .into()),
    }
}

async fn draft(
    session: &Session,
    spec: &FunctionSpec,
    runtime: Runtime,
    code: BTreeMap<String, String>,
) -> anyhow::Result<Draft> {
    // Without the right to list services, the names that they inject are not known.
    let services = match spec.service_bindings.is_empty() {
        true => None,
        false => ApiError::allowed(Services::read(&session.connection).await)?,
    };
    let bindings = spec.service_bindings.iter().filter_map(|binding| {
        let kind = services.as_ref()?.kind(&binding.name).ok()?;
        Some(Binding { service: binding.name.clone(), kind, env: injected(binding, kind) })
    });
    Ok(Draft {
        runtime,
        code,
        bindings: bindings.collect(),
        env_names: spec.env.keys().cloned().collect(),
        secret_names: Vec::new(),
        dependencies: spec.source.as_ref().map(|s| s.dependencies.clone()).unwrap_or_default(),
    })
}

/// Asks, and prints what comes.
async fn reply(session: &Session, place: Place, request: &Request) -> anyhow::Result<String> {
    let settings = &session.settings;
    let cluster = Cluster::new(session.connection.clone(), "", settings.gateway.clone())
        .with_system_namespace(&settings.system_namespace)
        .with_assistant(place);
    let setup = cluster.assistant().await.map_err(|problem| anyhow::anyhow!(problem.error))?;
    let none = || {
        let words = "no AI provider is configured; set one in the console, or with --ai-provider, --ai-url and --ai-model";
        Report(setup.fixed.clone().unwrap_or_else(|| words.to_owned()))
    };
    let stored = setup.stored.as_ref().ok_or_else(none)?;
    let assistant = stored.assistant(setup.allow_private).map_err(|p| anyhow::anyhow!(p.error))?;
    let mut events = assistant.reply(Prompt::of(request));
    let mut progress = Some(Progress::start(format!("asking {}", stored.model)));
    let mut text = String::new();
    while let Some(event) = events.next().await {
        drop(progress.take());
        match event {
            Event::Delta { text: more } => {
                output::print(&more)?;
                text.push_str(&more);
            }
            Event::Done { stop, usage } => {
                if !text.ends_with('\n') {
                    output::print("\n")?;
                }
                return ended(stop, usage, text);
            }
            Event::Error(failure) => {
                if !text.is_empty() {
                    output::print("\n")?;
                }
                return Err(Report(failure.message).into());
            }
        }
    }
    Err(Report("the reply was cut off".to_owned()).into())
}

fn ended(stop: Stop, usage: Usage, text: String) -> anyhow::Result<String> {
    if let (Some(input), Some(output)) = (usage.input, usage.output) {
        output::note(format!("{input} tokens read, {output} written"));
    }
    match stop {
        Stop::End => Ok(text),
        Stop::Length => {
            Err(Report("the reply is incomplete: the model reached its limit of tokens".to_owned())
                .into())
        }
        Stop::Refused => Err(Report("the model refused to answer".to_owned()).into()),
    }
}

/// Writes one file of the function, unless its code was changed meanwhile.
async fn write(
    session: &Session,
    asked: &Function,
    entry: &str,
    block: &Block,
    wait: WaitArgs,
) -> anyhow::Result<()> {
    let change = |spec: &mut FunctionSpec| {
        let same = spec.source.as_ref().map(|s| (&s.code, &s.files))
            == asked.spec.source.as_ref().map(|s| (&s.code, &s.files));
        let Some(source) = spec.source.as_mut().filter(|_| same) else {
            return Err(EditError::Misfit(
                "its code was changed since it was asked about".to_owned(),
            ));
        };
        match source.files.get_mut(entry) {
            Some(file) => file.clone_from(&block.code),
            None => source.code = Some(block.code.clone()),
        }
        Ok(())
    };
    let name = asked.metadata.name.as_deref().unwrap_or_default();
    let written = session.functions.edit(name, change).await?;
    report::after(session, written, wait, None).await
}
