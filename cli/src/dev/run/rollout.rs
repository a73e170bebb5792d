//! Which processes to start and which to stop: the number that is wanted, of the newest version.
//!
//! Pure. A new version comes up beside the old one, a quarter of the processes at a time, and an old
//! process goes only when as many listen as are wanted, as the Deployment of a cluster does it
//! (`maxSurge: 25%`, `maxUnavailable: 0`).

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It cannot answer yet.
    Starting,
    /// It answers.
    Listening,
    /// It was asked to stop.
    Stopping,
}

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replica {
    /// Higher means younger.
    pub(crate) id: u64,
    /// Version of the code it was started with.
    pub(crate) generation: u64,
    pub(crate) stage: Stage,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Processes to start.
    pub(crate) start: u32,
    /// Processes to stop.
    pub(crate) retire: Vec<u64>,
}

/// Of so many processes, the part that is replaced at a time, rounded up.
const SURGE_PART: usize = 4;

/// What is missing and what is too much, for `desired` processes of `generation`.
pub(crate) fn plan(replicas: &[Replica], desired: u32, generation: u64) -> Plan {
    let desired = usize::try_from(desired).unwrap_or(usize::MAX);
    let mut live: Vec<Replica> =
        replicas.iter().copied().filter(|r| r.stage != Stage::Stopping).collect();
    // Who is stopped first: old before new, starting before listening, young before old.
    live.sort_by_key(|r| {
        (r.generation >= generation, r.stage == Stage::Listening, std::cmp::Reverse(r.id))
    });
    let mut plan = Plan::default();
    let most = desired.saturating_add(desired.div_ceil(SURGE_PART));
    let is_old = |r: &Replica| r.generation < generation;
    let mut kept = live.clone();
    for replica in live {
        let listening = kept.iter().filter(|r| r.stage == Stage::Listening).count();
        let is_listening = replica.stage == Stage::Listening;
        let go = if is_old(&replica) {
            // One that never answered serves nobody; one that answers goes when it is not needed.
            !is_listening || listening > desired || kept.len() > most
        } else {
            kept.len() > desired && !kept.iter().any(is_old)
        };
        if go || desired == 0 {
            plan.retire.push(replica.id);
            kept.retain(|r| r.id != replica.id);
        }
    }
    let missing = desired.saturating_sub(kept.len());
    let old = kept.iter().filter(|r| is_old(r)).count();
    let to_come = desired.saturating_sub(kept.len() - old);
    let surge = if old > 0 { to_come.min(most.saturating_sub(kept.len())) } else { 0 };
    let start = if missing > 0 { missing } else { surge };
    plan.start = u32::try_from(start).unwrap_or(u32::MAX);
    plan
}

#[cfg(test)]
mod tests {
    use super::{Stage::*, *};

    /// (id, generation, stage) of each replica; the present generation is 1.
    fn check(replicas: &[(u64, u64, Stage)], desired: u32, start: u32, retire: &[u64]) {
        let list: Vec<Replica> = replicas
            .iter()
            .map(|(id, generation, stage)| Replica {
                id: *id,
                generation: *generation,
                stage: *stage,
            })
            .collect();
        let expected = Plan { start, retire: retire.to_vec() };
        assert_eq!(plan(&list, desired, 1), expected, "{replicas:?}, {desired} wanted");
    }

    #[test]
    fn the_number_that_is_wanted() {
        check(&[], 0, 0, &[]);
        check(&[], 3, 3, &[]);
        check(&[(0, 1, Listening)], 3, 2, &[]);
        check(&[(0, 1, Stopping)], 1, 1, &[]);
        check(&[(0, 1, Listening), (1, 1, Starting)], 0, 0, &[1, 0]);
    }

    #[test]
    fn of_too_many_the_ones_that_serve_least_go() {
        check(&[(0, 1, Listening), (1, 1, Listening), (2, 1, Listening)], 1, 0, &[2, 1]);
        check(&[(0, 1, Starting), (1, 1, Listening), (2, 1, Listening)], 2, 0, &[0]);
    }

    #[test]
    fn a_new_version_comes_up_beside_the_old_one() {
        check(&[(0, 0, Listening)], 1, 1, &[]);
        check(&[(0, 0, Listening), (1, 1, Starting)], 1, 0, &[]);
        check(&[(0, 0, Listening), (1, 1, Listening)], 1, 0, &[0]);
        // Three old ones: one new at a time, one old for each.
        let old = [(0, 0, Listening), (1, 0, Listening), (2, 0, Listening)];
        check(&old, 3, 1, &[]);
        check(&[&old[..], &[(3, 1, Starting)]].concat(), 3, 0, &[]);
        check(&[&old[..], &[(3, 1, Listening)]].concat(), 3, 1, &[2]);
    }

    #[test]
    fn ten_processes_are_replaced_three_at_a_time() {
        let old: Vec<_> = (0..10).map(|id| (id, 0, Listening)).collect();
        let with = |stage| [&old[..], &[(10, 1, stage), (11, 1, stage), (12, 1, stage)]].concat();
        check(&old, 10, 3, &[]);
        check(&with(Starting), 10, 0, &[]);
        check(&with(Listening), 10, 3, &[9, 8, 7]);
        // The last one.
        let mut last: Vec<_> = (10..19).map(|id| (id, 1, Listening)).collect();
        last.push((0, 0, Listening));
        check(&last, 10, 1, &[]);
    }

    #[test]
    fn an_old_version_that_never_answered_is_not_waited_for() {
        check(&[(0, 0, Starting)], 1, 1, &[0]);
        check(&[(0, 0, Listening), (1, 0, Starting)], 2, 1, &[1]);
    }

    #[test]
    fn scaling_goes_on_while_versions_change() {
        let two = [(0, 0, Listening), (1, 0, Listening)];
        check(&two, 0, 0, &[1, 0]);
        check(&two, 4, 2, &[]);
        check(&[(0, 0, Listening), (1, 0, Listening), (2, 1, Starting)], 1, 0, &[1]);
    }
}
