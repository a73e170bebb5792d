//! Burst: replicas at once, ahead of the HPA, which looks at a function only every 15 seconds.
//!
//! Looks at a function whenever its counts arrive and asks for replicas when the rate of this moment,
//! or what waits, needs clearly more than there are. It only ever asks for more: going down is the
//! HPA's, which is told the asked number for [`HOLD`] after an ask, because a metric that disagreed
//! would have it take the replicas back at its next look. Whoever holds KEDA's stream of a function
//! asks for it, and knows the counts of the whole fleet. Pure: `asker` does
//! what is decided here.

use std::time::Duration;

use kipper_kubernetes::Scale;
use kipper_trigger::scaler::Target;

use crate::aggregate::{Load, Recent};

/// For how long the metric agrees with what was asked for: two looks of the HPA. Its stabilisation
/// window keeps the replicas for a minute more.
const HOLD: Duration = Duration::from_secs(30);
/// Between two looks at the replicas of one function.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// For how long replicas that were read stand for those there are.
const FRESH: Duration = Duration::from_secs(5);
/// What waits must have waited so long: a crowd that is answered in less needs no pods.
const PATIENCE: Duration = Duration::from_millis(500);
/// How full replicas may be before there should be more of them.
pub(crate) const TARGET_UTILISATION: f64 = 0.7;
/// Standard deviations by which an ask stays below the rate that was seen.
const MODESTY: f64 = 2.0;
/// Replicas without pods, of which none has come for so long: something refuses them, and more would be
/// refused as well.
const STUCK: Duration = Duration::from_secs(10);
/// Missing pods that were not looked at for so long say nothing any more.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Share of a target that is left out of the metric, so that rounding up gives the asked number.
const LESS: f64 = 0.01;

/// What a function is scaled by, ahead of the HPA: requests, events, or both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Never more replicas than these.
    max_replicas: u32,
    requests: Option<Requests>,
    /// Events that one replica should have before it.
    events: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Requests {
    /// Per second and replica.
    rate: f64,
    /// In flight in a replica at most; 0 = no limit.
    concurrency: u32,
}

impl Settings {
    /// Of one trigger.
    pub(crate) fn new(max_replicas: u32, target: Target) -> Self {
        let (requests, events) = match target {
            Target::Requests { rate, concurrency } => (Some(Requests { rate, concurrency }), None),
            Target::Bucket(events) | Target::Backlog(events) => (None, Some(events)),
        };
        Self { max_replicas, requests, events }
    }
}

/// What is known of a function at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct View {
    pub(crate) recent: Recent,
    pub(crate) load: Load,
    /// As the HPA is told it, without an ask.
    pub(crate) rate: f64,
    /// Events that wait or are in work.
    pub(crate) events: u64,
}

/// What to do about a function now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing, until its counts change.
    Rest,
    /// Nothing yet; think again after this.
    Wait(Duration),
    /// Read its replicas.
    Look,
}

/// What is to be done about replicas that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ask for so many.
    Ask(u32),
    /// There are enough.
    Enough,
    /// None at all: off zero it is KEDA that scales, to one whatever it finds.
    Asleep,
    /// There are more pods than replicas: a rollout, or they are becoming fewer.
    Changing,
    /// There are fewer pods than replicas, and none has come for a while: a quota, or worse.
    Stuck,
}

/// What came of an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// There are so many now.
    Given,
    /// Somebody else scaled meanwhile.
    Raced,
    /// There are not so many.
    Refused,
    /// Nobody knows: it may have been written, or is still to be.
    Unknown,
}

/// Fewer pods than replicas.
#[derive(Clone, Copy, Debug)]
struct Short {
    /// Since when none has come.
    since: Duration,
    pods: u32,
    /// When they were read last.
    at: Duration,
}

impl Short {
    /// What is known once `pods` were read that are too few.
    fn read(known: Option<Self>, pods: u32, now: Duration) -> Self {
        let is_same = |short: &Self| pods <= short.pods && now.saturating_sub(short.at) < FORGOTTEN;
        let since = known.filter(is_same).map_or(now, |short| short.since);
        Self { since, pods, at: now }
    }
}

