//! The event trigger of a Function, as `kipper_trigger` reads it.

use kipper_trigger::EventTrigger;

use super::spec::{FunctionSpec, Trigger};

impl Trigger {
    /// Ready to be asked for its settings, if it is an event trigger.
    pub fn event(&self) -> Option<EventTrigger<'_>> {
        Some(EventTrigger::new(self.kind()?.event()?, &self.config))
    }
}

impl FunctionSpec {
    /// The event trigger, ready to be asked for its settings.
    pub fn event(&self) -> Option<EventTrigger<'_>> {
        self.event_trigger()?.event()
    }

    /// Fewest and most replicas. Rows that nothing marks are known to be handled only by the
    /// process that handled them, so there may be no second one.
    pub fn replica_limits(&self) -> (u32, u32) {
        let single = self.event().is_some_and(|event| event.leaves_no_mark());
        let max = if single { 1 } else { self.max_replicas() };
        (self.min_replicas().min(max), max)
    }
}
