//! Reports to the scaler-adapters how many events wait, while this pod cannot keep up with them: the
//! adapter has the function scaled at once, where KEDA and the HPA look only every few seconds.
//!
//! Costs nothing while a claim brings less than was asked for. Whatever goes wrong here is said once and
//! delays nothing but the scaling.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header::AUTHORIZATION};
use kipper_process::post::post;
use kipper_trigger::{Count, Variable, backlog_path, shard::MAX_ADAPTERS};
use tokio::{
    net::lookup_host,
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use crate::{backlog::Backlog, config::Config, error::Error};

/// Between two counts at first: less than an adapter waits before it believes that events stay.
const SOON: Duration = Duration::from_millis(400);
/// Counts made so soon; what goes on longer is the HPA's as well.
const SOON_COUNTS: u32 = 8;
/// Between two counts from then on: less than a report counts for.
const LATER: Duration = Duration::from_secs(5);
/// Counting takes a twentieth of the time at most, however slow the query is.
const REST: u32 = 20;
/// Counts end here; the rest is the HPA's.
const MAX_COUNT: u64 = 10_000;
/// For one count, the connection included.
const COUNT_TIMEOUT: Duration = Duration::from_secs(5);
/// For one report.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// After this the connection for counting is given back.
const IDLE: Duration = Duration::from_secs(60);
/// Adapters told at a time.
const MAX_REPORTS: usize = 16;

/// Counts and reports.
pub(crate) struct Reporter<'a> {
    config: &'a Config,
    /// `host:port` of the adapters.
    address: &'a str,
    path: Uri,
    headers: HeaderMap,
    /// Events of which one pod may have claimed all, however slow it is.
    few: u64,
    /// The last report was not taken, which was said.
    is_refused: bool,
}

impl<'a> Reporter<'a> {
    /// Of a trigger whose backlog somebody wants to know; `None` for others.
    pub(crate) fn new(config: &'a Config) -> Result<Option<Self>, Error> {
        let Some(address) = config.backlog_address.as_deref() else { return Ok(None) };
        let invalid = |variable: Variable| Error::Config(format!("invalid {}", variable.name()));
        let token = config.backlog_token.as_ref().ok_or_else(|| {
            let variable = Variable::BacklogToken.name();
            Error::Config(format!("--backlog-address needs --backlog-token ({variable})"))
        })?;
        let bearer = HeaderValue::from_str(&format!("Bearer {}", token.0));
        let mut bearer = bearer.map_err(|_| invalid(Variable::BacklogToken))?;
        bearer.set_sensitive(true);
        let path = backlog_path(&config.namespace, &config.function).parse();
        Ok(Some(Self {
            config,
            address,
            path: path.map_err(|_| invalid(Variable::Function))?,
            headers: HeaderMap::from_iter([(AUTHORIZATION, bearer)]),
            few: 2 * u64::try_from(config.concurrency).unwrap_or(u64::MAX / 2),
            is_refused: false,
        }))
    }

    /// Counts once `overload` is notified. Never ends by itself.
    pub(crate) async fn run(mut self, overload: Arc<Notify>) {
        let mut backlog = None;
        loop {
            if timeout(IDLE, overload.notified()).await.is_err() {
                backlog = None;
                overload.notified().await;
            }
            let mut counts = 0;
            loop {
                let began = Instant::now();
                let waiting = self.count(&mut backlog).await;
                let rest = began.elapsed() * REST;
                let Some(waiting) = waiting else {
                    backlog = None;
                    sleep(LATER.max(rest)).await;
                    break;
                };
                let is_more = waiting > self.few;
                // That it is over is said as well, where it was said that it began.
                if is_more || counts > 0 {
                    self.report(waiting).await;
                }
                counts += 1;
                sleep(if counts < SOON_COUNTS { SOON } else { LATER }.max(rest)).await;
                if !is_more {
                    break;
                }
            }
        }
    }

