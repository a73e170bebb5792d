//! The trigger's query, fit to be a derived table of the claim.
//!
//! Must never let a query through that could close the parentheses around it, or that hands out the
//! same first rows forever: with a LIMIT of its own, rows that keep failing hide all others. It
//! reads tokens only and judges what stands at the top level; the server judges the rest.

use crate::{
    dialect::Dialect,
    error::{Position, TemplateError},
    lexer::{self, Token, TokenKind},
};

/// A query to stand between `(\n` and `\n)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    text: String,
}

impl Query {
    /// Reads the one query in `sql`. A `;` at its end, and what follows it, is left out.
    pub fn parse(dialect: Dialect, sql: &str) -> Result<Self, TemplateError> {
        let tokens = lexer::tokenize(dialect, sql)?;
        let statement = lexer::only_statement(sql, &tokens)?;
        let tokens: Vec<&Token<'_>> = statement.iter().filter(|t| t.is_significant()).collect();
        begins_as_query(sql, &tokens)?;
        has_no_parameters(sql, &tokens)?;
        top_level(dialect, sql, &tokens)?;
        let text: String = statement.iter().map(|token| token.text).collect();
        Ok(Self { text: text.trim_matches(|c: char| c.is_ascii_whitespace()).to_owned() })
    }

    /// The query without `;`. It may end in a comment, so a line break has to follow it.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn begins_as_query(sql: &str, tokens: &[&Token<'_>]) -> Result<(), TemplateError> {
    const FIRST: [&str; 4] = ["SELECT", "WITH", "TABLE", "VALUES"];
    match tokens.iter().find(|token| !token.is_symbol("(")) {
        None => Err(TemplateError::Empty),
        Some(first) if FIRST.iter().any(|word| first.is_word(word)) => Ok(()),
        // With `)` and braces there are clearer things to say.
        Some(first) if first.is_symbol(")") || first.kind == TokenKind::Placeholder => Ok(()),
        Some(first) => {
            Err(TemplateError::NotAQuery { found: first.shown(), at: first.position(sql) })
        }
    }
}

/// Braces within longer literals are left alone: there is nothing here that they could mean.
fn has_no_parameters(sql: &str, tokens: &[&Token<'_>]) -> Result<(), TemplateError> {
    for token in tokens {
        let at = || token.position(sql);
        match token.kind {
            TokenKind::Parameter => {
                return Err(TemplateError::QueryParameter { text: token.shown(), at: at() });
            }
            TokenKind::Literal if token.placeholder_literal().is_none() => {}
            TokenKind::Placeholder | TokenKind::Literal => {
                let placeholder = token.shown();
                return Err(TemplateError::QueryPlaceholder { placeholder, at: at() });
            }
            _ => {}
        }
    }
    Ok(())
}

/// An open parenthesis.
struct Open {
    at: Position,
    /// It holds the whole query or an operand of its UNION, so that a clause in it is the query's.
    is_operand: bool,
}

/// Parentheses are in pairs, and no clause of the whole query limits, locks or diverts its rows.
fn top_level(dialect: Dialect, sql: &str, tokens: &[&Token<'_>]) -> Result<(), TemplateError> {
    let mut opens: Vec<Open> = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let at_top = opens.last().is_none_or(|open| open.is_operand);
        if token.is_symbol("(") {
            let is_operand = at_top && operand_follows(&tokens[..index]);
            opens.push(Open { at: token.position(sql), is_operand });
        } else if token.is_symbol(")") {
            if opens.pop().is_none() {
                return Err(TemplateError::Unbalanced {
                    parenthesis: ')',
                    at: token.position(sql),
                });
            }
        } else if at_top && token.kind == TokenKind::Word && !is_name(dialect, &tokens[..index]) {
            clause(dialect, &tokens[index..], token.position(sql))?;
        }
    }
    match opens.pop() {
        Some(open) => Err(TemplateError::Unbalanced { parenthesis: '(', at: open.at }),
        None => Ok(()),
    }
}

/// Whether a parenthesis after these tokens encloses the query, or one side of a UNION, rather than
/// an expression. After `)` it can only be the query that a WITH belongs to.
fn operand_follows(before: &[&Token<'_>]) -> bool {
    let set_operation =
        |token: &Token<'_>| ["UNION", "INTERSECT", "EXCEPT"].iter().any(|word| token.is_word(word));
    match before {
        [] => true,
        [.., last] if last.is_symbol("(") || last.is_symbol(")") => true,
        [.., operation, last] if last.is_word("ALL") || last.is_word("DISTINCT") => {
            set_operation(operation)
        }
        [.., last] => set_operation(last),
    }
}

/// Whether a word after these tokens is a name even if it is spelled like a keyword: `t.limit`,
/// `AS limit`, `@limit`.
fn is_name(dialect: Dialect, before: &[&Token<'_>]) -> bool {
    match before {
        [.., dot] if dot.is_symbol(".") => true,
        [.., at] if at.is_symbol("@") => dialect == Dialect::Mysql,
        [.., dot, alias] if alias.is_word("AS") => !dot.is_symbol("."),
        _ => false,
    }
}

/// Refuses the clause that begins with the first of these tokens.
fn clause(dialect: Dialect, tokens: &[&Token<'_>], at: Position) -> Result<(), TemplateError> {
    let Some((word, rest)) = tokens.split_first() else {
        return Ok(());
    };
    let next = |text: &str| rest.first().is_some_and(|token| token.is_word(text));
    let number_follows = rest.first().is_some_and(|token| token.kind == TokenKind::Number);
    let mysql = dialect == Dialect::Mysql;
    let limit = |clause| Err(TemplateError::Limit { clause, at });
    let row_lock = |clause| Err(TemplateError::RowLock { clause, at });
    let destination = |clause| Err(TemplateError::Destination { clause, at });
    match word.text.to_ascii_uppercase().as_str() {
        "LIMIT" => limit("LIMIT"),
        "FETCH" => limit("FETCH"),
        // In MySQL a column may have this name without quotes.
        "OFFSET" if !mysql || number_follows => limit("OFFSET"),
        "FOR" if next("UPDATE") => row_lock("FOR UPDATE"),
        "FOR" if next("NO") => row_lock("FOR NO KEY UPDATE"),
        "FOR" if next("SHARE") => row_lock("FOR SHARE"),
        "FOR" if next("KEY") => row_lock("FOR KEY SHARE"),
        "LOCK" if mysql && next("IN") => row_lock("LOCK IN SHARE MODE"),
        "INTO" => destination("INTO"),
        "PROCEDURE" if mysql => destination("PROCEDURE"),
        _ => Ok(()),
    }
}
