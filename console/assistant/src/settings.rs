//! Which provider is asked, where, with which key, and within which bounds.

use std::{fmt, str::FromStr, time::Duration};

use http::{Uri, uri::Scheme};
use serde::{Deserialize, Serialize};

use crate::key::Key;

/// What an [`Assistant`](crate::Assistant) has to know of its provider. Has no `Debug`, because of the key.
#[derive(Clone)]
pub struct Settings {
    /// What the endpoint speaks.
    pub protocol: Protocol,
    /// Where it is.
    pub base_url: BaseUrl,
    /// The model, by the provider's name for it.
    pub model: String,
    /// The key, where the endpoint wants one.
    pub key: Option<Key>,
    /// Most tokens of a reply; without it the model's own limit, or the protocol's default, holds.
    pub max_reply_tokens: Option<u32>,
    /// May the endpoint be on this machine, in the cluster or in a private network?
    pub allow_private: bool,
    /// How long things may take.
    pub bounds: Bounds,
}

/// What an endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// OpenAI's chat completions: `/chat/completions` behind the base URL.
    OpenAi,
    /// Anthropic's messages: `/v1/messages`.
    Anthropic,
    /// Ollama's own: `/api/chat`.
    Ollama,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 3] = [Self::OpenAi, Self::Anthropic, Self::Ollama];

    /// The word in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Ollama => "ollama",
        }
    }

    /// The protocol of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == word)
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Resolving the name, connecting and TLS.
    pub connect: Duration,
    /// Nothing comes from the provider.
    pub idle: Duration,
    /// From the question to the end of the reply.
    pub whole: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            whole: Duration::from_secs(600),
        }
    }
}

/// Where a provider is, such as `https://api.example.com/v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    pub(crate) is_tls: bool,
    /// Name or address, one of IPv6 without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Host and port as they were written.
    pub(crate) authority: String,
    /// Without a slash at its end; may be empty.
    path: String,
}

/// Why a text is not a base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// It is no URL.
    #[error("must be a URL such as https://api.example.com/v1")]
    Malformed,
    /// Neither http nor https.
    #[error("must begin with https:// or http://")]
    Scheme,
    /// It has credentials in it.
    #[error("must not contain a user name or password; the key has a setting of its own")]
    Credentials,
    /// It has a query or a fragment.
    #[error("must not contain a query or a fragment")]
    Query,
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    fn from_str(text: &str) -> Result<Self, BaseUrlError> {
        let text = text.trim();
        if text.contains('#') {
            return Err(BaseUrlError::Query);
        }
        let uri: Uri = text.parse().map_err(|_| BaseUrlError::Malformed)?;
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(_) => return Err(BaseUrlError::Scheme),
            None => return Err(BaseUrlError::Malformed),
        };
        let authority = uri.authority().ok_or(BaseUrlError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(BaseUrlError::Credentials);
        }
        if uri.query().is_some() {
            return Err(BaseUrlError::Query);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let has_no_port = authority.as_str() == authority.host();
        if host.is_empty() || (authority.port_u16().is_none() && !has_no_port) {
            return Err(BaseUrlError::Malformed);
        }
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: authority.to_string(),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl BaseUrl {
    /// The path of a request. Whoever wrote the URL as far as the first segments of `reply`, or all of it,
    /// meant the same.
    pub(crate) fn path(&self, reply: &str, path: &str) -> String {
        let overlaps = |tail: &str| {
            reply.strip_prefix(tail).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mut starts = self.path.match_indices('/').map(|(at, _)| at);
        let end = starts.find(|&at| overlaps(&self.path[at..])).unwrap_or(self.path.len());
        format!("{}{path}", &self.path[..end])
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_base_url_is_an_origin_and_a_path() {
        let parse = |text: &str| text.parse::<BaseUrl>();
        let url = parse(" https://api.example.com/v1/ ").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.is_tls), ("api.example.com", 443, true));
        assert_eq!(url.to_string(), "https://api.example.com/v1");
        let url = parse("http://[::1]:11434").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.is_tls), ("::1", 11434, false));
        assert_eq!(url.to_string(), "http://[::1]:11434");
        for (text, expected) in [
            ("", BaseUrlError::Malformed),
            ("api.example.com", BaseUrlError::Malformed),
            ("/v1", BaseUrlError::Malformed),
            ("https://", BaseUrlError::Malformed),
            ("https://a:b", BaseUrlError::Malformed),
            ("https://a:99999", BaseUrlError::Malformed),
            ("ftp://a", BaseUrlError::Scheme),
            ("file:///etc/passwd", BaseUrlError::Malformed),
            ("https://ada:canary@a/v1", BaseUrlError::Credentials),
            ("https://a/v1?key=canary", BaseUrlError::Query),
            ("https://a/v1#x", BaseUrlError::Query),
        ] {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_url_may_have_the_path_of_the_protocol() {
        let check = |base: &str, reply: &str, path: &str, expected: &str| {
            let base: BaseUrl = base.parse().unwrap();
            assert_eq!(base.path(reply, path), expected, "{base}");
        };
        let chat = "/chat/completions";
        check("https://a/v1", chat, chat, "/v1/chat/completions");
        check("https://a/v1/chat/completions", chat, chat, "/v1/chat/completions");
        check("https://a/v1/chat/completions/", chat, "/models", "/v1/models");
        check("https://a", chat, chat, "/chat/completions");
        check("https://a/chat", chat, "/models", "/models");
        check("https://a/chatty", chat, "/models", "/chatty/models");
        let messages = "/v1/messages";
        check("https://a", messages, messages, "/v1/messages");
        check("https://a/v1", messages, messages, "/v1/messages");
        check("https://a/v1", messages, "/v1/models", "/v1/models");
        check("https://a/proxy/v1/", messages, messages, "/proxy/v1/messages");
    }

    #[test]
    fn protocols_have_words() {
        for protocol in Protocol::ALL {
            assert_eq!(Protocol::parse(protocol.as_str()), Some(protocol));
            assert_eq!(serde_json::to_value(protocol).unwrap(), protocol.as_str());
        }
        assert_eq!(Protocol::parse("OpenAI"), None);
    }
}
