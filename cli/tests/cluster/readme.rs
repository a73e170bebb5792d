//! The README's first minutes, word for word, from where a reader stands: the top of the repository.

use std::path::Path;

use kipper_cluster::sandbox::run_alone;

use crate::kip::Kip;

const README: &str = include_str!("../../../README.md");
const HEADING: &str = "### Five minutes with a real cluster";
/// What the test's own cluster has done already.
const DONE: [&str; 2] = ["make cluster-up", "eval \"$(deploy/local-cluster/cluster env)\""];

/// The lines of the heading's first code block.
fn block() -> Vec<&'static str> {
    let section = README.split_once(HEADING).unwrap().1;
    let block = section.split("```").nth(1).unwrap();
    block.lines().filter(|line| !line.is_empty()).collect()
}

/// A host is a name in the whole cluster, and this is the README's: nobody else may be at it.
#[tokio::test]
async fn the_first_five_minutes_are_as_the_readme_says() {
    run_alone("readme", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[]).await;
        let lines = block();
        assert_eq!(lines[..2], DONE);
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().display();
        let mut told = Vec::new();
        for line in &lines[2..] {
            told.push(kip.typed(&format!("cd {top} && {line}")).await);
        }
        let [created, answered, logs, deleted] = told.try_into().unwrap();
        assert!(created.contains("url       https://fn-hello-127-0-0-1.kipper.run\n"), "{created}");
        assert!(created.contains("awake     200 after "), "{created}");
        assert!(answered.contains("\"message\":\"Hello, you!\""), "{answered}");
        assert!(!logs.is_empty());
        assert_eq!(deleted, "function hello deleted\n");
    })
    .await;
}
