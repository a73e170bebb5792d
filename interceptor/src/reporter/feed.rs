//! The data plane's counters as the reporter reads them.

use std::{sync::Arc, time::Duration};

use super::counts::{Counts, CountsFeed};
use crate::{clock, destination::Destination, router::Router};

/// A snapshot lists functions with a request within this time.
const RECENT: Duration = Duration::from_secs(3600);

impl Destination {
    /// Its counts now, as they are reported.
    fn counts(&self) -> Counts {
        let idle = clock::now().saturating_sub(self.counters.last_request());
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        // `waiting` is read first: somebody may leave in between, so it is capped.
        let waiting = count(self.waiting());
        let held = count(self.held());
        Counts {
            id: self.id.clone(),
            total: self.counters.total(),
            base: self.counters.reported_total(),
            in_flight: self.counters.in_flight(),
            held,
            waiting: waiting.min(held),
            idle: Duration::from_micros(idle),
        }
    }
}

impl CountsFeed for Router {
    async fn changed(&self) {
        self.context().changes.changed().await;
    }

    async fn urgent(&self) {
        self.context().changes.urgent().await;
    }

    fn take_changed(&self) -> Vec<Counts> {
        let taken = |f: &Arc<Destination>| {
            let counts = f.counts();
            f.note_reported(counts.total, counts.held as usize);
            counts
        };
        self.current(self.context().changes.take()).iter().map(taken).collect()
    }

    fn snapshot(&self) -> Vec<Counts> {
        let recent = |f: &Arc<Destination>| {
            let idle = clock::now().saturating_sub(f.counters.last_request());
            let used = f.counters.last_request() != 0 && Duration::from_micros(idle) < RECENT;
            used || f.counters.in_flight() > 0 || f.held() > 0
        };
        self.functions().iter().filter(|f| recent(f)).map(|f| f.counts()).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        destination::DestinationContext,
        source::{FunctionId, RouteSink, RouteSpec},
    };

    #[test]
    fn one_that_was_made_again_goes_on_with_what_is_open() {
        let router = Router::new(DestinationContext::for_test(1), false);
        let make = || {
            let id = FunctionId::new("ns", "a");
            router.apply(RouteSpec::new(id, vec!["a.test".to_owned()]));
            router.route("a.test").unwrap()
        };
        let begin = |function: &Arc<Destination>| {
            function.counters.accepted(clock::now());
            function.counters.forwarded();
            router.context().changes.mark(function);
        };
        let end = |function: &Arc<Destination>| {
            function.counters.finished();
            router.context().changes.mark(function);
        };
        let told = || -> Vec<_> {
            let taken = router.take_changed();
            taken.iter().map(|counts| (counts.total, counts.base, counts.in_flight)).collect()
        };
        let former = make();
        (0..3).for_each(|_| begin(&former));
        assert_eq!(told(), [(3, 0, 3)]);
        RouteSink::remove(&router, &former.id);
        end(&former);
        assert_eq!(told(), [(3, 3, 2)], "while no other has its name");
        let present = make();
        end(&former);
        assert_eq!(told(), [(3, 3, 1)]);
        begin(&present);
        end(&former);
        assert_eq!(told(), [(4, 3, 1)]);
        end(&present);
        assert_eq!(told(), [(4, 4, 0)]);
        // With nothing open it begins anew.
        RouteSink::remove(&router, &present.id);
        drop((former, present));
        begin(&make());
        assert_eq!(told(), [(1, 0, 1)]);
    }
}
