//! Functions from YAML, edited while they run.

use crate::support::{Kip, folder, save, until};

fn function(name: &str, answer: &str, extra: &str) -> String {
    format!(
        "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: {{name: {name}}}\nspec:\n  \
         source: {{code: 'module.exports = async () => \"{answer}\"'}}\n{extra}---\n"
    )
}

#[test]
fn an_edit_changes_adds_and_removes_functions() {
    let both = function("a", "a1", "") + &function("b", "b1", "");
    let folder = folder(&[("f.yaml", &both)]);
    let path = folder.path().join("f.yaml");
    let kip = Kip::start(&path, &[]);
    assert_eq!(kip.get("fn-a-localhost", "/").1, "a1");
    assert_eq!(kip.get("fn-b-localhost", "/").1, "b1");

    save(&path, "kind: [\n");
    let line = kip.wait_for("; keeping the running version");
    assert!(line.contains("not valid YAML"), "{line}");
    assert_eq!(kip.get("fn-a-localhost", "/").1, "a1");

    let changed = function("a", "a2", "  noSecurityHeaders: true\n") + &function("c", "c1", "");
    save(&path, &changed);
    until("the new code answers", || kip.get("fn-a-localhost", "/") == (200, "a2".to_owned()));
    until("c is there", || kip.get("fn-c-localhost", "/") == (200, "c1".to_owned()));
    assert_eq!(kip.get("fn-b-localhost", "/").0, 404);
    until("b's process is gone", || kip.children().len() == 2);
}

#[test]
fn a_handler_may_have_a_name_of_its_own() {
    let text = function("named", "ok", "").replace(
        "source: {code: 'module.exports = async () => \"ok\"'}",
        "source: {code: 'exports.greet = async () => \"greeted\"', handler: greet}",
    );
    let folder = folder(&[("f.yaml", &text)]);
    let kip = Kip::start(folder.path(), &[]);
    assert_eq!(kip.get("fn-named-localhost", "/"), (200, "greeted".to_owned()));
}

#[test]
fn replicas_that_are_kept_while_idle_run_from_the_start() {
    let text = function("warm", "ok", "  scaling: {minReplicas: 1}\n");
    let folder = folder(&[("f.yaml", &text)]);
    let kip = Kip::start(folder.path(), &["--idle-timeout", "1s"]);
    kip.wait_for("started in ");
    assert_eq!(kip.get("fn-warm-localhost", "/"), (200, "ok".to_owned()));
}
