//! How a command ends that did not do what it was asked: one line of why, one of what to do next, and
//! the exit code. 1 is a failure, 2 is a command line that makes no sense.

use std::process::ExitCode;

use kipper_client::{
    ApiError, ConnectError,
    binding_check::BindingCheckError,
    functions::ChangeError,
    invoke::InvokeError,
    loki::LokiError,
    secrets::SecretError,
    services::ServiceError,
    source_check::SourceCheckError,
    test_run::TestRunError,
    wait::{Stage, WaitError},
};
use kipper_process::exit::UsageError;

pub use kipper_process::exit::chain;

use crate::output;

/// Exit code of a command line that makes no sense.
pub const USAGE: u8 = 2;

/// What helps where a Loki does not.
const OF_LOKI: &str = "`--pods` reads what the pods there are still have";

/// A failure whose details were printed already, line by line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Report(pub String);

/// A function that did not answer a request.
#[derive(Debug, thiserror::Error)]
#[error("function {function}: {source}")]
pub struct Unanswered {
    /// The function.
    pub function: String,
    /// Why.
    pub source: InvokeError,
}

/// Prints the error; the exit code. `flags` are those that said which cluster and namespace.
pub fn report(error: &anyhow::Error, flags: &str) -> ExitCode {
    output::note(format!("error: {}", with_flags(&chain(error), flags)));
    if let Some(hint) = hint(error) {
        output::note(format!("hint: {}", with_flags(&hint, flags)));
    }
    let is_usage = error.chain().any(|cause| cause.is::<UsageError>());
    if is_usage { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
}

/// How a command begins that a text gives for pasting.
const COMMAND: &str = "`kip ";

/// The text with these flags behind each command of `kip` in it, so that it can be pasted.
fn with_flags(text: &str, flags: &str) -> String {
    let mut parts = text.split(COMMAND);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        result.push_str(COMMAND);
        match part.split_once('`') {
            Some((command, rest)) => {
                let given = if command.ends_with(flags) { "" } else { flags };
                result.extend([command, given, "`", rest]);
            }
            None => result.push_str(part),
        }
    }
    result
}

/// The only failure, or how many there were once each is printed.
///
/// # Errors
/// When there was one.
pub fn one_of(mut failures: Vec<anyhow::Error>, of: usize) -> anyhow::Result<()> {
    match failures.len() {
        0 => Ok(()),
        1 => Err(failures.remove(0)),
        count => {
            for error in &failures {
                output::note(format!("error: {}", chain(error)));
            }
            Err(Report(format!("{count} of {of} failed")).into())
        }
    }
}

/// What to do next.
fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let connect = cause.downcast_ref::<ConnectError>().map(of_connect);
        let loki = cause.downcast_ref::<LokiError>().map(|_| OF_LOKI);
        let api = cause.downcast_ref::<ApiError>().and_then(of_api);
        let secret = cause.downcast_ref::<SecretError>().and_then(of_secret);
        let service = cause.downcast_ref::<ServiceError>().and_then(of_service);
        let change = cause.downcast_ref::<ChangeError>().and_then(of_change);
        let invoke = cause.downcast_ref::<Unanswered>().and_then(of_invoke);
        let test = cause.downcast_ref::<TestRunError>().and_then(of_test);
        let check = cause.downcast_ref::<SourceCheckError>().and_then(of_check);
        let binding = cause.downcast_ref::<BindingCheckError>().and_then(of_binding);
        let wait = cause.downcast_ref::<WaitError>().and_then(of_wait);

        connect
            .or(loki)
            .or(api)
            .or(secret)
            .or(service)
            .or(change)
            .or(check)
            .or(binding)
            .map(str::to_owned)
            .or(invoke)
            .or(test)
            .or(wait)
    })
}

fn of_connect(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::NoKubeconfig { .. } => {
            "name one with --kubeconfig, KUBECONFIG or KIP_KUBECONFIG"
        }
        ConnectError::NoContext { .. } | ConnectError::UnknownContext { .. } => {
            "choose one with --context, or `kubectl config use-context`"
        }
        ConnectError::Unreadable(_) | ConnectError::Unusable(_) => {
            "`kubectl config view` shows what is in it"
        }
    }
}

fn of_api(error: &ApiError) -> Option<&'static str> {
    Some(match error {
        ApiError::NotFound { what, .. } if what.starts_with("function ") => {
            "`kip function list` shows what is there; choose another namespace with -n"
        }
        ApiError::NotFound { what, .. } if what.starts_with("volume ") => {
            "`kip volume list` shows what is there; choose another namespace with -n"
        }
        ApiError::NotFound { what, .. } if what.starts_with("service ") => {
            "`kip service list` shows what is there; choose another namespace with -n"
        }
        ApiError::Exists { what, .. } if what.starts_with("service ") => {
            "`kip service update` changes it"
        }
        ApiError::NoNamespace(_) => {
            "choose another with -n or --project and --environment, or make it with `kip function \
             create` or `apply` and --create-namespace"
        }
        ApiError::NotInstalled(_) => "choose another cluster with --context, or install the chart",
        ApiError::Unauthorized => "log in again, or choose another context with --context",
        ApiError::Forbidden(_) => {
            "ask an administrator of the namespace for this right, or choose another with -n or --context"
        }
        ApiError::Unreachable(_) => {
            "check that the cluster runs and that the context (--context) is the one you mean"
        }
        ApiError::Owned { .. } => "take them over with --force-conflicts, or leave them out",
        ApiError::Conflict(_) => "try again",
        _ => return None,
    })
}

