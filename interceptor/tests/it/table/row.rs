//! What a row is made of: data that says what a client does, what the pods do, and how it ends.

use kipper_interceptor::{
    config::ProxyConfig,
    source::{Protocol as PodProtocol, RouteSpec},
};

use super::{
    pod::{Pod, Stream},
    shape::{Pairs, Shape, pairs},
    transport::Protocol,
};

/// What a row changes before its data plane starts.
pub(super) struct Settings {
    pub(super) config: ProxyConfig,
    /// The function `f`, which answers at `f.test`.
    pub(super) spec: RouteSpec,
    /// SETTINGS_INITIAL_WINDOW_SIZE of an HTTP/2 client.
    pub(super) window: Option<u32>,
}

/// What is different about a row.
type Change = fn(Row) -> Row;

/// One case; see the module `table`.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) settings: Vec<fn(&mut Settings)>,
    pub(super) pods: Vec<Pod>,
    pub(super) acts: Vec<Act>,
    pub(super) end: End,
    /// What this protocol cannot do, and why.
    pub(super) unless: Option<(Protocol, &'static str)>,
    differs: Vec<(Protocol, Change)>,
}

/// What is true once the last act is done and the clients are gone. That nothing is held, in
/// flight or connected any more is true after every row.
#[derive(Clone, Default)]
pub(super) struct End {
    /// Requests that the function was counted for.
    pub(super) accepted: u64,
    /// `errors_total` by reason; there are no others.
    pub(super) errors: Vec<(&'static str, u32)>,
    pub(super) replays: u32,
    /// Rules that answers of the pods broke, as they were counted.
    pub(super) rules: Vec<&'static str>,
    /// Requests that reached a pod, of which each may be looked at.
    pub(super) arrived: Option<usize>,
    pub(super) got: Vec<(usize, Shape)>,
    /// Connections that pods accepted.
    pub(super) connections: Option<usize>,
}

impl Row {
    /// A row with one pod that answers every request with its target; one request is accepted, and
    /// no error is counted.
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            settings: Vec::new(),
            pods: vec![Pod::serving()],
            acts: Vec::new(),
            end: End { accepted: 1, ..End::default() },
            unless: None,
            differs: Vec::new(),
        }
    }

    pub(super) fn set(mut self, change: fn(&mut Settings)) -> Self {
        self.settings.push(change);
        self
    }

    pub(super) fn pods(mut self, pods: impl Into<Vec<Pod>>) -> Self {
        self.pods = pods.into();
        self
    }

    /// The pod speaks HTTP/2, whatever the client speaks.
    pub(super) fn h2_pod(self, streams: impl Into<Vec<Stream>>) -> Self {
        let row = self.set(|s| s.spec.protocol = PodProtocol::H2c);
        row.pods([Pod::http2(streams)])
    }

    pub(super) fn client(mut self, acts: impl Into<Vec<Act>>) -> Self {
        self.acts = acts.into();
        self
    }

    pub(super) fn accepted(mut self, n: u64) -> Self {
        self.end.accepted = n;
        self
    }

    pub(super) fn errors(mut self, errors: &[(&'static str, u32)]) -> Self {
        self.end.errors = errors.to_vec();
        self
    }

    /// Answers that were not passed on, by the rule that each broke.
    pub(super) fn refused_answers(mut self, rules: &[&'static str]) -> Self {
        self.end.rules = rules.to_vec();
        self
    }

    pub(super) fn replays(mut self, n: u32) -> Self {
        self.end.replays = n;
        self
    }

    pub(super) fn arrived(mut self, n: usize) -> Self {
        self.end.arrived = Some(n);
        self
    }

    /// The `n`th request that a pod saw.
    pub(super) fn got(mut self, n: usize, shape: Shape) -> Self {
        self.end.got.push((n, shape));
        self
    }

    pub(super) fn connections(mut self, n: usize) -> Self {
        self.end.connections = Some(n);
        self
    }

    pub(super) fn unless(mut self, protocol: Protocol, why: &'static str) -> Self {
        self.unless = Some((protocol, why));
        self
    }

    /// What is different over this protocol.
    pub(super) fn over(mut self, protocol: Protocol, differently: Change) -> Self {
        self.differs.push((protocol, differently));
        self
    }

    /// The row as it is over `protocol`.
    pub(super) fn as_over(&self, protocol: Protocol) -> Self {
        let differently = self.differs.iter().filter(|(p, _)| *p == protocol);
        differently.fold(self.clone(), |row, (_, change)| change(row))
    }
}

/// More than the buffers on the way take of a body that nobody reads.
pub(super) const ENOUGH: usize = 50_000_000;

/// Bytes that a client reads one at a time until it has to be cut.
pub(super) const SIPS: usize = 1_000;

/// One step of a row.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// What follows is done by this client. Over HTTP/1.1 each client has a connection, over
    /// HTTP/2 a stream of one connection.
    As(usize),
    /// Clients 0 up to this number do this.
    Each(usize, Vec<Act>),
    Do(Do),
    /// Waits until this many requests are held.
    Held(usize),
    /// Waits until this many are in flight.
    Running(u32),
    /// Waits until this many reached a pod.
    Arrived(usize),
    /// Waits until this many connections (of an HTTP/2 pod: streams) have ended at the pods.
    PodsLeft(usize),
    /// Waits until a pod has been stopped by what its client does not read.
    Stalled,
    /// Waits until nothing is held or in flight.
    Idle,
    /// Lets the pods that wait go on.
    Open,
    /// Pods that were not announced are announced.
    Place,
    /// Pods that refused connections begin to listen.
    Listen,
    /// The function is removed.
    Remove,
}

/// What a client does.
#[derive(Clone, Debug)]
pub(super) enum Do {
    /// Sends a head, with its body if it has a whole one.
    Send(Request),
    Data(Vec<u8>),
    End,
    /// Ends the body with trailers.
    Trailers(Pairs),
    /// Sends body bytes until no more of them are taken, long before `ENOUGH`.
    Fill,
    /// Sends a byte now and then until there is an answer.
    Trickle,
    /// Sends the body up to this many bytes, or less if there is an answer.
    Upload(usize),
    /// Connects and sends no more than this.
    Half(&'static str),
    /// The next thing is an interim response.
    Interim(Shape),
    /// Skips interim responses.
    Interims,
    Answer(Shape),
    /// The head of an answer.
    Head(Shape),
    /// The next bytes of its body.
    Part(Vec<u8>),
    /// The rest of the answer.
    Rest(Shape),
    /// The answer breaks off.
    Cut,
    /// Reads a byte now and then, and the answer breaks off.
    Sip,
    /// The connection ends.
    Closed,
    Leave(Leave),
}

/// How a client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Only its request: RST_STREAM.
    Stream,
    Fin,
    Reset,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) host: String,
    pub(super) fields: Pairs,
    pub(super) body: Body,
}

