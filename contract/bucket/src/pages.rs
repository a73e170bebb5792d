//! A list from its first page to its last, with an end whatever the service says.
//!
//! A page need not have an object, and a service decides by itself whether there is another one: both
//! are bounded, and so is the time for all of them.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::{
    client::{LIST, Listed, S3},
    error::S3Error,
};

/// Pages of one list at most. Services fill pages with a thousand objects; twice the most that anybody
/// here takes need a tenth of these.
const MAX_PAGES: usize = 10_000;
/// Pages without an object, one after the other, at most.
const MAX_EMPTY_PAGES: usize = 100;
/// For all pages of one list.
const DEADLINE: Duration = Duration::from_secs(600);

/// A list that is being taken.
#[derive(Debug)]
pub struct Pages {
    s3: S3,
    bucket: String,
    prefix: String,
    next: Next,
    pages: usize,
    empty: usize,
    deadline: Instant,
}

#[derive(Debug)]
enum Next {
    First,
    After(String),
    None,
}

impl Pages {
    /// Objects of a bucket whose keys begin with `prefix`. Nothing is asked yet.
    pub fn new(s3: &S3, bucket: &str, prefix: &str) -> Self {
        Self {
            s3: s3.clone(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            next: Next::First,
            pages: 0,
            empty: 0,
            deadline: Instant::now() + DEADLINE,
        }
    }

    /// The objects of the next page, in the order of keys; `None` after the last one.
    ///
    /// # Errors
    /// [`S3Error::Endless`] when the service finds no end, else what went wrong.
    pub async fn next(&mut self) -> Result<Option<Vec<Listed>>, S3Error> {
        let token = match &self.next {
            Next::First => None,
            Next::After(token) => Some(token.as_str()),
            Next::None => return Ok(None),
        };
        if self.pages >= MAX_PAGES {
            return Err(self.endless(format!("no end after {MAX_PAGES} pages")));
        }
        if self.empty >= MAX_EMPTY_PAGES {
            return Err(self.endless(format!("{MAX_EMPTY_PAGES} pages without an object")));
        }
        let page = self.s3.list(&self.bucket, &self.prefix, token);
        let Ok(page) = timeout_at(self.deadline, page).await else {
            return Err(self.endless(format!("no end after {DEADLINE:?}")));
        };
        let page = page?;
        if page.next.is_some() && page.next.as_deref() == token {
            return Err(self.endless("the same page again and again".to_owned()));
        }
        self.pages += 1;
        self.empty = if page.objects.is_empty() { self.empty + 1 } else { 0 };
        self.next = page.next.map_or(Next::None, Next::After);
        Ok(Some(page.objects))
    }

    /// Whether there is another page.
    pub fn has_more(&self) -> bool {
        !matches!(self.next, Next::None)
    }

    fn endless(&self, detail: String) -> S3Error {
        S3Error::Endless { action: LIST, bucket: self.bucket.clone(), detail }
    }
}

impl S3 {
    /// Counts objects whose keys begin with `prefix`, to `limit` at most.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn count(&self, bucket: &str, prefix: &str, limit: u64) -> Result<u64, S3Error> {
        let mut count = 0;
        let mut pages = Pages::new(self, bucket, prefix);
        while let Some(objects) = pages.next().await? {
            count += u64::try_from(objects.len()).unwrap_or(u64::MAX);
            if count >= limit {
                break;
            }
        }
        Ok(count.min(limit))
    }
}
