//! What stands between the SDK and a service it does not know: whole answers of a bounded size, and
//! no clock that the SDK cannot reckon with.
//!
//! An answer is read to its end here, so that the one timeout of an attempt covers its head and its
//! body alike: a service that sends a head and then nothing is given up like one that is silent. The
//! SDK corrects its own clock by the `Date` of answers, and adding to one at the end of time makes its
//! signing panic; such an answer is an error before the SDK sees it.

use std::{error::Error, time::Instant};

use aws_sdk_s3::{config::SharedHttpClient, primitives::ByteStream};
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use bytes::{Bytes, BytesMut};

use crate::{
    budget::{Account, Budget, OverBudget},
    clock::{AbsurdDate, ServerClock},
};

/// Why an answer is not taken, whoever sends it again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error(transparent)]
    Budget(#[from] OverBudget),
    #[error(transparent)]
    Date(#[from] AbsurdDate),
}

impl Refusal {
    /// The refusal among the causes of an error.
    pub(crate) fn of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(refusal) = error.downcast_ref() {
                return Some(refusal);
            }
            cause = error.source();
        }
        None
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    pub(crate) client: SharedHttpClient,
    pub(crate) clock: ServerClock,
    /// Answers are held under it until they are read into what they mean.
    pub(crate) budget: Budget,
    /// An answer has so many bytes at most.
    pub(crate) max_answer: usize,
}

impl HttpClient for Transport {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = self.client.http_connector(settings, components);
        SharedHttpConnector::new(Connector { connector, transport: self.clone() })
    }
}

#[derive(Debug)]
struct Connector {
    connector: SharedHttpConnector,
    transport: Transport,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (asked, calling) = (Instant::now(), self.connector.call(request));
        let transport = self.transport.clone();
        HttpConnectorFuture::new(async move { transport.take(asked, calling.await?).await })
    }
}

/// Held as long as the answer it was made for.
#[derive(Clone, Debug)]
struct Holding(
    #[expect(dead_code, reason = "dropping it is what it is for")] std::sync::Arc<Account>,
);

impl Transport {
    async fn take(
        &self,
        asked: Instant,
        mut answer: HttpResponse,
    ) -> Result<HttpResponse, ConnectorError> {
        if let Some(date) = answer.headers().get("date") {
            self.clock.read(date, asked).map_err(|date| refused(date.into()))?;
        }
        let mut account = self.budget.account();
        let mut body = ByteStream::new(answer.take_body());
        let mut whole = BytesMut::new();
        while let Some(part) = body.next().await {
            let part: Bytes = part.map_err(|error| ConnectorError::io(error.into()))?;
            if whole.len() + part.len() > self.max_answer {
                return Err(refused(Refusal::TooLong(self.max_answer)));
            }
            account.add(part.len()).map_err(|error| refused(error.into()))?;
            whole.extend_from_slice(&part);
        }
        *answer.body_mut() = SdkBody::from(whole.freeze());
        answer.add_extension(Holding(std::sync::Arc::new(account)));
        Ok(answer)
    }
}

/// An error that is not worth another try.
fn refused(refusal: Refusal) -> ConnectorError {
    ConnectorError::other(refusal.into(), None)
}
