//! A mark-done or on-failed statement with parameters in the place of its placeholders.

use crate::{
    dialect::Dialect,
    error::{Position, TemplateError},
    lexer::{self, Token, TokenKind},
};

/// Text of the last failure, in an on-failed statement.
pub const ERROR: &str = "_error";
/// How often the event was tried, in an on-failed statement.
pub const ATTEMPTS: &str = "_attempts";

/// Column names that an unknown one is answered with. The rest is counted.
const MAX_COLUMNS_SHOWN: usize = 20;

/// What a template is run for, which says whether it may use the reserved names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// After the function accepted an event: columns only.
    MarkDone,
    /// After the last attempt: columns, [`ERROR`] and [`ATTEMPTS`].
    OnFailed,
}

/// A statement whose `{{column}}` placeholders have become bound parameters.
///
/// The name of a column is everything between the braces but the white space around it, and is
/// compared exactly: `{{ Order ID }}` is the column `Order ID`. It contains no braces. In double
/// quotes, as SQL writes them, white space around it counts too: `{{" id"}}`, and `{{"a""b"}}` is
/// the column `a"b`.
///
/// A placeholder is a value of its own: between other tokens and not touching a name, a number or a
/// literal, or as the whole of a plain literal, `'{{id}}'`. In a comment nothing is a placeholder:
/// comments are kept as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    sql: String,
    parameters: Vec<String>,
    purpose: Purpose,
}

impl Template {
    /// Reads the one statement in `sql`. A `;` at its end, and what follows it, is left out.
    pub fn parse(dialect: Dialect, sql: &str, purpose: Purpose) -> Result<Self, TemplateError> {
        let tokens = lexer::tokenize(dialect, sql)?;
        let statement = lexer::only_statement(sql, &tokens)?;
        let mut rendered = String::with_capacity(sql.len());
        let mut parameters = Vec::new();
        for (index, token) in statement.iter().enumerate() {
            let Some(inner) = placeholder(dialect, sql, token)? else {
                rendered.push_str(token.text);
                continue;
            };
            let name = name(inner, || token.position(sql))?;
            stands_alone(dialect, sql, statement, index)?;
            if purpose == Purpose::MarkDone && is_reserved(&name) {
                return Err(TemplateError::Reserved { name, at: token.position(sql) });
            }
            parameters.push(name);
            match dialect {
                Dialect::Postgres => rendered.push_str(&format!("${}", parameters.len())),
                Dialect::Mysql => rendered.push('?'),
            }
        }
        Ok(Self { sql: rendered, parameters, purpose })
    }

    /// The statement with `$1`, `$2`, … (Postgres) or `?` (MySQL) for its placeholders.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Per parameter, in order, the column or reserved name whose value it takes. A name that
    /// occurs twice is two parameters, because each may have a type of its own.
    pub fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// Whether each parameter is among `columns` or reserved.
    pub fn check_columns(&self, columns: &[String]) -> Result<(), TemplateError> {
        let mut unknown: Vec<&String> = Vec::new();
        for name in &self.parameters {
            let reserved = self.purpose == Purpose::OnFailed && is_reserved(name);
            if !reserved && !columns.contains(name) && !unknown.contains(&name) {
                unknown.push(name);
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let known: Vec<&String> = columns.iter().collect();
        Err(TemplateError::UnknownColumns { unknown: listed(&unknown), known: listed(&known) })
    }
}

/// Whether the name means something about the failure instead of a column. In an on-failed
/// statement it does so even if there is a column of that name.
pub fn is_reserved(name: &str) -> bool {
    name == ERROR || name == ATTEMPTS
}

/// `{{name}}` if the token is one, or is a plain literal with nothing else in it.
fn placeholder<'a>(
    dialect: Dialect,
    sql: &str,
    token: &Token<'a>,
) -> Result<Option<&'a str>, TemplateError> {
    let at = || token.position(sql);
    match token.kind {
        TokenKind::Placeholder => Ok(Some(token.text)),
        TokenKind::Literal if token.text.contains("{{") => match token.placeholder_literal() {
            Some(inner) => Ok(Some(inner)),
            None => Err(TemplateError::InsideLiteral { at: at(), instead: joined(dialect) }),
        },
        TokenKind::QuotedName if token.text.contains("{{") => {
            Err(TemplateError::AsName { at: at() })
        }
        TokenKind::Parameter => {
            Err(TemplateError::ForeignParameter { text: token.shown(), at: at() })
        }
        _ => Ok(None),
    }
}

/// How a value and a text are joined.
fn joined(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "'text ' || {{name}}",
        Dialect::Mysql => "concat('text ', {{name}})",
    }
}

/// Whether the placeholder at `index` touches nothing that would run into its parameter.
fn stands_alone(
    dialect: Dialect,
    sql: &str,
    tokens: &[Token<'_>],
    index: usize,
) -> Result<(), TemplateError> {
    let at = || tokens[index].position(sql);
    let before = index.checked_sub(1).and_then(|i| tokens.get(i));
    for neighbour in before.into_iter().chain(tokens.get(index + 1)) {
        let glued = match neighbour.kind {
            TokenKind::Space | TokenKind::Comment => false,
            TokenKind::Symbol => match neighbour.text {
                "." => return Err(TemplateError::AsName { at: at() }),
                // `$` could begin a dollar-quoted literal, and `@` a MySQL variable.
                "$" | "{" | "}" => true,
                "@" => dialect == Dialect::Mysql,
                _ => false,
            },
            _ => true,
        };
        if glued {
            let placeholder = tokens[index].shown();
            let touched = neighbour.shown();
            return Err(TemplateError::Glued { placeholder, touched, at: at() });
        }
    }
    Ok(())
}

/// The column that `{{…}}` names.
fn name(placeholder: &str, at: impl Fn() -> Position) -> Result<String, TemplateError> {
    let bad = || TemplateError::BadName { placeholder: lexer::shown(placeholder), at: at() };
    let inner = placeholder
        .strip_prefix("{{")
        .and_then(|rest| rest.strip_suffix("}}"))
        .map(str::trim)
        .ok_or_else(bad)?;
    if inner.contains(['{', '}']) {
        return Err(bad());
    }
    let name = match inner.strip_prefix('"') {
        None => inner.to_owned(),
        Some(rest) => {
            let quoted = rest.strip_suffix('"').ok_or_else(bad)?;
            if quoted.replace("\"\"", "").contains('"') {
                return Err(bad());
            }
            quoted.replace("\"\"", "\"")
        }
    };
    if name.is_empty() {
        return Err(TemplateError::EmptyName { at: at() });
    }
    Ok(name)
}

/// The first names, and how many more there are.
fn listed(names: &[&String]) -> String {
    let shown: Vec<&str> = names.iter().take(MAX_COLUMNS_SHOWN).map(|n| n.as_str()).collect();
    match names.len().saturating_sub(MAX_COLUMNS_SHOWN) {
        0 if shown.is_empty() => "none".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
