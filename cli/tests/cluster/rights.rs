//! Users who may not do everything.

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
    rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
};
use kipper_cluster::{
    names::SERVER_IMAGE,
    sandbox::{Sandbox, run},
};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
    config::Kubeconfig,
};

use crate::kip::Kip;

const READER: &str = "reader";

/// An account that may look at functions and nothing else; a kubeconfig for it.
pub(crate) async fn reader(sandbox: &Sandbox) -> String {
    let metadata = || ObjectMeta { name: Some(READER.to_owned()), ..ObjectMeta::default() };
    let params = PostParams::default();
    let accounts: Api<ServiceAccount> = Api::namespaced(sandbox.client.clone(), &sandbox.namespace);
    let account = ServiceAccount { metadata: metadata(), ..ServiceAccount::default() };
    accounts.create(&params, &account).await.unwrap();
    let rule = PolicyRule {
        api_groups: Some(vec!["kipper.run".to_owned()]),
        resources: Some(vec!["functions".to_owned()]),
        verbs: ["get", "list", "watch"].map(str::to_owned).to_vec(),
        ..PolicyRule::default()
    };
    let roles: Api<Role> = Api::namespaced(sandbox.client.clone(), &sandbox.namespace);
    let role = Role { metadata: metadata(), rules: Some(vec![rule]) };
    roles.create(&params, &role).await.unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(sandbox.client.clone(), &sandbox.namespace);
    let binding = RoleBinding {
        metadata: metadata(),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: READER.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: READER.to_owned(),
            namespace: Some(sandbox.namespace.clone()),
            ..Subject::default()
        }]),
    };
    bindings.create(&params, &binding).await.unwrap();
    let spec = TokenRequestSpec { audiences: Vec::new(), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let token = accounts.create_subresource("token", READER, &params, &request).await;
    let token: TokenRequest = token.unwrap();
    kubeconfig(&token.status.unwrap().token)
}

/// The test's own kubeconfig, for whoever has this token.
fn kubeconfig(token: &str) -> String {
    let own = Kubeconfig::read().unwrap();
    let cluster = own.clusters[0].cluster.clone().unwrap();
    let authority = match (&cluster.certificate_authority_data, &cluster.certificate_authority) {
        (Some(data), _) => format!("certificate-authority-data: {data}"),
        (None, Some(path)) => format!("certificate-authority: {path}"),
        (None, None) => "insecure-skip-tls-verify: true".to_owned(),
    };
    format!(
        "apiVersion: v1
kind: Config
current-context: reader
clusters:
- name: here
  cluster:
    server: {}
    {authority}
users:
- name: reader
  user: {{ token: '{token}' }}
contexts:
- name: reader
  context: {{ cluster: here, user: reader }}
",
        cluster.server.unwrap()
    )
}

#[tokio::test]
async fn who_may_only_look_is_told_what_is_missing() {
    run("rights", |sandbox| async move {
        let admin = Kip::new(&sandbox, &[]).await;
        let name = sandbox.name("rights");
        let name = name.as_str();
        admin.ok(&["function", "create", name, "--image", SERVER_IMAGE]).await;
        let kip = Kip::new(&sandbox, &[]).await.with_kubeconfig(&reader(&sandbox).await);

        let list = kip.ok(&["function", "list", "-o", "name"]).await;
        assert_eq!(list, format!("function.kipper.run/{name}\n"));
        kip.ok(&["function", "secret", "list", name]).await;
        let described = kip.ok(&["function", "describe", name]).await;
        assert!(described.contains("Ready="), "{described}");

        let forbidden = [
            (&["env", "set", name, "A=1"][..], "cannot patch resource \"functions\""),
            (&["delete", name], "cannot delete resource \"functions\""),
            (&["create", "other", "--image", SERVER_IMAGE], "cannot patch resource \"functions\""),
            (&["logs", name], "cannot list resource \"pods\""),
            (&["list", "-A"], "cannot list resource \"functions\""),
        ];
        for (arguments, expected) in forbidden {
            let stderr = kip.fails(1, &[&["function"], arguments].concat()).await;
            assert!(stderr.contains("error: not allowed: "), "{arguments:?}: {stderr}");
            assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
            assert!(stderr.contains("hint: ask an administrator"), "{arguments:?}: {stderr}");
        }
        let set = ["function", "secret", "set", name, "TOKEN"];
        let end = kip.with_stdin(&set, "hunter2").await;
        assert_eq!(end.code, 1, "{end:?}");
        assert!(end.stderr.contains("cannot get resource \"secrets\""), "{end:?}");
        assert!(!end.stderr.contains("hunter2"), "{end:?}");

        let expired = Kip::new(&sandbox, &[]).await.with_kubeconfig(&kubeconfig("not-a-token"));
        let stderr = expired.fails(1, &["function", "list"]).await;
        assert!(stderr.contains("does not accept these credentials"), "{stderr}");
    })
    .await;
}
