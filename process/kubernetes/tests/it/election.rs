//! One leader at a time, whoever dies, hangs or steps down. On paused time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use kipper_api_server::{ApiServer, Asked};
use kipper_kubernetes::{Candidacy, Election, Leader};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

/// The Lease, as the server stores it, and whether requests are answered.
#[derive(Default)]
struct Store {
    lease: Option<Value>,
    version: u64,
    hangs: bool,
    unanswered: Vec<Asked>,
}

impl Store {
    fn answer(&mut self, asked: Asked) {
        if self.hangs {
            self.unanswered.push(asked);
            return;
        }
        if asked.method == "GET" {
            return match &self.lease {
                Some(lease) => asked.answer(200, &lease.to_string()),
                None => asked.answer(404, &failure(404, "NotFound")),
            };
        }
        let mut lease: Value = serde_json::from_str(&asked.body).unwrap();
        let known = self.lease.as_ref().map(|lease| &lease["metadata"]["resourceVersion"]);
        if known.is_some_and(|known| *known != lease["metadata"]["resourceVersion"]) {
            return asked.answer(409, &failure(409, "Conflict"));
        }
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(lease.clone());
        asked.answer(200, &lease.to_string());
    }
}

fn failure(code: u16, reason: &str) -> String {
    let status = json!({ "status": "Failure", "code": code, "reason": reason, "message": "no" });
    status.to_string()
}

struct World {
    client: Client,
    store: Arc<Mutex<Store>>,
    _serving: JoinSet<()>,
}

impl World {
    async fn new() -> Self {
        let mut api = ApiServer::in_memory().await;
        let (client, store) = (api.client(), Arc::new(Mutex::new(Store::default())));
        let (served, mut serving) = (Arc::clone(&store), JoinSet::new());
        serving.spawn(async move {
            loop {
                let asked = api.asked().await;
                served.lock().unwrap().answer(asked);
            }
        });
        Self { client, store, _serving: serving }
    }

    fn candidate(&self, identity: &str) -> (Candidacy, watch::Receiver<Leader>) {
        let leases = Api::namespaced(self.client.clone(), "ns");
        let candidacy = Election::new(leases, "the-lease", identity.to_owned()).start();
        let leader = candidacy.leader();
        (candidacy, leader)
    }

    fn holder(&self) -> Value {
        self.store.lock().unwrap().lease.as_ref().unwrap()["spec"]["holderIdentity"].clone()
    }
}

async fn until(leader: &mut watch::Receiver<Leader>, wanted: Leader) {
    leader.wait_for(|leader| *leader == wanted).await.unwrap();
}

fn other(identity: &str) -> Leader {
    Leader::Other(identity.to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_steps_down_is_followed_at_once() {
    let world = World::new().await;
    let (first, mut by_first) = world.candidate("first");
    until(&mut by_first, Leader::Me).await;
    let (_second, mut by_second) = world.candidate("second");
    until(&mut by_second, other("first")).await;
    // For as long as it renews, nobody else leads.
    sleep(Duration::from_secs(120)).await;
    assert_eq!((&*by_first.borrow(), &*by_second.borrow()), (&Leader::Me, &other("first")));
    first.give_back().await;
    assert_eq!(world.holder(), Value::Null);
    let free = Instant::now();
    until(&mut by_second, Leader::Me).await;
    assert!(free.elapsed() < Duration::from_secs(3), "{:?}", free.elapsed());
    let lease = world.store.lock().unwrap().lease.clone().unwrap();
    assert_eq!(lease["spec"]["leaseTransitions"], json!(2));
    assert_eq!(lease["spec"]["leaseDurationSeconds"], json!(15));
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_followed_when_its_lease_has_expired() {
    let world = World::new().await;
    let (first, mut by_first) = world.candidate("first");
    until(&mut by_first, Leader::Me).await;
    let (_second, mut by_second) = world.candidate("second");
    until(&mut by_second, other("first")).await;
    drop(first);
    let died = Instant::now();
    until(&mut by_second, Leader::Me).await;
    let waited = died.elapsed();
    // Its last renewal was up to one period before, and was seen up to one period later.
    assert!(waited > Duration::from_secs(12) && waited < Duration::from_secs(20), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_another_may_start() {
    let world = World::new().await;
    let (_first, mut by_first) = world.candidate("first");
    until(&mut by_first, Leader::Me).await;
    sleep(Duration::from_secs(30)).await;
    world.store.lock().unwrap().hangs = true;
    let cut = Instant::now();
    until(&mut by_first, Leader::Unknown).await;
    assert!(cut.elapsed() <= Duration::from_secs(10), "{:?}", cut.elapsed());
    // It comes back as the holder that it still is.
    world.store.lock().unwrap().hangs = false;
    until(&mut by_first, Leader::Me).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_does_not_lead_gives_nothing_back() {
    let world = World::new().await;
    let (_first, mut by_first) = world.candidate("first");
    until(&mut by_first, Leader::Me).await;
    let (second, mut by_second) = world.candidate("second");
    until(&mut by_second, other("first")).await;
    second.give_back().await;
    assert_eq!(world.holder(), json!("first"));
}