/// How a request says what body it has.
#[derive(Clone, Debug)]
pub(super) enum Body {
    None,
    Whole(Vec<u8>),
    /// This many bytes follow.
    Length(usize),
    /// Some bytes follow.
    Open,
}

pub(super) fn request(method: &'static str, target: &str) -> Request {
    let (target, host) = (target.to_owned(), "f.test".to_owned());
    Request { method, target, host, fields: Vec::new(), body: Body::None }
}

pub(super) fn get(target: &str) -> Request {
    request("GET", target)
}

pub(super) fn post(target: &str) -> Request {
    request("POST", target)
}

impl Request {
    pub(super) fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    pub(super) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.extend(pairs(&[(name, value)]));
        self
    }

    pub(super) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Body::Whole(body.as_ref().to_vec());
        self
    }

    pub(super) fn length(mut self, n: usize) -> Self {
        self.body = Body::Length(n);
        self
    }

    /// A body of unknown length.
    pub(super) fn open(mut self) -> Self {
        self.body = Body::Open;
        self
    }
}

pub(super) fn send(request: Request) -> Act {
    Act::Do(Do::Send(request))
}

pub(super) fn data(bytes: impl AsRef<[u8]>) -> Act {
    Act::Do(Do::Data(bytes.as_ref().to_vec()))
}

pub(super) fn end() -> Act {
    Act::Do(Do::End)
}

pub(super) fn trailers(fields: &[(&str, &str)]) -> Act {
    Act::Do(Do::Trailers(pairs(fields)))
}

pub(super) fn interim(shape: Shape) -> Act {
    Act::Do(Do::Interim(shape))
}

pub(super) fn answer(shape: Shape) -> Act {
    Act::Do(Do::Answer(shape))
}

pub(super) fn head(shape: Shape) -> Act {
    Act::Do(Do::Head(shape))
}

pub(super) fn part(bytes: &str) -> Act {
    Act::Do(Do::Part(bytes.into()))
}

pub(super) fn rest(shape: Shape) -> Act {
    Act::Do(Do::Rest(shape))
}

pub(super) fn cut() -> Act {
    Act::Do(Do::Cut)
}

pub(super) fn leave(how: Leave) -> Act {
    Act::Do(Do::Leave(how))
}
