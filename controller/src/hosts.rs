//! Who owns a host. Each host has one claim in the cluster: a Lease named after it, beside the
//! controller, that only one writer can create.
//!
//! Among Functions the claim decides. Against an Ingress of somebody else whoever had the host first
//! wins: one that carries it when there is no claim yet, or that was created with it before the claim,
//! has it; one that was edited later to carry it has nothing. A claim whose Function is gone is taken
//! over, never waited for.
//!
//! The claim also tells interceptors how to reach the function: only this process may write it, and they
//! need nothing else of a Function.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kipper_function::{Function, host, names, route::Route};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions},
    runtime::reflector::{ObjectRef, Store},
};
use serde_json::json;

use crate::{
    cache::{Cache, Claim, Foreign, Key},
    claim::{HOLDER_UID, claim},
    plan::Reservation,
};

/// Takeovers of a dead claim before the reconcile is tried again later.
const MAX_TRIES: u32 = 3;

/// The claims of one cluster domain.
pub(crate) struct Hosts {
    pub(crate) client: Client,
    pub(crate) cache: Arc<Cache>,
    pub(crate) functions: Store<Function>,
    /// Namespace of the claims.
    pub(crate) namespace: String,
    pub(crate) cluster_domain: String,
    pub(crate) shared_parents: Vec<String>,
}

impl Hosts {
    /// Claims the host of `function` and keeps its route there, or says who has it.
    pub(crate) async fn reserve(&self, function: &Function) -> kube::Result<Reservation> {
        let host =
            match host::host(&function.name_any(), &self.cluster_domain, &self.shared_parents) {
                Ok(host) => host,
                Err(error) => return Ok(Reservation::Invalid(error.to_string())),
            };
        let uid = function.uid().unwrap_or_default();
        let me = Key::of(&function.metadata);
        let route = Route::of(function).to_json();
        let mut claim = self.cache.claims.get(&host);
        for _ in 0..MAX_TRIES {
            let held = match claim {
                Some(claim) if claim.holder == me && claim.holder_uid == uid => claim,
                Some(other) if self.lives(&other) => {
                    return Ok(Reservation::Taken { host, owner: describe(&other.holder) });
                }
                Some(dead) => {
                    self.delete(&host, &dead.uid).await?;
                    claim = None;
                    continue;
                }
                None => {
                    if let Some(owner) = self.ingress(&host, |_| true) {
                        return Ok(Reservation::Taken { host, owner });
                    }
                    claim = self.create(&host, &me, &uid, &route).await?;
                    continue;
                }
            };
            // One of which the watch had not told yet when the host was claimed.
            let is_older = |ingress: &Foreign| {
                ingress.is_unchanged && ingress.created.is_some() && ingress.created < held.created
            };
            if let Some(owner) = self.ingress(&host, is_older) {
                self.delete(&host, &held.uid).await?;
                return Ok(Reservation::Taken { host, owner });
            }
            if held.route.as_deref() != Some(&route) {
                self.write_route(&host, &held.uid, &route).await?;
            }
            return Ok(Reservation::Reserved(host));
        }
        Ok(Reservation::Taken {
            host,
            owner: "a function whose claim is being transferred".to_owned(),
        })
    }

    /// Gives up every host of the function with this key.
    pub(crate) async fn release(&self, function: &Key, uid: &str) -> kube::Result<()> {
        let mine = |_: &String, c: &Claim| c.holder == *function && c.holder_uid == uid;
        for (host, claim) in self.cache.claims.filter(mine) {
            self.delete(&host, &claim.uid).await?;
        }
        Ok(())
    }

