//! The flags that set the assistant up.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use kipper_assistant::Protocol;
use kipper_console::assistant::Stored;
use kipper_process::exit::UsageError;

/// Which model answers.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Assistant")]
pub struct AiArgs {
    /// What the provider of the assistant's model speaks: openai (most do), anthropic or ollama
    #[arg(long, value_name = "PROTOCOL", env = "KIPPER_AI_PROVIDER", value_parser = protocol, requires_all = ["ai_url", "ai_model"])]
    pub ai_provider: Option<Protocol>,

    /// Base URL of the provider, such as https://api.example.com/v1
    #[arg(long, value_name = "URL", env = "KIPPER_AI_URL", requires = "ai_provider")]
    pub ai_url: Option<String>,

    /// Model, by the provider's name for it
    #[arg(long, value_name = "NAME", env = "KIPPER_AI_MODEL", requires = "ai_provider")]
    pub ai_model: Option<String>,

    /// File with the provider's API key [default: what KIPPER_AI_KEY has, or none]
    #[arg(long, value_name = "FILE", env = "KIPPER_AI_KEY_FILE", requires = "ai_provider")]
    pub ai_key_file: Option<PathBuf>,
}

fn protocol(word: &str) -> Result<Protocol, String> {
    let known: Vec<_> = Protocol::ALL.iter().map(|protocol| protocol.as_str()).collect();
    Protocol::parse(word).ok_or_else(|| format!("must be one of {}", known.join(", ")))
}

impl AiArgs {
    /// What they say; `None` where they are absent.
    ///
    /// # Errors
    /// When they make no provider, or the key cannot be read.
    pub(crate) fn stored(&self) -> anyhow::Result<Option<Stored>> {
        let (Some(provider), Some(url), Some(model)) =
            (self.ai_provider, self.ai_url.clone(), self.ai_model.clone())
        else {
            return Ok(None);
        };
        let key = match &self.ai_key_file {
            Some(path) => {
                let text = fs::read_to_string(path);
                Some(text.with_context(|| path.display().to_string())?)
            }
            None => std::env::var("KIPPER_AI_KEY").ok(),
        };
        let key = key.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
        let stored = Stored { provider, url, model, key, changed: None };
        if let Err(problem) = stored.assistant(true) {
            let words = problem.problems.first().map(|p| format!("--ai-{}: {}", p.path, p.message));
            return Err(UsageError::new(words.unwrap_or(problem.error)).into());
        }
        Ok(Some(stored))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn args(url: &str) -> AiArgs {
        AiArgs {
            ai_provider: Some(Protocol::Ollama),
            ai_url: Some(url.to_owned()),
            ai_model: Some("small".to_owned()),
            ai_key_file: None,
        }
    }

    #[test]
    fn flags_are_all_or_nothing_and_name_what_is_wrong() {
        assert!(AiArgs::default().stored().unwrap().is_none());
        let stored = args("http://127.0.0.1:11434").stored().unwrap().unwrap();
        assert_eq!(
            (stored.url.as_str(), stored.model.as_str()),
            ("http://127.0.0.1:11434", "small")
        );
        let error = args("127.0.0.1:11434").stored().err().unwrap().to_string();
        assert!(error.starts_with("--ai-url: must"), "{error}");
        let missing = AiArgs { ai_key_file: Some("/nowhere/key".into()), ..args("http://a") };
        assert!(missing.stored().err().unwrap().to_string().contains("/nowhere/key"));
        assert!(protocol("OpenAI").unwrap_err().contains("openai"));
    }
}
