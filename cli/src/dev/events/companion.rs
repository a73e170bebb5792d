//! One of Kipper's own programs at work beside a function: kept running, and heard.
//!
//! A program that ends by itself is started again after a pause, and the user reads why it ended. One
//! that refuses its configuration is not: only the user can change that.

use std::time::Instant;

use kipper_process::exit::USAGE_EXIT_CODE;
use kipper_trigger::Variable;
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        child::{self, Groups, STABLE, describe, pause_after},
        console::Voice,
        lines::Lines,
    },
    log::{LogFilter, Reader, Record},
    program::{MissingProgram, Program},
};

/// How the programs print why they end.
const ERROR: &str = "error: ";

/// What a program is started with.
#[derive(Clone)]
pub(crate) struct Invocation {
    pub(crate) program: Program,
    pub(crate) arguments: Vec<String>,
    /// One of them has a password, which other users must not see among the arguments.
    pub(crate) variables: Vec<(Variable, String)>,
    /// What proves its deliveries to the function.
    pub(crate) event_token: Option<String>,
}

impl Invocation {
    fn command(&self) -> Result<std::process::Command, MissingProgram> {
        let mut command = self.program.command()?;
        command.args(&self.arguments);
        command.envs(self.variables.iter().map(|(variable, value)| (variable.name(), value)));
        let name = Variable::EventToken.name();
        command.envs(self.event_token.iter().map(|token| (name, token)));
        Ok(command)
    }

    /// Runs a program that ends by itself. Returns why it refuses its configuration; `None` where it
    /// does not.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn refusal(&self) -> anyhow::Result<Option<String>> {
        let mut command = self.command()?;
        command.env("KIPPER_LOG", "off").stdin(std::process::Stdio::null());
        let output = tokio::process::Command::from(command).kill_on_drop(true).output().await?;
        let is_refused = output.status.code() == Some(USAGE_EXIT_CODE.into());
        let text = String::from_utf8_lossy(&output.stderr);
        let reason = text.lines().find_map(|line| line.strip_prefix(ERROR));
        Ok(is_refused.then(|| reason.unwrap_or_default().to_owned()))
    }
}

/// What is heard of a program.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A line of its stdout.
    Line(String),
    /// A line of its log, which the user has read already if it was for the user.
    Log(Record),
    /// It ended by itself.
    Ended,
}

/// What the processes of one function have in common.
#[derive(Clone)]
pub(crate) struct Context {
    /// Who speaks to the user for them.
    pub(crate) voice: Voice,
    pub(crate) groups: Groups,
    /// What of their logs is wanted.
    pub(crate) log: LogFilter,
}

/// A program that is kept running.
pub(crate) struct Companion {
    pub(crate) invocation: Invocation,
    pub(crate) context: Context,
}

/// How one start ended.
enum End {
    /// It was asked to.
    Stopped,
    /// It refuses its configuration, and why.
    Refused(String),
    /// By itself, and how.
    Died(String),
}

impl Companion {
    /// Keeps it running until `stop`, which it is given to finish what it does; dropping the future
    /// kills it. Returns why it refuses its configuration, if it does.
    pub(crate) async fn run(
        self,
        stop: CancellationToken,
        mut heard: impl FnMut(Heard),
    ) -> Option<String> {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let what = match self.once(&stop, &mut heard).await {
                Ok(End::Stopped) => return None,
                Ok(End::Refused(why)) => return Some(why),
                Ok(End::Died(how)) => format!("exited unexpectedly ({how})"),
                Err(error) => format!("failed to start: {error}"),
            };
            heard(Heard::Ended);
            if began.elapsed() >= STABLE {
                failures = 0;
            }
            let pause = pause_after(failures);
            failures = failures.saturating_add(1);
            let name = self.invocation.program.name();
            let next = humantime::format_duration(pause);
            self.context.voice.warn(format!("{name} {what}, next try in {next}"));
            stop.run_until_cancelled(tokio::time::sleep(pause)).await?;
        }
    }

    /// From one start to its end.
    async fn once(
        &self,
        stop: &CancellationToken,
        heard: &mut impl FnMut(Heard),
    ) -> anyhow::Result<End> {
        let mut command = self.invocation.command()?;
        command.env("KIPPER_LOG_FORMAT", "json");
        command.env("KIPPER_LOG", self.context.log.of(self.invocation.program));
        let (mut child, group) = child::spawn(command, &self.context.groups)?;
        let mut out = child.stdout.take().map(Lines::new);
        let mut err = child.stderr.take().map(Lines::new);
        let (mut reason, mut is_asked) = (None, false);
        let status = loop {
            tokio::select! {
                line = next(&mut out), if out.is_some() => match line {
                    Some(line) => heard(Heard::Line(line)),
                    None => out = None,
                },
                line = next(&mut err), if err.is_some() => match line {
                    Some(line) => match Record::parse(&line) {
                        Some(record) => {
                            self.show(&record);
                            heard(Heard::Log(record));
                        }
                        None => reason = line.strip_prefix(ERROR).map(str::to_owned).or(reason),
                    },
                    None => err = None,
                },
                () = stop.cancelled(), if !is_asked => {
                    is_asked = true;
                    group.terminate();
                }
                status = child.wait(), if out.is_none() && err.is_none() => break status?,
            }
        };
        let how = describe(Some(status));
        Ok(match reason {
            _ if is_asked => End::Stopped,
            Some(why) if status.code() == Some(USAGE_EXIT_CODE.into()) => End::Refused(why),
            Some(why) => End::Died(format!("{how}: {why}")),
            None => End::Died(how),
        })
    }

    fn show(&self, record: &Record) {
        match self.context.log.reader(self.invocation.program, record) {
            Reader::User if record.level <= tracing::Level::WARN => self.context.voice.warn(record),
            Reader::User => self.context.voice.say(record),
            Reader::Log => {
                let Record { level, target, .. } = record;
                self.context.voice.log(format!("{level} {target}: {record}"));
            }
            Reader::None => {}
        }
    }
}

/// The next line; `None` without a pipe, and at its end.
async fn next<R: tokio::io::AsyncRead + Unpin>(lines: &mut Option<Lines<R>>) -> Option<String> {
    match lines {
        Some(lines) => lines.next().await,
        None => None,
    }
}