fn of_secret(error: &SecretError) -> Option<&'static str> {
    match error {
        SecretError::Api(error) => of_api(error),
        SecretError::Contended(_) => Some("try again"),
        _ => None,
    }
}

fn of_service(error: &ServiceError) -> Option<&'static str> {
    match error {
        ServiceError::Clash { .. } => Some("a binding's prefix is set with --prefix"),
        ServiceError::Missing { .. } => Some("`kip service create` makes one"),
        _ => None,
    }
}

fn of_change(error: &ChangeError) -> Option<&'static str> {
    match error {
        ChangeError::Api(error) => of_api(error),
        ChangeError::Contended(_) => Some("try again"),
        _ => None,
    }
}

fn of_invoke(error: &Unanswered) -> Option<String> {
    match &error.source {
        InvokeError::Connect { to, .. } if to.interceptor.is_some() => {
            Some("check the address that --interceptor or KIP_INTERCEPTOR names".to_owned())
        }
        InvokeError::Connect { .. } => Some(
            "where the function's URL leads nowhere, send requests to an interceptor with \
             --interceptor or KIP_INTERCEPTOR"
                .to_owned(),
        ),
        InvokeError::Timeout { .. } | InvokeError::Broken { .. } => Some(format!(
            "`kip function logs {0}` and `kip function describe {0}` show what it does; --timeout \
             sets how long to wait",
            error.function
        )),
        _ => None,
    }
}

fn of_test(error: &TestRunError) -> Option<String> {
    Some(match error {
        TestRunError::Api(error) => of_api(error)?.to_owned(),
        TestRunError::NotCron { function, events: None } => {
            format!("`kip function invoke {function}` sends it a request")
        }
        TestRunError::NotCron { function, events: Some(service) } => format!(
            "`kip service test {service} --function {function}` tries the source of its events"
        ),
        TestRunError::NoSchedule(function) => {
            format!("`kip function describe {function}` shows what it waits for")
        }
        _ => return None,
    })
}

fn of_check(error: &SourceCheckError) -> Option<&'static str> {
    match error {
        SourceCheckError::Api(error) => of_api(error),
        SourceCheckError::NoPoller(_) => None,
    }
}

fn of_binding(error: &BindingCheckError) -> Option<&'static str> {
    match error {
        BindingCheckError::Api(error) => of_api(error),
        BindingCheckError::NoClient { .. }
        | BindingCheckError::NotRendered(_)
        | BindingCheckError::NotBound { .. } => None,
    }
}

fn of_wait(error: &WaitError) -> Option<String> {
    Some(match error {
        WaitError::Api(error) => of_api(error)?.to_owned(),
        WaitError::TooLate { name, .. } => {
            format!("`kip function describe {name}` and `kip function logs {name}` show more")
        }
        WaitError::Broken { stage: Stage::NotReady { reason, .. }, .. }
            if reason == "HostTaken" =>
        {
            "hosts are unique in the cluster: choose another name for the function".to_owned()
        }
        WaitError::Broken { name, .. } => format!("`kip function describe {name}` shows more"),
        WaitError::CannotStart { name, .. } => {
            format!("`kip function logs {name}` shows what it said")
        }
        WaitError::Deleted(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_next_is_found_behind_any_context() {
        let missing = ApiError::NotFound { what: "function a".into(), namespace: "n".into() };
        let error = anyhow::Error::new(ChangeError::Api(missing)).context("edit");
        assert_eq!(chain(&error), "edit: function a does not exist in namespace n");
        assert!(hint(&error).is_some_and(|hint| hint.contains("kip function list")));
        assert_eq!(hint(&anyhow::anyhow!("boom")), None);
    }

    #[test]
    fn commands_can_be_pasted() {
        for (text, flags, expected) in [
            ("`kip function list` shows it", " -n shop", "`kip function list -n shop` shows it"),
            ("`kip a` and `kip b`", " -n x", "`kip a -n x` and `kip b -n x`"),
            ("`kip a -n x`", " -n x", "`kip a -n x`"),
            ("`kip a`, `kubectl b`", "", "`kip a`, `kubectl b`"),
            ("kip a, `kubectl b` `kip c", " -n x", "kip a, `kubectl b` `kip c"),
        ] {
            assert_eq!(with_flags(text, flags), expected);
        }
    }
}
