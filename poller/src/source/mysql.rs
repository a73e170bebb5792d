//! Rows of MySQL and MariaDB, claimed by user-level locks.
//!
//! Two connections. The *session* holds a lock for each claimed row: no row lock and no transaction
//! stands while a handler runs, so the handler may change its own row. A lock says that nobody else
//! works on the row, not that there is still work: the row is read again, in a statement of its own,
//! after its lock was taken. The *marks* run on the second connection and are committed before the
//! lock is given up.

mod backlog;
mod config;
mod connection;
mod locks;
mod marks;
mod plan;
mod row;
mod server;
mod session;
mod url;
mod value;

use std::sync::Arc;

use kipper_statement::{Dialect, Purpose, Query, Template, TemplateError};
use parking_lot::Mutex;

pub use self::{backlog::Backlog, config::MysqlConfig, row::Row};
use self::{
    connection::{Connector, Role},
    locks::{Lock, Names},
    marks::Marks,
    plan::Plan,
    session::Session,
};
use super::{Claimed, Digest, Event, Key, Mark, Reread, Source, SourceError, Wanted, sizes::Sizes};

/// Logs in and leaves.
pub(crate) async fn login(url: &str, authority: Option<&str>) -> Result<(), SourceError> {
    Connector::new(url, authority)?.connect(Role::Marks).await.map(drop)
}

/// See the module.
pub struct Mysql {
    connector: Connector,
    plan: Arc<Plan>,
    names: Names,
    mark_done: Option<Template>,
    on_failed: Option<Template>,
    session: Mutex<Arc<Session>>,
    marks: Mutex<Arc<Marks>>,
    sizes: Sizes,
}

impl Mysql {
    /// Connects, checks everything that can be checked before the first event, and claims nothing.
    ///
    /// # Errors
    /// [`SourceError::Invalid`] for what only the user can mend, else what is wrong with the server.
    pub async fn open(config: MysqlConfig) -> Result<Self, SourceError> {
        let invalid = |error: TemplateError| SourceError::Invalid(error.to_string());
        let query = Query::parse(Dialect::Mysql, &config.query).map_err(invalid)?;
        let parse = |sql: &Option<String>, purpose| {
            let template = |sql: &String| Template::parse(Dialect::Mysql, sql, purpose);
            sql.as_ref().map(template).transpose().map_err(invalid)
        };
        let mark_done = parse(&config.mark_done, Purpose::MarkDone)?;
        let on_failed = parse(&config.on_failed, Purpose::OnFailed)?;
        let connector = Connector::new(&config.url, config.authority.as_deref())?;

        let claims = connector.connect(Role::Claims).await?;
        let marks = connector.connect(Role::Marks).await?;
        let server = server::check(&claims, &marks).await?;
        let templates: Vec<&Template> = mark_done.iter().chain(&on_failed).collect();
        let plan =
            Plan::make(&mut claims.turn().await, &server, &query, &config.key, &templates).await?;
        let (plan, names) = (Arc::new(plan), Names::new(&server, &config.function));
        let session = Session::prepare(claims, Arc::clone(&plan), names.clone()).await?;
        let (done, failed) = (mark_done.as_ref(), on_failed.as_ref());
        let marks = Marks::prepare(marks, Arc::clone(&plan), done, failed).await?;
        session.warn_of_keyless().await?;
        Ok(Self {
            connector,
            plan,
            names,
            mark_done,
            on_failed,
            session: Mutex::new(Arc::new(session)),
            marks: Mutex::new(Arc::new(marks)),
            sizes: Sizes::default(),
        })
    }

    fn session(&self) -> Arc<Session> {
        Arc::clone(&self.session.lock())
    }

    fn marks(&self) -> Arc<Marks> {
        Arc::clone(&self.marks.lock())
    }
}

impl Source for Mysql {
    type Claim = Row;

    fn has_dead_letters(&self) -> bool {
        self.on_failed.is_some()
    }

    async fn claim(&self, wanted: Wanted<'_>) -> Result<Claimed<Row>, SourceError> {
        let events = self.sizes.fitting(wanted);
        let claimed = self.session().claim(Wanted { events, ..wanted }).await?;
        self.sizes.learn(&claimed.events);
        Ok(claimed)
    }

    async fn extend(&self, _: &[Arc<Event<Row>>]) -> Result<(), SourceError> {
        self.session().prove().await?;
        self.marks().prove().await
    }

    async fn ack(
        &self,
        events: &[Arc<Event<Row>>],
        retried: bool,
    ) -> Result<Vec<Mark>, SourceError> {
        self.marks().done(events, retried).await
    }

    async fn fail(
        &self,
        event: &Event<Row>,
        reason: &str,
        attempts: u32,
        retried: bool,
    ) -> Result<Mark, SourceError> {
        self.marks().dead(event, reason, attempts, retried).await
    }

    async fn reread(&self, event: &Event<Row>) -> Result<Reread<Row>, SourceError> {
        self.session().reread(event).await
    }

    async fn release(&self, events: &[Arc<Event<Row>>]) -> Result<(), SourceError> {
        let locks: Vec<Lock> = events.iter().map(|event| event.claim.lock.clone()).collect();
        self.session().unlock(&locks).await
    }

    async fn peek(&self, keys: &[Key]) -> Result<Vec<(Key, Digest)>, SourceError> {
        self.marks().peek(keys.iter().map(|key| &**key)).await
    }

    async fn recover(&self, held: &[Arc<Event<Row>>]) -> Result<Vec<Key>, SourceError> {
        let mut lost = Vec::new();
        if self.marks().is_closed() {
            let link = self.connector.connect(Role::Marks).await?;
            let (done, failed) = (self.mark_done.as_ref(), self.on_failed.as_ref());
            let marks = Marks::prepare(link, Arc::clone(&self.plan), done, failed).await?;
            *self.marks.lock() = Arc::new(marks);
        }
        if self.session().is_closed() {
            let link = self.connector.connect(Role::Claims).await?;
            let probe = self.connector.connect(Role::Marks).await?;
            server::check(&link, &probe).await?;
            let (plan, names) = (Arc::clone(&self.plan), self.names.clone());
            let session = Session::prepare(link, plan, names).await?;
            let locks: Vec<Lock> = held.iter().map(|event| event.claim.lock.clone()).collect();
            let taken = session.lock(&locks).await?;
            let others = held.iter().zip(taken).filter(|(_, taken)| !taken);
            lost.extend(others.map(|(event, _)| Key::clone(&event.key)));
            *self.session.lock() = Arc::new(session);
        }
        Ok(lost)
    }
}
