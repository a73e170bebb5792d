//! Functions as they are, and then each change of them. A watch that had to begin anew tells only what
//! is different.

use std::collections::HashMap;

use kipper_function::Function;
use kipper_kubernetes::{Mirror, ObjectName};
use kube::ResourceExt as _;

use crate::error::Patience;

/// What a watch brings.
#[derive(Clone, Debug)]
pub enum Seen {
    /// All there are; the first thing that comes.
    All(Vec<Function>),
    /// One that is new, or another one now.
    Changed(Box<Function>),
    /// One that is gone, as it was last.
    Gone(Box<Function>),
}

fn name(function: &Function) -> ObjectName {
    (function.namespace().unwrap_or_default(), function.name_any())
}

/// Hands over what a watch brings.
pub(super) struct Watching<T> {
    take: T,
    patience: Patience,
    known: HashMap<ObjectName, Function>,
    /// Of a list that is not complete yet.
    listed: HashMap<ObjectName, Function>,
    is_first: bool,
}

impl<T: FnMut(Seen)> Watching<T> {
    pub(super) fn new(patience: Patience, take: T) -> Self {
        Self { take, patience, known: HashMap::new(), listed: HashMap::new(), is_first: true }
    }

    fn put(&mut self, function: Function) {
        let former = self.known.insert(name(&function), function.clone());
        let is_same =
            former.is_some_and(|former| former.resource_version() == function.resource_version());
        if !is_same {
            (self.take)(Seen::Changed(Box::new(function)));
        }
    }

    fn remove(&mut self, name: &ObjectName) {
        if let Some(former) = self.known.remove(name) {
            (self.take)(Seen::Gone(Box::new(former)));
        }
    }
}

impl<T: FnMut(Seen) + Send> Mirror<Function> for Watching<T> {
    fn begin(&mut self) {
        self.listed.clear();
    }

    fn list(&mut self, function: Function) {
        self.listed.insert(name(&function), function);
    }

    fn complete(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        if std::mem::take(&mut self.is_first) {
            let mut all: Vec<_> = listed.values().cloned().collect();
            all.sort_by_key(|function| (function.namespace(), function.name_any()));
            self.known = listed;
            (self.take)(Seen::All(all));
            return;
        }
        let gone: Vec<_> =
            self.known.keys().filter(|name| !listed.contains_key(*name)).cloned().collect();
        gone.iter().for_each(|name| self.remove(name));
        listed.into_values().for_each(|function| self.put(function));
    }

    fn apply(&mut self, function: Function) {
        self.put(function);
    }

    fn delete(&mut self, function: Function) {
        self.remove(&name(&function));
    }

    fn gives_up(&self, error: &kube::Error) -> bool {
        (self.patience.gives_up())(error)
    }
}

#[cfg(test)]
mod tests {
    use kipper_function::FunctionSpec;

    use super::*;

    fn function(name: &str, version: &str) -> Function {
        let mut function = Function::new(name, FunctionSpec::default());
        function.metadata.resource_version = Some(version.to_owned());
        function
    }

    #[test]
    fn only_what_changed_is_told() {
        let mut told = Vec::new();
        let mut watching = Watching::new(Patience::Endless, |seen| {
            told.push(match seen {
                Seen::All(all) => {
                    let names: Vec<_> = all.iter().map(|function| function.name_any()).collect();
                    format!("all {}", names.join(" "))
                }
                Seen::Changed(function) => format!("changed {}", function.name_any()),
                Seen::Gone(function) => format!("gone {}", function.name_any()),
            });
        });
        watching.begin();
        watching.list(function("b", "1"));
        watching.list(function("a", "1"));
        watching.complete();
        watching.apply(function("a", "2"));
        watching.apply(function("a", "2"));
        watching.delete(function("b", "3"));
        watching.delete(function("b", "3"));
        // The watch begins anew.
        watching.begin();
        watching.list(function("a", "2"));
        watching.list(function("c", "4"));
        watching.complete();
        watching.begin();
        watching.list(function("c", "4"));
        watching.complete();
        drop(watching);
        assert_eq!(told, ["all a b", "changed a", "gone b", "changed c", "gone a"]);
    }
}
