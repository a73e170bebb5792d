//! A second S3, in this process, which has no notifications: lists do everything.

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use kipper_bucket::Endpoint;
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::{net::TcpListener, task::JoinSet};

use crate::world::{Handler, Watcher, World, keys};

/// Serves a directory until the set is dropped.
async fn serve(directory: &std::path::Path, tasks: &mut JoinSet<()>) -> Endpoint {
    let mut service = S3ServiceBuilder::new(FileSystem::new(directory).unwrap());
    service.set_auth(SimpleAuth::from_single("access", "secret"));
    let service = service.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service.clone();
            connections.spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // Clients leave when their tests end.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    let (access_key, secret_key) = ("access".to_owned(), "secret".to_owned());
    Endpoint { url, access_key, secret_key, authority: None }
}

#[tokio::test]
async fn any_s3_is_watched_by_lists_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut tasks = JoinSet::new();
    let world = World::at(serve(directory.path(), &mut tasks).await).await;
    world.upload_all(&keys(50)).await;
    // There is a port, but nobody to tell it anything.
    let config = world.listening(([127, 0, 0, 1], 0).into());
    let watcher = Watcher::start(&config, &[world.trigger()]).await;
    watcher.watches().await;
    let mut handler = Handler::new(&world);
    world.upload("new one.jpg").await;
    world.remove("3.jpg").await;
    handler.handle_until(2).await;
    watcher.kill_between_batches().await;
    world.upload("meanwhile.jpg").await;
    let watcher = Watcher::start(&config, &[world.trigger()]).await;
    handler.handle_until(3).await;
    watcher.list_again().await;
    handler.handle().await;
    assert_eq!(handler.deliveries(), 3);
    let mut found: Vec<_> = handler.events().iter().map(|event| event.key.clone()).collect();
    found.sort();
    assert_eq!(found, ["3.jpg", "meanwhile.jpg", "new one.jpg"]);
}
