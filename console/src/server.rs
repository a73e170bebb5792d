//! From a socket to an answer: host and origin are checked first, for the page as for the API.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use kipper_process::port::HttpPort;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::{
    access::Access,
    api, assets, login,
    origin::{Hosts, PublicUrl},
};

/// Connections at once: six for each of some dozens of tabs.
const MAX_CONNECTIONS: usize = 256;

/// The console.
pub struct Console {
    access: Access,
    public_url: Option<PublicUrl>,
}

/// The console, its port bound.
pub struct BoundConsole {
    listener: TcpListener,
    address: SocketAddr,
    routes: Router,
}

impl Console {
    /// One that lets users in by `access`.
    pub fn new(access: Access) -> Self {
        Self { access, public_url: None }
    }

    /// Reached under this URL alone, instead of the names of this machine.
    #[must_use]
    pub fn under(self, public_url: PublicUrl) -> Self {
        Self { public_url: Some(public_url), ..self }
    }

    /// Is the page in this build, or only a line that says how to get it?
    pub fn has_page() -> bool {
        assets::are_built()
    }

    /// Binds its port.
    ///
    /// # Errors
    /// When that cannot be had.
    pub async fn bind(self, address: SocketAddr) -> std::io::Result<BoundConsole> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let hosts = match &self.public_url {
            Some(url) => Hosts::public(url),
            None => Hosts::local(address),
        };
        let hosts = Arc::new(hosts);
        let routes = Router::new()
            .nest("/api/v1", api::routes(self.access.clone()))
            .merge(login::routes(self.access))
            .fallback(page)
            .layer(middleware::from_fn_with_state(hosts, guard));
        Ok(BoundConsole { listener, address, routes })
    }
}

impl BoundConsole {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is told to stop.
    pub async fn serve(self, shutdown: CancellationToken) {
        let port = HttpPort {
            name: "console",
            max_connections: MAX_CONNECTIONS,
            keep_alive: true,
            lifetime: None,
        };
        let routes = self.routes;
        let answer = move |request: http::Request<hyper::body::Incoming>| {
            let routes = routes.clone();
            async move {
                let answered = routes.oneshot(request.map(Body::new)).await;
                answered.unwrap_or_else(|never: Infallible| match never {})
            }
        };
        port.serve(self.listener, answer, shutdown).await;
    }
}

async fn guard(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    let checked = hosts.check(request.method(), request.uri().path(), request.headers());
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    assets::secure(response.headers_mut());
    response
}

async fn page(request: Request) -> Response {
    assets::answer(request.uri().path(), request.headers())
}
