//! Which pods of a concurrency-limited function this interceptor may use. Pure.

use std::net::SocketAddr;

use crate::source::EndpointState;

/// The interceptors that share the work, by name. Empty: this one is alone.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// This interceptor.
    pub me: String,
    /// All of them, this one included.
    pub members: Vec<String>,
}

/// The share of a concurrency-limited function's pods that this interceptor may use, so that the
/// fleet together keeps the limit exact: each pod belongs to the interceptor with the highest
/// random weight (rendezvous hashing, Thaler and Ravishankar 1998). With fewer pods than
/// interceptors some own none; those use all, and the limit is then exact per interceptor only.
pub fn owned(states: &[EndpointState], me: &str, interceptors: &[String]) -> Vec<EndpointState> {
    if interceptors.len() < 2 || !interceptors.iter().any(|i| i == me) {
        return states.to_vec();
    }
    let mine: Vec<_> = states
        .iter()
        .filter(|s| {
            let owner = interceptors.iter().max_by_key(|i| (weight(i, s.address), i.as_str()));
            owner.is_some_and(|o| o == me)
        })
        .copied()
        .collect();
    if mine.is_empty() { states.to_vec() } else { mine }
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

    fn state(port: u16, ready: bool) -> EndpointState {
        let address = SocketAddr::from(([10, 0, 0, 1], port));
        EndpointState { address, ready, terminating: false }
    }

    #[test]
    fn rendezvous_divides_and_moves_little() {
        let states: Vec<_> = (1..=60).map(|p| state(p, true)).collect();
        let fleet = |n: usize| (0..n).map(|i| format!("interceptor-{i}")).collect::<Vec<_>>();
        let three = fleet(3);
        let shares: Vec<_> = three.iter().map(|i| owned(&states, i, &three)).collect();
        assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), 60, "each pod has one owner");
        assert!(shares.iter().all(|s| s.len() >= 8), "roughly even");
        let four = fleet(4);
        let kept = owned(&states, "interceptor-0", &four);
        assert!(kept.iter().all(|s| shares[0].contains(s)), "a new one only takes away");
        assert_eq!(owned(&states[..1], "interceptor-9", &three).len(), 1, "unknown self: all");
    }
}
