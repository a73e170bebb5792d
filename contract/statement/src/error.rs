//! What can be wrong with a trigger's SQL, told to whoever wrote it.
//!
//! Each message says where and what to write instead, and fits on one line. It quotes at most a few
//! characters of the text, never a value of a row.

use std::fmt;

/// No longer text can be configured: it is the most that Linux takes as one environment variable.
/// It also bounds tokens, open parentheses, and parameters to less than a statement can have.
pub(super) const MAX_SQL_BYTES: usize = 128 * 1024;

/// A place in the text that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl Position {
    /// Where byte `offset` of `sql` is.
    pub(super) fn of(sql: &str, offset: usize) -> Self {
        let before = sql.get(..offset).unwrap_or(sql);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why SQL of a trigger is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing but white space and comments.
    #[error("no statement: the SQL is empty or only a comment")]
    Empty,
    /// Longer than any configuration can be.
    #[error("the SQL has {bytes} bytes, at most {MAX_SQL_BYTES} are allowed")]
    TooLong {
        /// Length of what was given.
        bytes: usize,
    },
    /// Servers end the text there, or refuse it.
    #[error("NUL character at {at}: remove it")]
    Nul {
        /// Of the character.
        at: Position,
    },
    /// A literal, quoted name or comment goes on to the end of the text.
    #[error("the {what} that begins at {at} is never closed: close it with {close}")]
    Unterminated {
        /// Kind of token.
        what: &'static str,
        /// What is missing.
        close: String,
        /// Where the token begins.
        at: Position,
    },
    /// `/*! … */` or `/*M! … */`: whether it is a comment depends on the server.
    #[error(
        "executable comment at {at}: some servers run its content and others do not, so write the \
         content out or remove the comment"
    )]
    ExecutableComment {
        /// Where the comment begins.
        at: Position,
    },
    /// `--;` in MySQL: two minus signs, and a comment once the `;` is gone.
    #[error("the -- at {at} begins no comment: put a space after it, or remove it")]
    NoComment {
        /// Of the first minus sign.
        at: Position,
    },
    /// Something follows the `;`.
    #[error(
        "second statement at {at}: only one is allowed, so remove it, or call a stored procedure \
         that does both"
    )]
    SecondStatement {
        /// Where it begins.
        at: Position,
    },

    /// `{{` without `}}`.
    #[error("the {{{{ at {at} has no }}}}: write {{{{column}}}}")]
    UnclosedPlaceholder {
        /// Of the braces.
        at: Position,
    },
    /// `{{}}`.
    #[error("the placeholder at {at} has no name: write {{{{column}}}}")]
    EmptyName {
        /// Of the placeholder.
        at: Position,
    },
    /// Braces in the name, or quotes that do not match.
    #[error(
        "{placeholder} at {at} is not the name of a column: write {{{{column}}}} or \
         {{{{\"column\"}}}}, with no braces in the name and each quote in a quoted name doubled"
    )]
    BadName {
        /// As written.
        placeholder: String,
        /// Where it begins.
        at: Position,
    },
    /// `'order {{id}}'`.
    #[error(
        "placeholder in a longer literal at {at}: it is bound as a value, not pasted into text, so \
         write {instead}; for braces that are not a placeholder, join '{{' and '{{' in that way"
    )]
    InsideLiteral {
        /// Where the literal begins.
        at: Position,
        /// In words of the dialect.
        instead: &'static str,
    },
    /// `"{{table}}"` or `t.{{column}}`.
    #[error(
        "placeholder as or in a name at {at}: it stands for a value, so write the name of the table \
         or column itself"
    )]
    AsName {
        /// Of the name or placeholder.
        at: Position,
    },
    /// `foo{{id}}`.
    #[error(
        "{placeholder} at {at} touches {touched}: put a space between them, or write an operator"
    )]
    Glued {
        /// As written.
        placeholder: String,
        /// Its neighbour.
        touched: String,
        /// Of the placeholder.
        at: Position,
    },
    /// `$1`, `?` or `:name` in a template.
    #[error(
        "{text} at {at} is a parameter that nothing is bound to: write {{{{column}}}}, or put the \
         text in quotes"
    )]
    ForeignParameter {
        /// As written.
        text: String,
        /// Where it begins.
        at: Position,
    },
    /// `{{_error}}` in a mark-done statement.
    #[error(
        "{{{{{name}}}}} at {at} is known only to the on-failed statement: name a column of the query"
    )]
    Reserved {
        /// Of the placeholder.
        name: String,
        /// Where it begins.
        at: Position,
    },
    /// Names that the query does not return.
    #[error(
        "unknown column {unknown}: the query returns {known} (upper and lower case letters differ)"
    )]
    UnknownColumns {
        /// With commas.
        unknown: String,
        /// With commas.
        known: String,
    },

    /// Begins with something that returns no rows.
    #[error("the query begins with {found} at {at}: begin with SELECT, WITH, TABLE, VALUES or (")]
    NotAQuery {
        /// First token.
        found: String,
        /// Where it is.
        at: Position,
    },
    /// `{{…}}` in a query.
    #[error(
        "{placeholder} at {at}: a query has no row yet to take a value from, so write the value \
         itself; placeholders are for the mark-done and on-failed statements"
    )]
    QueryPlaceholder {
        /// As written.
        placeholder: String,
        /// Where it begins.
        at: Position,
    },
    /// `$1`, `?` or `:name` in a query.
    #[error("{text} at {at} is a parameter, and a query has none: write the value itself")]
    QueryParameter {
        /// As written.
        text: String,
        /// Where it begins.
        at: Position,
    },
    /// LIMIT, OFFSET or FETCH of the whole query.
    #[error(
        "{clause} at {at}: if the rows within it kept failing, no other row would ever be \
         delivered; remove it (no more rows are fetched than can be worked on) or narrow the query \
         with WHERE"
    )]
    Limit {
        /// Keyword.
        clause: &'static str,
        /// Where it is.
        at: Position,
    },
    /// FOR UPDATE and its like, on the whole query.
    #[error(
        "{clause} at {at}: a row lock would block the function's own UPDATE of the row, and rows \
         are claimed without it; remove it"
    )]
    RowLock {
        /// Keywords.
        clause: &'static str,
        /// Where they are.
        at: Position,
    },
    /// INTO or PROCEDURE of the whole query.
    #[error("{clause} at {at}: the rows go to the function and nowhere else; remove it")]
    Destination {
        /// Keyword.
        clause: &'static str,
        /// Where it is.
        at: Position,
    },
    /// `(` without `)`, or the other way round.
    #[error("the {parenthesis} at {at} has no counterpart: add it or remove this one")]
    Unbalanced {
        /// Which.
        parenthesis: char,
        /// Where it is.
        at: Position,
    },
}
