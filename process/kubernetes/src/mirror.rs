//! What a watch fills: a copy of the objects of one kind, or of what matters of them.

use std::{collections::BTreeMap, future::Future};

use kube::Resource;

/// Namespace, empty for what has none, and name of an object.
pub type ObjectName = (String, String);

/// Takes in what a watch brings. A list replaces everything once it is complete, and never before:
/// until then, and while a watch fails, the last known objects stay.
pub trait Mirror<K>: Send {
    /// A list begins. One that began before and was not completed is void.
    fn begin(&mut self);
    /// One object of the list.
    fn list(&mut self, object: K);
    /// The list is complete: what it did not bring is gone.
    fn complete(&mut self);
    /// One object was added or changed.
    fn apply(&mut self, object: K);
    /// One object is gone.
    fn delete(&mut self, object: K);

    /// Called after each of these; the watch reads on when it resolves. A mirror that hands work on
    /// through a bounded queue waits here.
    fn settle(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Whether trying again after this error is pointless, so that the watch ends with it. Servers of
    /// this project never give up; a command that somebody waits for may.
    fn gives_up(&self, _error: &kube::Error) -> bool {
        false
    }
}

/// A mirror of one value per object. `reduce` makes it, or leaves the object out; `publish` gets all
/// values after each complete list and after each change.
pub struct Values<T, R, P> {
    reduce: R,
    publish: P,
    known: BTreeMap<ObjectName, T>,
    /// Of a list that is not complete yet.
    listed: BTreeMap<ObjectName, T>,
}

impl<T, R, P> Values<T, R, P> {
    /// Knows nothing yet, and publishes nothing before the first complete list.
    pub fn new<K>(reduce: R, publish: P) -> Self
    where
        R: FnMut(&K) -> Option<T>,
        P: FnMut(&BTreeMap<ObjectName, T>),
    {
        Self { reduce, publish, known: BTreeMap::new(), listed: BTreeMap::new() }
    }
}

impl<K, T, R, P> Mirror<K> for Values<T, R, P>
where
    K: Resource,
    T: Send,
    R: FnMut(&K) -> Option<T> + Send,
    P: FnMut(&BTreeMap<ObjectName, T>) + Send,
{
    fn begin(&mut self) {
        self.listed.clear();
    }

    fn list(&mut self, object: K) {
        if let Some(value) = (self.reduce)(&object) {
            self.listed.insert(name(&object), value);
        }
    }

    fn complete(&mut self) {
        self.known = std::mem::take(&mut self.listed);
        (self.publish)(&self.known);
    }

    fn apply(&mut self, object: K) {
        match (self.reduce)(&object) {
            Some(value) => self.known.insert(name(&object), value),
            None => self.known.remove(&name(&object)),
        };
        (self.publish)(&self.known);
    }

    fn delete(&mut self, object: K) {
        self.known.remove(&name(&object));
        (self.publish)(&self.known);
    }
}

fn name(object: &impl Resource) -> ObjectName {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}
