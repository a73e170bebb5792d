//! Routes from the claims of hosts, and from Functions while a controller of the release before is at work.

use kipper_function::route::Route;

use super::*;

const CLAIMS: &str = "/apis/coordination.k8s.io/v1/namespaces/kipper-system/leases";

/// The claim of a host, with a route or as the release before made it.
fn claim(host: &str, holder: &str, route: Option<&str>) -> Value {
    let host = format!("{host}-46-225-91-12.kipper.run");
    json!({
        "metadata": { "name": host, "namespace": "kipper-system", "resourceVersion": "3001",
            "labels": { "kipper.run/resource-type": "host-claim" },
            "annotations": route.map(|route| json!({ "kipper.run/route": route })) },
        "spec": { "holderIdentity": holder },
    })
}

fn claims(items: &[Value]) -> String {
    let version = json!({ "resourceVersion": "3000" });
    json!({ "kind": "LeaseList", "apiVersion": "coordination.k8s.io/v1", "metadata": version, "items": items })
        .to_string()
}

fn changed(kind: &str, mut claim: Value) -> String {
    (claim["kind"], claim["apiVersion"]) = ("Lease".into(), "coordination.k8s.io/v1".into());
    json!({ "type": kind, "object": claim }).to_string()
}

/// A route as the controller writes it.
fn written(concurrency: u32) -> String {
    let spec = json!({ "image": "i", "scaling": { "concurrency": concurrency } });
    Route::new(&serde_json::from_value(spec).unwrap(), false).to_json()
}

/// No Function is ever asked for, whatever is in it: a request for one would be taken for the next of the
/// claims.
#[tokio::test]
async fn claims_become_routes() {
    let mut running = Running::claims(None).await;
    let route = written(0);
    let list = running.api.list(CLAIMS).await;
    assert_eq!(list.value("labelSelector"), Some("kipper.run%2Fresource-type%3Dhost-claim"));
    let hello = claim("fn-hello", "shop-dev/hello", Some(&route));
    // A host that the rule gives to another function is nobody's.
    let other = claim("fn-bank", "shop-dev/other", Some(&route));
    list.answer(200, &claims(&[hello.clone(), other]));
    let routed = "shop-dev/hello at fn-hello-46-225-91-12.kipper.run tcp x0";
    assert_eq!(running.call().await, Call::Routes(vec![routed.into()]));

    let watch = running.api.watch(CLAIMS, "3000").await;
    watch.event(&changed("MODIFIED", hello)).await;
    let limited = claim("fn-hello", "shop-dev/hello", Some(&written(4)));
    watch.event(&changed("MODIFIED", limited.clone())).await;
    let routed = "shop-dev/hello at fn-hello-46-225-91-12.kipper.run tcp x4";
    assert_eq!(running.call().await, Call::Apply(routed.into()));
    // Given up, and claimed by a function of the same name elsewhere.
    watch.event(&changed("DELETED", limited)).await;
    assert_eq!(running.call().await, Call::Remove("shop-dev/hello".into()));
    let next = claim("fn-hello", "shop-prod/hello", Some(&route));
    watch.event(&changed("ADDED", next)).await;
    let routed = "shop-prod/hello at fn-hello-46-225-91-12.kipper.run tcp x0";
    assert_eq!(running.call().await, Call::Apply(routed.into()));
    running.finish();
}

#[tokio::test]
async fn claims_of_the_release_before_leave_it_to_the_functions() {
    let mut running = Running::claims(None).await;
    let route = written(0);
    let with = claim("fn-other", "shop-dev/other", Some(&route));
    let without = claim("fn-hello", "shop-dev/hello", None);
    running.api.list(CLAIMS).await.answer(200, &claims(&[with, without]));
    running.api.list(FUNCTIONS).await.answer(200, include_str!("../recorded/functions.json"));
    let hello = "shop-dev/hello at fn-hello-46-225-91-12.kipper.run tcp x0";
    assert_eq!(running.call().await, Call::Routes(vec![hello.into()]));
    running.finish();
}

/// Claims of another namespace, and of a host that the rule no longer gives, never get a route that this
/// process would see: they are no reason to read Functions.
#[tokio::test]
async fn claims_that_are_not_routed_here_need_no_route() {
    let mut running = Running::claims(Some("shop-dev")).await;
    let route = written(0);
    let own = claim("fn-hello", "shop-dev/hello", Some(&route));
    let elsewhere = claim("fn-other", "shop-prod/other", None);
    let mut former = claim("fn-hello", "shop-dev/hello", None);
    former["metadata"]["name"] = "fn-hello.former.example.com".into();
    running.api.list(CLAIMS).await.answer(200, &claims(&[own, elsewhere.clone(), former.clone()]));
    let routed = "shop-dev/hello at fn-hello-46-225-91-12.kipper.run tcp x0";
    assert_eq!(running.call().await, Call::Routes(vec![routed.into()]));

    let watch = running.api.watch(CLAIMS, "3000").await;
    watch.event(&changed("MODIFIED", elsewhere)).await;
    watch.event(&changed("MODIFIED", former)).await;
    let limited = claim("fn-hello", "shop-dev/hello", Some(&written(4)));
    watch.event(&changed("MODIFIED", limited)).await;
    let routed = "shop-dev/hello at fn-hello-46-225-91-12.kipper.run tcp x4";
    assert_eq!(running.call().await, Call::Apply(routed.into()));
    running.finish();
}
