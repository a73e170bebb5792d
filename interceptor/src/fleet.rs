//! Which pods of a concurrency-limited function this interceptor may use, so that the fleet
//! together keeps the limit exact. Pure.
//!
//! Each pod belongs to one interceptor: the one with the highest random weight (rendezvous hashing,
//! Thaler and Ravishankar 1998). Only its owner sends requests to it and counts them. With fewer
//! pods than interceptors some own none; those hand their requests over to an owner, whose queue
//! holds them behind its own, so that none starves. While the members change, two interceptors may
//! for a moment both take a pod for theirs.

use std::net::SocketAddr;

use crate::source::{EndpointState, Fleet, Member};

/// What one interceptor may use of a function's pods.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Pods that are its own.
    pub pods: Vec<EndpointState>,
    /// Where the owners of the pods serve, when it has none itself.
    pub owners: Vec<SocketAddr>,
}

/// The share of `fleet.me`. It is alone if the fleet does not know it.
pub fn share(states: &[EndpointState], fleet: &Fleet) -> Share {
    let all = || Share { pods: states.to_vec(), owners: Vec::new() };
    if fleet.members.len() < 2 || !fleet.members.iter().any(|m| m.name == fleet.me) {
        return all();
    }
    let mine = |s: &&EndpointState| owner(s.address, fleet).is_some_and(|o| o.name == fleet.me);
    let pods: Vec<_> = states.iter().filter(mine).copied().collect();
    let staying = || states.iter().filter(|s| !s.terminating);
    if pods.iter().any(|s| !s.terminating) || staying().next().is_none() {
        return Share { pods, owners: Vec::new() };
    }
    let mut owners: Vec<_> =
        staying().filter_map(|s| owner(s.address, fleet).and_then(|o| o.address)).collect();
    owners.sort_unstable();
    owners.dedup();
    // Without an address of an owner, a request is rather served over the limit than not at all.
    if owners.is_empty() { all() } else { Share { pods: Vec::new(), owners } }
}

fn owner(pod: SocketAddr, fleet: &Fleet) -> Option<&Member> {
    fleet.members.iter().max_by_key(|m| (weight(&m.name, pod), m.name.as_str()))
}

/// FNV-1a over both names, finished with a 64-bit mix so that near names spread.
fn weight(interceptor: &str, pod: SocketAddr) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in interceptor.bytes().chain([0]).chain(pod.to_string().bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(port: u16) -> EndpointState {
        let address = SocketAddr::from(([10, 0, 0, 1], port));
        EndpointState { address, ready: true, terminating: false }
    }

    fn fleet(me: u16, n: u16) -> Fleet {
        let member = |i: u16| Member {
            name: format!("interceptor-{i}"),
            address: Some(([10, 0, 1, 0], 8000 + i).into()),
        };
        Fleet { me: member(me).name, members: (0..n).map(member).collect() }
    }

    #[test]
    fn rendezvous_divides_and_moves_little() {
        let states: Vec<_> = (1..=60).map(state).collect();
        let shares: Vec<_> = (0..3).map(|i| share(&states, &fleet(i, 3)).pods).collect();
        assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), 60, "each pod has one owner");
        assert!(shares.iter().all(|s| s.len() >= 8), "roughly even");
        let kept = share(&states, &fleet(0, 4)).pods;
        assert!(kept.iter().all(|s| shares[0].contains(s)), "a new one only takes away");
        assert_eq!(share(&states[..1], &fleet(9, 3)).pods.len(), 1, "unknown self: all");
    }

    #[test]
    fn who_owns_no_pod_knows_the_owner() {
        let one = [state(1)];
        let shares: Vec<_> = (0..3).map(|i| share(&one, &fleet(i, 3))).collect();
        let owners: Vec<_> = (0..3).filter(|i| !shares[usize::from(*i)].pods.is_empty()).collect();
        let [owner] = owners[..] else { panic!("{shares:?}") };
        for (i, share) in (0..3).zip(&shares) {
            let expected = (i != owner).then(|| ([10, 0, 1, 0], 8000 + owner).into());
            assert_eq!(share.owners, Vec::from_iter(expected));
        }
        let leaving = [EndpointState { terminating: true, ..state(1) }];
        for i in 0..3 {
            assert_eq!(share(&leaving, &fleet(i, 3)).owners, [], "a pod that leaves takes nothing");
        }
    }
}
