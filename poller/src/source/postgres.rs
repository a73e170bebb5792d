//! Rows of PostgreSQL, claimed by session advisory locks.
//!
//! Two connections. The *session* holds a lock for each claimed row: no row lock and no transaction
//! stands while a handler runs, so the handler may change its own row and vacuum is not held back.
//! A lock says that nobody else works on the row, not that there is still work: the row is read
//! again, in a statement of its own, after its lock was taken. The *marks* run on the second
//! connection and are committed before the lock is given up.

mod backlog;
mod config;
mod connection;
mod form;
mod marks;
mod plan;
mod recipe;
mod row;
mod session;
mod text;
mod url;

use std::sync::Arc;

use kipper_statement::{Dialect, Purpose, Query, Template, TemplateError};
use parking_lot::Mutex;
use ring::digest;

pub use self::{backlog::Backlog, config::PostgresConfig, row::Row};
use self::{
    connection::{Connector, Role, check_locks},
    marks::Marks,
    plan::Plan,
    recipe::Recipe,
    session::Session,
};
use super::{Claimed, Digest, Event, Key, Mark, Reread, Source, SourceError, Wanted, sizes::Sizes};

/// Logs in and leaves.
pub(crate) async fn login(url: &str, authority: Option<&str>) -> Result<(), SourceError> {
    Connector::new(url, authority)?.connect(Role::Marks).await.map(drop)
}

/// See the module.
pub struct Postgres {
    recipe: Arc<Recipe>,
    mark_each: bool,
    seed: i64,
    session: Mutex<Option<Arc<Session>>>,
    marks: Mutex<Option<Arc<Marks>>>,
    sizes: Sizes,
}

impl Postgres {
    /// Connects, checks everything that can be checked before the first event, and claims nothing.
    ///
    /// # Errors
    /// [`SourceError::Invalid`] for what only the user can mend, else what is wrong with the server.
    pub async fn open(config: PostgresConfig) -> Result<Self, SourceError> {
        let invalid = |error: TemplateError| SourceError::Invalid(error.to_string());
        let query = Query::parse(Dialect::Postgres, &config.query).map_err(invalid)?;
        let parse = |sql: &Option<String>, purpose| {
            let template = |sql: &String| Template::parse(Dialect::Postgres, sql, purpose);
            sql.as_ref().map(template).transpose().map_err(invalid)
        };
        let mark_done = parse(&config.mark_done, Purpose::MarkDone)?;
        let on_failed = parse(&config.on_failed, Purpose::OnFailed)?;
        let connector = Connector::new(&config.url, config.authority.as_deref())?;

        let claims = connector.connect(Role::Claims).await?;
        let marks = connector.connect(Role::Marks).await?;
        check_locks(&claims, &marks).await?;
        let templates: Vec<&Template> = mark_done.iter().chain(&on_failed).collect();
        let plan = Plan::make(&claims, &query, &config.key, &templates).await?;
        let session = Session::prepare(claims, &plan).await?;
        let recipe = Arc::new(Recipe { connector, plan, mark_done, on_failed });
        let marks = Marks::prepare(marks, Arc::clone(&recipe), config.mark_each).await?;
        session.warn_of_keyless().await?;
        Ok(Self {
            recipe,
            mark_each: config.mark_each,
            seed: seed(&config.function),
            session: Mutex::new(Some(Arc::new(session))),
            marks: Mutex::new(Some(Arc::new(marks))),
            sizes: Sizes::default(),
        })
    }

    fn session(&self) -> Result<Arc<Session>, SourceError> {
        let session = self.session.lock().clone().filter(|session| !session.is_closed());
        session.ok_or_else(|| SourceError::Lost("the session of the claims has ended".to_owned()))
    }

    fn marks(&self) -> Result<Arc<Marks>, SourceError> {
        let marks = self.marks.lock().clone().filter(|marks| !marks.is_closed());
        marks.ok_or_else(|| SourceError::Broken("the connection of the marks has ended".to_owned()))
    }
}

impl Source for Postgres {
    type Claim = Row;

    fn has_dead_letters(&self) -> bool {
        self.recipe.on_failed.is_some()
    }

    async fn claim(&self, wanted: Wanted<'_>) -> Result<Claimed<Row>, SourceError> {
        let session = self.session()?;
        let events = self.sizes.fitting(wanted);
        let claimed = session.claim(self.seed, Wanted { events, ..wanted }).await?;
        self.sizes.learn(&claimed.events);
        Ok(claimed)
    }

    async fn extend(&self, _: &[Arc<Event<Row>>]) -> Result<(), SourceError> {
        self.session()?.prove().await?;
        self.marks()?.prove().await
    }

    async fn ack(
        &self,
        events: &[Arc<Event<Row>>],
        retried: bool,
    ) -> Result<Vec<Mark>, SourceError> {
        self.marks()?.done(events, retried).await
    }

    async fn fail(
        &self,
        event: &Event<Row>,
        reason: &str,
        attempts: u32,
        retried: bool,
    ) -> Result<Mark, SourceError> {
        self.marks()?.dead(event, reason, attempts, retried).await
    }

    async fn reread(&self, event: &Event<Row>) -> Result<Reread<Row>, SourceError> {
        self.session()?.reread(event).await
    }

    async fn release(&self, events: &[Arc<Event<Row>>]) -> Result<(), SourceError> {
        let locks: Vec<i64> = events.iter().map(|event| event.claim.lock).collect();
        self.session()?.unlock(&locks).await
    }

    async fn peek(&self, keys: &[Key]) -> Result<Vec<(Key, Digest)>, SourceError> {
        self.marks()?.peek(keys.iter().map(|key| &**key)).await
    }

    async fn recover(&self, held: &[Arc<Event<Row>>]) -> Result<Vec<Key>, SourceError> {
        let mut lost = Vec::new();
        if self.marks().is_err() {
            let client = self.recipe.connector.connect(Role::Marks).await?;
            let recipe = Arc::clone(&self.recipe);
            let marks = Marks::prepare(client, recipe, self.mark_each).await?;
            *self.marks.lock() = Some(Arc::new(marks));
        }
        if self.session().is_err() {
            let client = self.recipe.connector.connect(Role::Claims).await?;
            let probe = self.recipe.connector.connect(Role::Marks).await?;
            check_locks(&client, &probe).await?;
            let session = Session::prepare(client, &self.recipe.plan).await?;
            let locks: Vec<i64> = held.iter().map(|event| event.claim.lock).collect();
            let taken = session.lock(&locks).await?;
            let others = held.iter().filter(|event| !taken.contains(&event.claim.lock));
            lost.extend(others.map(|event| Key::clone(&event.key)));
            *self.session.lock() = Some(Arc::new(session));
        }
        Ok(lost)
    }
}

/// Makes the locks of one function differ from those of all others. Never from the query's text: the
/// old and the new pods of a rollout have to keep each other out.
fn seed(function: &str) -> i64 {
    let digest = digest::digest(&digest::SHA256, format!("kipper-poll\0{function}").as_bytes());
    let mut seed = [0; 8];
    seed.copy_from_slice(&digest.as_ref()[..8]);
    i64::from_be_bytes(seed)
}
