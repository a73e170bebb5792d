//! Names of the keys beside the list, all in the list's hash slot.

use fred::types::Value;
use kipper_trigger::redis;

/// Everything the scripts are given as `KEYS`, in their order.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// Where items are pushed.
    pub(super) list: String,
    /// The claimed items, by id.
    items: String,
    /// Until when each id is claimed; also what was given back.
    pub(super) leases: String,
    /// Who holds each id.
    owners: String,
    /// Failed attempts by id, where there were any.
    attempts: String,
    /// Dead letters.
    pub(super) dead: String,
    /// The list's name, and how many items were taken ever.
    state: String,
    /// What the check at start writes to.
    scratch: [String; 3],
}

impl Keys {
    /// The keys of a list.
    pub(super) fn new(list: &str) -> Self {
        let key = |name: &str| redis::key(list, name);
        Self {
            list: list.to_owned(),
            items: key("items"),
            leases: redis::leases(list),
            owners: key("owners"),
            attempts: key("attempts"),
            dead: key("dead"),
            state: key("state"),
            scratch: [key("check:hash"), key("check:zset"), key("check:list")],
        }
    }

    /// `KEYS` of every script.
    pub(super) fn all(&self) -> Vec<Value> {
        let keys = [
            &self.list,
            &self.items,
            &self.leases,
            &self.owners,
            &self.attempts,
            &self.dead,
            &self.state,
        ];
        keys.into_iter().map(|key| Value::from(key.clone())).collect()
    }

    /// `KEYS` of the check.
    pub(super) fn with_scratch(&self) -> Vec<Value> {
        let scratch = self.scratch.iter().map(|key| Value::from(key.clone()));
        self.all().into_iter().chain(scratch).collect()
    }
}
