//! An HTTP/2 client on any stream, as low as the tests need it.

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{self, ResponseFuture, SendRequest},
};
use http::{HeaderMap, Method, Request};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
};

use crate::support::within;

/// A connection; it ends with the test.
pub(crate) struct Client {
    pub(crate) send: SendRequest<Bytes>,
    driving: JoinHandle<()>,
}

/// A whole response.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// A request without its method and target.
pub(crate) fn request(method: Method, host: &str, target: &str) -> Request<()> {
    let uri = format!("http://{host}{target}");
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

impl Client {
    /// With prior knowledge.
    pub(crate) async fn connect(address: std::net::SocketAddr) -> Self {
        Self::handshake(TcpStream::connect(address).await.unwrap()).await
    }

    pub(crate) async fn handshake<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shaking = within("the HTTP/2 handshake", client::handshake(stream));
        let (send, connection) = shaking.await.unwrap();
        let driving = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { send, driving }
    }

    /// Sends a head; `end` = no body follows.
    pub(crate) async fn start(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let sender = within("a stream is free", self.send.clone().ready());
        sender.await.unwrap().send_request(request, end).unwrap()
    }

    pub(crate) async fn get(&mut self, host: &str, target: &str) -> Answer {
        let (response, _) = self.start(request(Method::GET, host, target), true).await;
        answer(response).await.unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

/// Reads a response to its end.
pub(crate) async fn answer(response: ResponseFuture) -> Result<Answer, h2::Error> {
    let (parts, mut stream) = within("a response head", response).await?.into_parts();
    let body = read(&mut stream).await?;
    let trailers = within("trailers", stream.trailers()).await?;
    Ok(Answer { status: parts.status.as_u16(), fields: parts.headers, body, trailers })
}

/// Reads a body to its end, as fast as it comes.
pub(crate) async fn read(stream: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = within("a part of the body", stream.data()).await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(body)
}

/// Sends data as the window allows it, until the other side ends the stream: an answer may come
/// before the whole body was sent.
pub(crate) async fn write(stream: &mut SendStream<Bytes>, mut data: Bytes, end: bool) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let granted = std::future::poll_fn(|cx| stream.poll_capacity(cx));
        let Some(Ok(granted)) = within("the window opens", granted).await else { return };
        let part = data.split_to(granted.min(data.len()));
        let last = end && data.is_empty();
        if stream.send_data(part, last).is_err() {
            return;
        }
    }
}
