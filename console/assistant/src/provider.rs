//! What a protocol has to say for itself. Pure: how bytes come and go is not its business.

use http::HeaderMap;
use serde_json::Value;

use crate::{
    decode::Framing,
    event::{Stop, Usage},
    key::Key,
    prompt::Prompt,
    refusal::Said,
};

/// Most models of a list.
const MAX_MODELS: usize = 1000;

/// One protocol.
pub(crate) trait Provider: Sync {
    /// Path of replies, behind the base URL.
    fn reply_path(&self) -> &'static str;
    /// Path of the list of models, perhaps with a query.
    fn models_path(&self) -> &'static str;
    /// Adds the key, and whatever else each request has.
    fn authorize(&self, headers: &mut HeaderMap, key: Option<&Key>);
    /// What is sent to get a reply.
    fn body(&self, model: &str, prompt: &Prompt, max_reply_tokens: Option<u32>) -> Value;
    /// What is sent to a server that refused the body with these words, once.
    fn older(&self, _body: &Value, _said: &Said) -> Option<Value> {
        None
    }
    /// How the events of a reply follow each other.
    fn framing(&self) -> Framing;
    /// Reads one event: the text in it, and what else it says.
    ///
    /// # Errors
    /// When it is none, or an error.
    fn read(&self, event: &str, progress: &mut Progress) -> Result<String, Trouble>;
    /// The names in a list of models.
    fn models(&self, list: &Value) -> Option<Vec<String>>;
}

/// What is known of a reply so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Why the model ended; absent until it has.
    pub(crate) stop: Option<Stop>,
    /// Are its words a refusal?
    pub(crate) is_refusal: bool,
    /// What it took.
    pub(crate) usage: Usage,
    /// Nothing more will come.
    pub(crate) is_over: bool,
    /// Was anything of this protocol in it?
    pub(crate) is_understood: bool,
}

impl Progress {
    /// The model has ended, for no other reason than was given before.
    pub(crate) fn end(&mut self) {
        let stop = if self.is_refusal { Stop::Refused } else { Stop::End };
        self.stop.get_or_insert(stop);
    }
}

/// Why an event is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is not JSON.
    NotJson,
    /// The provider reports an error.
    Said(Said),
}

/// The JSON of an event that is not an error.
pub(crate) fn parse(event: &str) -> Result<Value, Trouble> {
    let event: Value = serde_json::from_str(event).map_err(|_| Trouble::NotJson)?;
    if event.get("error").is_some_and(|error| !error.is_null()) {
        return Err(Trouble::Said(Said::of(&event).unwrap_or_default()));
    }
    Ok(event)
}

/// The text at this place, or nothing.
pub(crate) fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Takes a count over, where there is one.
pub(crate) fn count(value: &Value, pointer: &str, to: &mut Option<u64>) {
    *to = value.pointer(pointer).and_then(Value::as_u64).or(*to);
}

/// The turns of a prompt as every protocol has them.
pub(crate) fn turns(prompt: &Prompt) -> Vec<Value> {
    let turns = prompt.turns.iter();
    turns
        .map(|turn| serde_json::json!({"role": turn.role.as_str(), "content": turn.text}))
        .collect()
}

/// The same with the system's words before them.
pub(crate) fn turns_with_system(prompt: &Prompt) -> Vec<Value> {
    let mut turns = turns(prompt);
    if !prompt.system.is_empty() {
        turns.insert(0, serde_json::json!({"role": "system", "content": prompt.system}));
    }
    turns
}

/// What stands at `field` of each object of a list.
pub(crate) fn names(list: &Value, field: &str) -> Option<Vec<String>> {
    let names = list.as_array()?.iter().filter_map(|model| model.get(field)?.as_str());
    Some(names.take(MAX_MODELS).map(str::to_owned).collect())
}
