//! How many bytes may be held at the same time, by one holder and by all of them together.
//!
//! Whoever keeps what a stranger sent asks first. A budget may be a share of a larger one: what is
//! held counts in both, so one tenant's triggers never use up what all triggers have.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Bytes that may be held. Clones are the same budget.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Level>);

#[derive(Debug)]
struct Level {
    /// Whose it is, for the error.
    of: String,
    limit: usize,
    held: AtomicUsize,
    whole: Option<Budget>,
}

/// A budget is used up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {limit} bytes would be held in memory for {of}")]
pub struct OverBudget {
    /// For whom.
    pub of: String,
    /// Bytes that may be held for it.
    pub limit: usize,
}

impl Budget {
    /// A budget of `limit` bytes for `of`, as it is called in errors.
    pub fn new(of: impl Into<String>, limit: usize) -> Self {
        Self(Arc::new(Level { of: of.into(), limit, held: AtomicUsize::new(0), whole: None }))
    }

    /// A part of this one: what is held under it counts here too.
    #[must_use]
    pub fn share(&self, of: impl Into<String>, limit: usize) -> Self {
        let (held, whole) = (AtomicUsize::new(0), Some(self.clone()));
        Self(Arc::new(Level { of: of.into(), limit, held, whole }))
    }

    /// Bytes that may be held.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Bytes that are held now.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    /// Whether anybody else knows it, or has a share of it.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// An account of what one holder has, empty at first. What is on it is free again when it is
    /// dropped.
    pub fn account(&self) -> Account {
        Account { budget: self.clone(), bytes: 0 }
    }

    fn add(&self, bytes: usize) -> Result<(), OverBudget> {
        let Level { of, limit, held, whole } = &*self.0;
        let fits = |held: usize| held.checked_add(bytes).filter(|sum| sum <= limit);
        let over = || OverBudget { of: of.clone(), limit: *limit };
        held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map_err(|_| over())?;
        let Some(whole) = whole else { return Ok(()) };
        whole.add(bytes).inspect_err(|_| {
            held.fetch_sub(bytes, Ordering::Relaxed);
        })
    }

    fn remove(&self, bytes: usize) {
        self.0.held.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.0.whole {
            whole.remove(bytes);
        }
    }
}

/// What one holder has of a budget.
#[derive(Debug)]
pub struct Account {
    budget: Budget,
    bytes: usize,
}

impl Account {
    /// So many bytes more are held.
    ///
    /// # Errors
    /// When the budget has no room for them; then nothing changed.
    pub fn add(&mut self, bytes: usize) -> Result<(), OverBudget> {
        self.budget.add(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// So many bytes are held now.
    ///
    /// # Errors
    /// As [`Account::add`].
    pub fn set(&mut self, bytes: usize) -> Result<(), OverBudget> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.add(more),
            None => {
                self.budget.remove(self.bytes - bytes);
                self.bytes = bytes;
                Ok(())
            }
        }
    }

    /// Bytes that are held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.remove(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_share_counts_in_the_whole_and_neither_is_exceeded() {
        let whole = Budget::new("all", 100);
        let (a, b) = (whole.share("a", 60), whole.share("b", 60));
        let mut of_a = a.account();
        of_a.add(60).unwrap();
        assert_eq!(of_a.add(1), Err(OverBudget { of: "a".to_owned(), limit: 60 }));
        let mut of_b = b.account();
        assert_eq!(of_b.add(41), Err(OverBudget { of: "all".to_owned(), limit: 100 }));
        assert_eq!((a.held(), b.held(), whole.held()), (60, 0, 60));
        of_b.add(40).unwrap();
        of_a.set(10).unwrap();
        assert_eq!((of_a.bytes(), whole.held()), (10, 50));
        drop((of_a, of_b));
        assert_eq!((a.held(), b.held(), whole.held()), (0, 0, 0));
        assert!(whole.account().add(usize::MAX).is_err());
    }
}
