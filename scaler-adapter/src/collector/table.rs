//! What one interceptor process has said last, by the numbers it gave its functions.
//!
//! A number leads straight to its function and to the interceptor's [`Cell`] of it, so an update
//! costs no look-up by name. A [`Slot`] that is dropped takes what it had open along. Bounded by
//! [`MAX_NUMBER`], and by the functions that the adapter may know.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kipper_counts::{FunctionCounts, MAX_NUMBER};

use super::error::ReportError;
use crate::{
    aggregate::{Cell, Origin, Report},
    functions::{Entry, FunctionKey, Functions},
    metadata::MAX_NAME_BYTES,
};

/// The functions of one interceptor.
#[derive(Default)]
pub(super) struct Table {
    /// By number; a slot whose cell is of an older stream was not named on this one.
    numbered: Vec<Slot>,
    /// Of an interceptor of the release before, and of one that has no number left.
    named: HashMap<FunctionKey, Slot>,
}

/// One function of one interceptor. Without a function it was refused.
#[derive(Default)]
struct Slot {
    function: Option<Arc<Entry>>,
    cell: Cell,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(function) = &self.function {
            function.retire(&self.cell);
        }
    }
}

impl Slot {
    fn is(&self, function: Option<&Arc<Entry>>) -> bool {
        match (&self.function, function) {
            (Some(mine), Some(other)) => Arc::ptr_eq(mine, other),
            (mine, other) => mine.is_none() && other.is_none(),
        }
    }
}

impl Table {
    /// Takes one function's counts in. Returns how many requests are new, or `None` where the function is
    /// refused.
    pub(super) fn apply(
        &mut self,
        functions: &Functions,
        origin: Origin,
        counts: FunctionCounts,
        report: &Report,
        now: Duration,
    ) -> Result<Option<u64>, ReportError> {
        let is_named = !counts.name.is_empty();
        let slot = match counts.number {
            0 => self.named(functions, counts),
            _ => Some(self.numbered(functions, origin.stream, counts)?),
        };
        let Some(Slot { function: Some(function), cell }) = slot else { return Ok(None) };
        let mut report = *report;
        if !is_named {
            // Under one number totals only grow, but a change may have been read just before the snapshot.
            report.total = cell.grown_to(report.total);
        }
        Ok(Some(function.apply(cell, origin, &report, now)))
    }

    fn numbered(
        &mut self,
        functions: &Functions,
        stream: u32,
        counts: FunctionCounts,
    ) -> Result<&mut Slot, ReportError> {
        let FunctionCounts { number, namespace, name, .. } = counts;
        let index = index(number)?;
        if index >= self.numbered.len() {
            self.numbered.resize_with(index + 1, Slot::default);
        }
        let slot = &mut self.numbered[index];
        let is_named = slot.cell.is_of(stream);
        if name.is_empty() {
            return if is_named { Ok(slot) } else { Err(ReportError::UnknownNumber) };
        }
        let key = key(namespace, name).inspect(|key| drop(self.named.remove(key)));
        let function = key.and_then(|key| functions.get(key).ok());
        if !slot.is(function.as_ref()) {
            if is_named && slot.function.is_some() {
                return Err(ReportError::NumberTaken);
            }
            *slot = Slot { function, cell: Cell::default() };
        }
        if slot.function.is_none() {
            slot.cell = Cell::named_on(stream);
        }
        Ok(slot)
    }

    fn named(&mut self, functions: &Functions, counts: FunctionCounts) -> Option<&mut Slot> {
        let key = key(counts.namespace, counts.name)?;
        let function = functions.get(key.clone()).ok()?;
        Some(
            self.named
                .entry(key)
                .or_insert_with(|| Slot { function: Some(function), cell: Cell::default() }),
        )
    }

    /// Gives a number back.
    pub(super) fn free(&mut self, number: u32, stream: u32) -> Result<(), ReportError> {
        let slot = self.numbered.get_mut(index(number)?);
        let slot = slot.filter(|slot| slot.cell.is_of(stream)).ok_or(ReportError::UnknownNumber)?;
        *slot = Slot::default();
        Ok(())
    }

    /// Gives up what `stream` has not listed in its snapshot.
    pub(super) fn retire_all_but(&mut self, stream: u32) {
        for slot in &mut self.numbered {
            if slot.function.is_some() && !slot.cell.is_of(stream) {
                *slot = Slot::default();
            }
        }
        self.named.retain(|_, slot| slot.cell.is_of(stream));
    }
}

fn index(number: u32) -> Result<usize, ReportError> {
    let index = number.checked_sub(1).filter(|_| number <= MAX_NUMBER);
    index.map(|index| index as usize).ok_or(ReportError::BadNumber)
}

fn key(namespace: String, name: String) -> Option<FunctionKey> {
    let is_name = |text: &str| !text.is_empty() && text.len() <= MAX_NAME_BYTES;
    (is_name(&namespace) && is_name(&name)).then(|| FunctionKey::new(namespace, name))
}