    fn api(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates the claim, or reads the one that is there.
    async fn create(
        &self,
        host: &str,
        holder: &Key,
        uid: &str,
        route: &str,
    ) -> kube::Result<Option<Claim>> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(host.to_owned()),
                labels: Some(BTreeMap::from([
                    (names::MANAGED_BY.to_owned(), names::KIPPER.to_owned()),
                    (names::RESOURCE_TYPE.to_owned(), names::HOST_CLAIM.to_owned()),
                ])),
                annotations: Some(BTreeMap::from([
                    (HOLDER_UID.to_owned(), uid.to_owned()),
                    (names::ROUTE.to_owned(), route.to_owned()),
                ])),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(format!("{}/{}", holder.namespace, holder.name)),
                ..LeaseSpec::default()
            }),
        };
        let created = match self.api().create(&PostParams::default(), &lease).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                self.api().get_opt(host).await?
            }
            other => Some(other?),
        };
        Ok(created.as_ref().and_then(claim))
    }

    /// The row has it at once, so that the next pass does not write it again.
    async fn write_route(&self, host: &str, uid: &str, route: &str) -> kube::Result<()> {
        let metadata = json!({ "uid": uid, "annotations": { names::ROUTE: route } });
        let params = PatchParams {
            field_manager: Some(names::FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        match self.api().patch(host, &params, &patch).await {
            // Somebody else's by now, of which the watch tells.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            written => {
                if let Some(claim) = claim(&written?) {
                    self.cache.claims.put(host.to_owned(), claim);
                }
            }
        }
        Ok(())
    }

    /// The row stays until the watch tells of the end, so that it tells whoever waits for the host.
    async fn delete(&self, host: &str, uid: &str) -> kube::Result<()> {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.api().delete(host, &params).await {
            // Gone, or somebody else's already.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Whether the holder of a claim exists still, with the same identity.
    fn lives(&self, claim: &Claim) -> bool {
        let key = ObjectRef::new(&claim.holder.name).within(&claim.holder.namespace);
        let holder = self.functions.get(&key);
        holder.is_some_and(|f| f.uid().unwrap_or_default() == claim.holder_uid)
    }

    /// The oldest foreign Ingress with this host that `counts`.
    fn ingress(&self, host: &str, counts: impl Fn(&Foreign) -> bool) -> Option<String> {
        let rows = self
            .cache
            .foreign
            .filter(|_, ingress| ingress.hosts.iter().any(|h| h == host) && counts(ingress));
        let oldest = rows.into_iter().min_by_key(|(_, ingress)| ingress.created);
        oldest.map(|(key, _)| format!("Ingress {key}"))
    }
}

fn describe(function: &Key) -> String {
    format!("Function {function}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use kipper_api_server::ApiServer;
    use kipper_function::FunctionSpec;
    use kube::runtime::{reflector, watcher::Event};

    use super::*;
    use crate::watch::{self, rows::Claims};

    const HOST: &str = "fn-app.example.com";

    fn time(minute: i64) -> Option<Timestamp> {
        Some(Timestamp::from_second(minute * 60).unwrap())
    }

    /// Hosts of which `shop/app` claimed its own in the tenth minute.
    fn claimed(server: &ApiServer, functions: Store<Function>) -> Hosts {
        let cache = Arc::new(Cache::new());
        let holder = Key::new("shop", "app");
        let claim = Claim {
            uid: "c".into(),
            holder,
            holder_uid: "u".into(),
            route: Some(Route::of(&function("shop", "u")).to_json()),
            created: time(10),
        };
        cache.claims.put(HOST.to_owned(), claim);
        Hosts {
            client: server.client(),
            cache,
            functions,
            namespace: "kipper-system".to_owned(),
            cluster_domain: "example.com".to_owned(),
            shared_parents: Vec::new(),
        }
    }

    fn function(namespace: &str, uid: &str) -> Function {
        let mut function = Function::new("app", FunctionSpec::default());
        function.metadata.namespace = Some(namespace.to_owned());
        function.metadata.uid = Some(uid.to_owned());
        function
    }

    /// The result of `asking`, whose one request, if any, deletes the claim.
    async fn deleting<T>(server: &mut ApiServer, asking: impl Future<Output = T>) -> T {
        let deleted = async {
            let asked = server.asked().await;
            assert_eq!(asked.method, "DELETE");
            asked.answer(200, r#"{"kind":"Status","apiVersion":"v1","status":"Success"}"#);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = asking => result,
            () = deleted => unreachable!(),
        }
    }

    /// Who has the host of `shop/app` beside this Ingress.
    async fn owner(created: Option<Timestamp>, is_unchanged: bool) -> Option<String> {
        let mut server = ApiServer::in_memory().await;
        let hosts = claimed(&server, reflector::store().0);
        let foreign = Foreign { hosts: vec![HOST.to_owned()], created, is_unchanged };
        hosts.cache.foreign.put(Key::new("other", "i"), foreign);
        let function = function("shop", "u");
        match deleting(&mut server, hosts.reserve(&function)).await.unwrap() {
            Reservation::Reserved(_) => None,
            Reservation::Taken { owner, .. } => Some(owner),
            Reservation::Invalid(why) => panic!("{why}"),
        }
    }

    #[tokio::test]
    async fn a_route_is_written_when_it_differs_and_only_then() {
        let mut server = ApiServer::in_memory().await;
        let hosts = claimed(&server, reflector::store().0);
        let mut function = function("shop", "u");
        // The same, so nothing is asked: the server would not answer.
        hosts.reserve(&function).await.unwrap();
        function.spec.scaling.get_or_insert_default().concurrency = Some(3);
        let answered = async {
            let asked = server.asked().await;
            assert_eq!(asked.method, "PATCH");
            let mut lease: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
            assert_eq!(lease["metadata"]["uid"], "c");
            assert!(asked.body.contains(r#"\"concurrency\":3"#), "{}", asked.body);
            lease["metadata"]["name"] = HOST.into();
            lease["metadata"]["labels"] = json!({ names::RESOURCE_TYPE: names::HOST_CLAIM });
            lease["metadata"]["annotations"][HOLDER_UID] = "u".into();
            lease["spec"] = json!({ "holderIdentity": "shop/app" });
            asked.answer(200, &lease.to_string());
        };
        let (reserved, ()) = tokio::join!(hosts.reserve(&function), answered);
        assert!(matches!(reserved.unwrap(), Reservation::Reserved(_)));
        hosts.reserve(&function).await.unwrap();
    }

    /// Whichever is first, the answer to the deletion or the watch's word of it.
    #[tokio::test]
    async fn whoever_waits_for_a_host_hears_that_it_is_free() {
        let mut server = ApiServer::in_memory().await;
        let (functions, mut writer) = reflector::store();
        let waiting = function("other", "v");
        writer.apply_watcher_event(&Event::Apply(waiting.clone()));
        let hosts = claimed(&server, functions.clone());
        deleting(&mut server, hosts.release(&Key::new("shop", "app"), "u")).await.unwrap();
        let claims = Claims { cache: Arc::clone(&hosts.cache), functions };
        let told = watch::store(&claims, HOST.to_owned(), None);
        assert_eq!(told, [ObjectRef::from_obj(&waiting)]);
        assert_eq!(hosts.cache.claims.get(&HOST.to_owned()), None);
    }

    #[tokio::test]
    async fn a_held_host_is_lost_only_to_who_had_it_before() {
        let theirs = Some("Ingress other/i".to_owned());
        assert_eq!(owner(time(9), true).await, theirs);
        // It is older, and its spec was changed since: it may have got the host after the claim.
        assert_eq!(owner(time(9), false).await, None);
        assert_eq!(owner(time(10), true).await, None);
        assert_eq!(owner(time(11), true).await, None);
        assert_eq!(owner(None, true).await, None);
    }
}