    async fn count(&self, known: &mut Option<Backlog>) -> Option<u64> {
        let counting = async {
            let backlog = match known {
                Some(backlog) => backlog,
                none => none.insert(Backlog::new(self.config, MAX_COUNT)?),
            };
            Ok::<_, Error>(backlog.count().await?)
        };
        match timeout(COUNT_TIMEOUT, counting).await {
            Ok(Ok(waiting)) => Some(waiting),
            Ok(Err(error)) => {
                tracing::debug!("waiting events are not counted: {error}");
                None
            }
            Err(_) => {
                tracing::debug!("waiting events are not counted within {COUNT_TIMEOUT:?}");
                None
            }
        }
    }

    /// Tells every adapter; only one of them scales this function, and which is not known here.
    async fn report(&mut self, waiting: u64) {
        let refusal = self.tell_all(waiting).await.err();
        if let Some(why) = refusal.as_ref().filter(|_| !self.is_refused) {
            let address = self.address;
            tracing::warn!(
                "the backlog cannot be reported to {address}, the HPA alone scales: {why}"
            );
        }
        self.is_refused = refusal.is_some();
    }

    async fn tell_all(&self, waiting: u64) -> Result<(), String> {
        // A number always makes JSON.
        let body = Bytes::from(serde_json::to_vec(&Count::Waiting(waiting)).unwrap_or_default());
        let found = timeout(REPORT_TIMEOUT, lookup_host(self.address)).await;
        let found = found.map_err(|_| "no answer of the name server".to_owned())?;
        let adapters: BTreeSet<SocketAddr> = found.map_err(|error| error.to_string())?.collect();
        tell(adapters, &self.path, &self.headers, &body).await
    }
}

/// Tells all of them, even if some do not take it; then the error is one of theirs.
async fn tell(
    adapters: BTreeSet<SocketAddr>,
    path: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(), String> {
    let reports = adapters.into_iter().take(MAX_ADAPTERS).map(|addr| {
        let (path, headers, body) = (path.clone(), headers.clone(), body.clone());
        async move {
            match timeout(REPORT_TIMEOUT, post(addr, path, headers, body)).await {
                Ok(Ok(StatusCode::NO_CONTENT)) => Ok(()),
                Ok(Ok(status)) => Err(format!("{addr} answered {status}")),
                Ok(Err(error)) => Err(format!("{addr}: {:#}", anyhow::Error::new(error))),
                Err(_) => Err(format!("{addr}: no answer")),
            }
        }
    });
    let reports: Vec<_> = reports.collect();
    let told: Vec<_> = stream::iter(reports).buffer_unordered(MAX_REPORTS).collect().await;
    told.into_iter().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::body::Incoming;
    use kipper_process::port::HttpPort;
    use tokio::{net::TcpListener, sync::mpsc};
    use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

    use super::*;

    /// The adapters of all shards, of which one alone scales the function.
    #[tokio::test]
    async fn every_adapter_is_told() {
        let (tx, mut told) = mpsc::unbounded_channel();
        let mut adapters = BTreeSet::new();
        let mut servers = Vec::new();
        for number in 0..MAX_ADAPTERS {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            adapters.insert(listener.local_addr().unwrap());
            let tx = tx.clone();
            let answer = move |_: Request<Incoming>| {
                tx.send(number).unwrap();
                let mut response = Response::new(Full::<Bytes>::default());
                *response.status_mut() = StatusCode::NO_CONTENT;
                std::future::ready(response)
            };
            let port =
                HttpPort { name: "adapter", max_connections: 1, keep_alive: false, lifetime: None };
            let server = port.serve(listener, answer, CancellationToken::new());
            servers.push(AbortOnDropHandle::new(tokio::spawn(server)));
        }
        let (path, headers) = (Uri::from_static("/backlog/shop-prod/orders"), HeaderMap::new());
        tell(adapters, &path, &headers, &Bytes::from_static(b"{}")).await.unwrap();
        let mut numbers = BTreeSet::new();
        while let Ok(number) = told.try_recv() {
            numbers.insert(number);
        }
        assert_eq!(numbers.len(), MAX_ADAPTERS);
    }
}
