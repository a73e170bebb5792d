//! Turns the SQL of a trigger into what a database can prepare.
//!
//! Stands before the SQL sources: `Query` is the trigger's query, fit to be a derived table;
//! `Template` is a mark-done or on-failed statement in which each `{{column}}` has become a bound
//! parameter. Both rest on `lexer`, which cuts text into tokens as the server does.
//!
//! Must never put a value into SQL text, and never guess: text that a server could read in another
//! way than this stage does is refused with the position and what to write instead. No I/O.
//!
//! The lexer's rules are those of PostgreSQL with `standard_conforming_strings` on, and those of
//! MySQL and MariaDB with neither `ANSI_QUOTES` nor `NO_BACKSLASH_ESCAPES` in `sql_mode`, in
//! UTF-8. Sessions must be set so.
//!
//! A leaf crate: poller and controller take a statement by the same rules.

#![warn(missing_docs)]

mod dialect;
mod error;
mod lexer;
mod query;
mod template;
#[cfg(test)]
mod tests;

pub use self::{
    dialect::{Dialect, quote_identifier},
    error::{Position, TemplateError},
    query::Query,
    template::{ATTEMPTS, ERROR, Purpose, Template, is_reserved},
};
