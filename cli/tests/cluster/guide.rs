//! The guide, word for word, at a shell: every block in its order, in one folder.

use std::process::Stdio;

use kipper_cluster::{
    bridge::on_bridge,
    sandbox::{client, delete_namespace, run},
    wait::until,
};
use kipper_servers::{
    ADMIN, ADMIN_PASSWORD,
    postgres::{Options, Postgres},
};
use tokio::{net::TcpStream, process::Child, task::spawn_blocking};

use crate::kip::{Kip, ended};

const GUIDE: &str = include_str!("../../docs/guide.md");
/// The port of `kip dev`, which may be in use here.
const PORT: &str = "8090";
/// The namespace of the second environment.
const PROD: &str = "guide-prod";

/// What the guide says of each block: its word after `sh`, and the lines.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let fenced = GUIDE.split("```").skip(1).step_by(2);
    let blocks = fenced.filter_map(|block| {
        let (first, lines) = block.split_once('\n')?;
        Some((first.strip_prefix("sh")?.trim(), lines))
    });
    blocks.collect()
}

async fn free_port() -> u16 {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    listener.local_addr().unwrap().port()
}

/// A host is a name in the whole cluster; no other test is at these.
#[tokio::test]
async fn every_command_of_the_guide_works_as_it_stands() {
    run("guide", |sandbox| async move {
        let kip = Kip::new(&sandbox, &[("db-password", ADMIN_PASSWORD)]).await;
        let server = spawn_blocking(|| Postgres::start(Options::default()).unwrap()).await.unwrap();
        let address = on_bridge(server.port()).await;
        let variables = format!(
            "export DB_HOST={} DB_PORT={} DB_USER={}\n",
            address.ip(),
            address.port(),
            ADMIN
        );
        let port = free_port().await;
        let mut dev: Option<Child> = None;
        let done = async {
            let mut said = Vec::new();
            for (kind, lines) in blocks() {
                let lines = lines.replace(PORT, &port.to_string());
                if lines.starts_with("kip dev") {
                    let mut command = kip.shell(&format!("exec {lines}"));
                    dev =
                        Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
                    until("kip dev", || async {
                        let connected = TcpStream::connect(("127.0.0.1", port)).await;
                        connected.map(drop).map_err(|error| error.to_string())
                    })
                    .await;
                    continue;
                }
                let script = format!("set -e\n{variables}{lines}");
                let end = match kind {
                    "eventually" => {
                        until(&lines, || async {
                            let end = ended(kip.shell(&script)).await;
                            if end.code == 0 { Ok(end) } else { Err(format!("{end:?}")) }
                        })
                        .await
                    }
                    _ => ended(kip.shell(&script)).await,
                };
                assert_eq!(end.code == 0, kind != "fails", "{lines}{end:?}");
                said.push(format!("{}{}", end.stdout, end.stderr));
            }
            said
        };
        let said = done.await;
        if let Some(mut dev) = dev {
            dev.kill().await.unwrap();
        }
        delete_namespace(&client().await, PROD).await;
        let count = |words: &str| said.iter().filter(|text| text.contains(words)).count();
        // Here, and in the cluster before and after there is a currency.
        assert_eq!((count("21 EUR"), count("21 CHF")), (2, 2), "{said:#?}");
        assert_eq!(count("relation \"outbox\" does not exist"), 1, "{said:#?}");
        assert_eq!(count("SyntaxError"), 1, "{said:#?}");
    })
    .await;
}