/// One function, while somebody who may scale it listens.
#[derive(Clone, Debug)]
pub(crate) struct Burst {
    settings: Settings,
    /// Replicas as read last.
    seen: Option<(Duration, u32)>,
    looked: Option<Duration>,
    asked: Option<(Duration, u32)>,
    /// What was asked for before that.
    asked_before: Option<(Duration, u32)>,
    /// It is to be looked at once more whether what was asked for is still there.
    unverified: bool,
    /// Nobody knows whether it was given.
    uncertain: bool,
    /// Somebody else scaled it in the moment of the last ask.
    raced: bool,
    short: Option<Short>,
    /// Since when more waits than the replicas can take.
    overfull: Option<Duration>,
}

impl Burst {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            seen: None,
            looked: None,
            asked: None,
            asked_before: None,
            unverified: false,
            uncertain: false,
            raced: false,
            short: None,
            overfull: None,
        }
    }

    /// A function has a stream for each of its triggers, and one that was opened again may bring other
    /// settings. What was asked stays, and so does what other triggers have said.
    pub(crate) fn set(&mut self, settings: Settings) {
        let Settings { max_replicas, requests, events } = settings;
        let known = self.settings;
        let (requests, events) = (requests.or(known.requests), events.or(known.events));
        self.settings = Settings { max_replicas, requests, events };
    }

    /// Whether a closer look could have any consequence. Cheap, for every update of a function.
    pub(crate) fn is_calm(&self, recent: Recent, load: Load, events: u64) -> bool {
        let is_slow = self.settings.requests.is_none_or(|requests| recent.certain <= requests.rate);
        let view = View { load, events, ..View::default() };
        is_slow && self.overfull.is_none() && self.by_waiting(&view) < 2
    }

    /// What to do in view of the latest counts.
    pub(crate) fn step(&mut self, view: &View, now: Duration) -> Step {
        let have = self.assumed(view, now);
        if self.wanted(view, have, now).is_some() || self.unverified {
            return match self.looked.map(|at| at + LOOK_INTERVAL).filter(|due| *due > now) {
                Some(due) => Step::Wait(due.saturating_sub(now)),
                None => Step::Look,
            };
        }
        // What waits is patient for a moment, and may not change meanwhile.
        match self.overfull.map(|since| since + PATIENCE).filter(|due| *due > now) {
            Some(due) => Step::Wait(due.saturating_sub(now)),
            None => Step::Rest,
        }
    }

    /// The replicas were read.
    pub(crate) fn saw(&mut self, scale: Scale, view: &View, now: Duration) -> Verdict {
        let fresh = self.seen.filter(|(at, _)| now.saturating_sub(*at) < FRESH);
        let was_asleep = fresh.is_some_and(|(_, replicas)| replicas == 0);
        self.seen = Some((now, scale.wanted));
        if std::mem::take(&mut self.uncertain)
            && self.asked.is_some_and(|(_, asked)| scale.wanted < asked)
        {
            self.asked = self.asked_before;
        }
        // What it was asked for has waited already, and somebody took it back.
        if std::mem::take(&mut self.unverified) && self.by_waiting(view) > scale.wanted {
            self.overfull = now.checked_sub(PATIENCE);
        }
        let is_short = scale.pods < scale.wanted;
        self.short = is_short.then(|| Short::read(self.short, scale.pods, now));
        let Some(replicas) = self.wanted(view, scale.wanted.max(1), now) else {
            return Verdict::Enough;
        };
        if scale.wanted == 0 {
            // KEDA's write is on its way: whoever comes back for it need not wait for the next look.
            if !was_asleep {
                self.looked = None;
            }
            Verdict::Asleep
        } else if scale.pods > scale.wanted {
            Verdict::Changing
        } else if self.short.is_some_and(|short| now.saturating_sub(short.since) >= STUCK) {
            Verdict::Stuck
        } else {
            Verdict::Ask(replicas)
        }
    }

    /// Its replicas are being looked at.
    pub(crate) fn looks(&mut self, now: Duration) {
        self.looked = Some(now);
    }

    /// So many are being asked for. From here on the HPA is told so: should it look in this very moment,
    /// it must not find that they are too many.
    pub(crate) fn asks(&mut self, replicas: u32, now: Duration) {
        self.asked_before = self.asked.replace((now, replicas));
    }

    /// What came of it. What may have been written is held as if it were, until somebody has looked.
    pub(crate) fn asked(&mut self, answer: Answer, now: Duration) {
        let has_raced = std::mem::replace(&mut self.raced, answer == Answer::Raced);
        match answer {
            Answer::Given => {
                self.seen = self.asked.map(|(_, replicas)| (now, replicas));
                self.unverified = true;
            }
            Answer::Unknown => (self.unverified, self.uncertain) = (true, true),
            Answer::Refused => self.asked = self.asked_before,
            Answer::Raced => {
                self.asked = self.asked_before;
                // What was read is of no use any more. Who races again and again waits as all do.
                if !has_raced {
                    self.looked = None;
                }
            }
        }
    }

    /// Nothing counts events of the function any more.
    pub(crate) fn forget_events(&mut self) {
        self.settings.events = None;
    }

    /// The least that the HPA is told, in the unit of the metric by which it aims at `target`.
    pub(crate) fn held_value(&self, target: Target, now: Duration) -> f64 {
        let each = match target {
            Target::Requests { rate, .. } => rate,
            Target::Bucket(events) | Target::Backlog(events) => events,
        };
        self.held(now).map_or(0.0, |replicas| (f64::from(replicas) - LESS) * each)
    }

    /// Nothing of it is needed by anybody who comes later.
    pub(crate) fn is_over(&self, now: Duration) -> bool {
        self.held(now).is_none()
    }

    fn held(&self, now: Duration) -> Option<u32> {
        let (_, replicas) = self.asked.filter(|(at, _)| now.saturating_sub(*at) < HOLD)?;
        Some(replicas.min(self.settings.max_replicas))
    }

    /// Replicas there may be, without asking anybody: those read just now; later as many of them as the
    /// HPA, by what it is told, leaves there.
    fn assumed(&self, view: &View, now: Duration) -> u32 {
        let told = self.settings.requests.map_or(0.0, |requests| view.rate / requests.rate);
        let left = whole(told).max(self.held(now).unwrap_or(0));
        let replicas = match self.seen {
            Some((at, replicas)) if now.saturating_sub(at) < FRESH => replicas,
            Some((_, replicas)) => replicas.min(left),
            None => 1,
        };
        replicas.max(1)
    }

    /// Replicas that are needed clearly beyond `have`.
    fn wanted(&mut self, view: &View, have: u32, now: Duration) -> Option<u32> {
        let enough = have + (have / 4).max(1);
        let waiting = self.by_waiting(view);
        if waiting < enough {
            self.overfull = None;
        } else {
            self.overfull.get_or_insert(now);
        }
        let patient = self.overfull.is_some_and(|since| now.saturating_sub(since) >= PATIENCE);
        let waiting = if patient { waiting } else { 0 };
        let replicas = waiting.max(self.by_rate(view, have, enough));
        (replicas >= enough).then_some(replicas)
    }

    /// By the rate, if it is above what `have` replicas are there for, and by more than chance. What is
    /// typical of the last second says whether it is no crowd that is gone again; how many replicas, all
    /// of it says: at the beginning of a step half of what is typical is not there yet.
    fn by_rate(&self, view: &View, have: u32, enough: u32) -> u32 {
        let Some(Requests { rate: target, .. }) = self.settings.requests else { return 0 };
        if view.recent.certain <= f64::from(have) * target {
            return 0;
        }
        let modest = |rate: f64| whole((rate - MODESTY * rate.sqrt()) / target);
        let Recent { typical, counted, .. } = view.recent;
        let replicas = modest(typical);
        let replicas = if replicas < enough { 0 } else { replicas.max(modest(counted)) };
        replicas.min(self.settings.max_replicas)
    }

    /// By what is open, where a replica takes only so much, and by events.
    fn by_waiting(&self, view: &View) -> u32 {
        #[allow(clippy::cast_precision_loss)] // exact up to 2^53
        let count = |number: u64| number as f64;
        let limit = self.settings.requests.map_or(0, |requests| requests.concurrency);
        let open = match limit {
            0 => 0.0,
            _ => {
                let open = count(view.load.in_flight + view.load.held);
                open / (TARGET_UTILISATION * f64::from(limit))
            }
        };
        let events = self.settings.events.map_or(0.0, |target| count(view.events) / target);
        whole(open.max(events)).min(self.settings.max_replicas)
    }
}

/// Rounded up.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the cast saturates
fn whole(replicas: f64) -> u32 {
    replicas.ceil().max(0.0) as u32
}

#[cfg(test)]
mod tests;
