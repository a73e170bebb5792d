//! Cuts SQL text into tokens where the server does, so that nothing in a literal, a quoted name or
//! a comment is taken for SQL, and the other way round.
//!
//! Must never lose a byte: the tokens, joined, are the text. What servers read differently
//! (executable comments) or not at all (NUL, something unclosed) is refused. The stage's other
//! files look at tokens only, never at the text between them.
//!
//! Rules: PostgreSQL's "Lexical Structure" and `scan.l`; MySQL's "Language Structure" and
//! `sql_lex.cc`. A symbol is one character here: both servers end an operator before a comment, so
//! longer operators make no difference.

use crate::{
    dialect::Dialect,
    error::{MAX_SQL_BYTES, Position, TemplateError},
};

/// Characters of a token that a message quotes.
const MAX_SHOWN: usize = 24;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// White space.
    Space,
    /// To the end of the line, or between `/*` and `*/`.
    Comment,
    /// Keyword or name without quotes.
    Word,
    /// Name in quotes.
    QuotedName,
    /// String of any notation, with its prefix and, in Postgres, its continuation lines.
    Literal,
    /// Number without a sign.
    Number,
    /// `{{…}}`.
    Placeholder,
    /// What the server or its driver takes for a parameter.
    Parameter,
    /// Any other character.
    Symbol,
}

/// A piece of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind,
    pub(super) text: &'a str,
    /// Byte offset of `text`.
    pub(super) start: usize,
}

impl<'a> Token<'a> {
    /// Neither white space nor a comment.
    pub(super) fn is_significant(&self) -> bool {
        !matches!(self.kind, TokenKind::Space | TokenKind::Comment)
    }

    pub(super) fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == TokenKind::Symbol && self.text == symbol
    }

    /// `word` in capitals.
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// `{{name}}` if that is all there is in this literal, and nothing in it is escaped.
    pub(super) fn placeholder_literal(&self) -> Option<&'a str> {
        let quote = self.text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
        let inner = self.text.strip_prefix(quote)?.strip_suffix(quote)?;
        let name = inner.strip_prefix("{{")?.strip_suffix("}}")?;
        (!name.contains([quote, '\\', '{', '}'])).then_some(inner)
    }

    pub(super) fn position(&self, sql: &str) -> Position {
        Position::of(sql, self.start)
    }

    /// The text as a message quotes it.
    pub(super) fn shown(&self) -> String {
        shown(self.text)
    }
}

/// The beginning of `text`, on one line.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MAX_SHOWN)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// All of `sql` in tokens.
pub(super) fn tokenize(dialect: Dialect, sql: &str) -> Result<Vec<Token<'_>>, TemplateError> {
    if sql.len() > MAX_SQL_BYTES {
        return Err(TemplateError::TooLong { bytes: sql.len() });
    }
    if let Some(offset) = sql.find('\0') {
        return Err(TemplateError::Nul { at: Position::of(sql, offset) });
    }
    let mut lexer = Lexer { dialect, sql, at: 0 };
    let mut tokens: Vec<Token<'_>> = Vec::new();
    while let Some(first) = lexer.byte(0) {
        let start = lexer.at;
        let kind = lexer.token(first, tokens.last())?;
        tokens.push(Token { kind, text: &sql[start..lexer.at], start });
    }
    Ok(tokens)
}

/// The tokens before the `;`, if there is but one statement.
pub(super) fn only_statement<'t, 'a>(
    sql: &str,
    tokens: &'t [Token<'a>],
) -> Result<&'t [Token<'a>], TemplateError> {
    let end = tokens.iter().position(|token| token.is_symbol(";")).unwrap_or(tokens.len());
    let (statement, rest) = tokens.split_at(end);
    if !statement.iter().any(Token::is_significant) {
        return Err(TemplateError::Empty);
    }
    if let Some(second) = rest.iter().find(|t| t.is_significant() && !t.is_symbol(";")) {
        return Err(TemplateError::SecondStatement { at: second.position(sql) });
    }
    match statement {
        [.., dash, last] if !rest.is_empty() && dash.is_symbol("-") && last.is_symbol("-") => {
            Err(TemplateError::NoComment { at: dash.position(sql) })
        }
        _ => Ok(statement),
    }
}

struct Lexer<'a> {
    dialect: Dialect,
    sql: &'a str,
    at: usize,
}

impl Lexer<'_> {
    /// Goes past one token, which is at least one byte long and ends between two characters.
    fn token(&mut self, first: u8, before: Option<&Token<'_>>) -> Result<TokenKind, TemplateError> {
        use Dialect::{Mysql, Postgres};
        match (first, self.dialect) {
            (b'{', _) if self.byte(1) == Some(b'{') => self.placeholder(),
            (b'/', _) if self.byte(1) == Some(b'*') => self.block_comment(),
            (b'-', _) if self.begins_line_comment() => Ok(self.line_comment()),
            (b'#', Mysql) => Ok(self.line_comment()),
            (b'\'', Postgres) => self.literal(0, b'\'', false),
            (b'\'' | b'"', Mysql) => self.literal(0, first, true),
            (b'"', Postgres) => self.quoted_name(0, first),
            (b'`', Mysql) => self.quoted_name(0, first),
            (b'$', Postgres) => self.dollar(),
            (b'?', Mysql) => Ok(self.past(1, TokenKind::Parameter)),
            (b':', Mysql) if self.byte(1).is_some_and(is_name_start) => {
                self.at += 1;
                Ok(self.run(is_word, TokenKind::Parameter))
            }
            (b'0'..=b'9', _) => Ok(self.number_or_word(before)),
            (b'.', _) if self.begins_fraction(before) => Ok(self.number()),
            (_, Postgres) if is_name_start(first) => self.postgres_word(),
            (_, Mysql) if is_word(first) => Ok(self.run(is_word, TokenKind::Word)),
            _ if is_space(first) => Ok(self.run(is_space, TokenKind::Space)),
            _ => Ok(self.past(1, TokenKind::Symbol)),
        }
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.sql.as_bytes().get(self.at + ahead).copied()
    }

    fn rest(&self) -> &str {
        self.sql.get(self.at..).unwrap_or_default()
    }

    fn past(&mut self, bytes: usize, kind: TokenKind) -> TokenKind {
        self.at = (self.at + bytes).min(self.sql.len());
        kind
    }

    fn run(&mut self, belongs: fn(u8) -> bool, kind: TokenKind) -> TokenKind {
        while self.byte(0).is_some_and(belongs) {
            self.at += 1;
        }
        kind
    }

    fn unterminated(&self, what: &'static str, close: &str, start: usize) -> TemplateError {
        let at = Position::of(self.sql, start);
        TemplateError::Unterminated { what, close: close.to_owned(), at }
    }

    fn placeholder(&mut self) -> Result<TokenKind, TemplateError> {
        match self.rest().find("}}") {
            Some(end) => Ok(self.past(end + 2, TokenKind::Placeholder)),
            None => Err(TemplateError::UnclosedPlaceholder { at: Position::of(self.sql, self.at) }),
        }
    }

    /// MySQL wants white space, a control character or the end after the dashes.
    fn begins_line_comment(&self) -> bool {
        self.byte(1) == Some(b'-')
            && (self.dialect == Dialect::Postgres
                || self.byte(2).is_none_or(|b| is_space(b) || b.is_ascii_control()))
    }

    /// To the end of the line, which it leaves: in MySQL a carriage return is not one.
    fn line_comment(&mut self) -> TokenKind {
        let is_comment: fn(u8) -> bool = match self.dialect {
            Dialect::Postgres => |b| b != b'\n' && b != b'\r',
            Dialect::Mysql => |b| b != b'\n',
        };
        self.run(is_comment, TokenKind::Comment)
    }

    /// Comments nest in Postgres only.
    fn block_comment(&mut self) -> Result<TokenKind, TemplateError> {
        let start = self.at;
        let content = &self.rest()[2..];
        if self.dialect == Dialect::Mysql && (content.starts_with('!') || content.starts_with("M!"))
        {
            return Err(TemplateError::ExecutableComment { at: Position::of(self.sql, start) });
        }
        self.at += 2;
        let mut open = 1_usize;
        while let Some(byte) = self.byte(0) {
            match (byte, self.byte(1)) {
                (b'*', Some(b'/')) => {
                    self.at += 2;
                    open -= 1;
                    if open == 0 {
                        return Ok(TokenKind::Comment);
                    }
                }
                (b'/', Some(b'*')) if self.dialect == Dialect::Postgres => {
                    self.at += 2;
                    open += 1;
                }
                _ => self.at += 1,
            }
        }
        Err(self.unterminated("comment", "*/", start))
    }

    fn literal(
        &mut self,
        prefix: usize,
        quote: u8,
        backslash: bool,
    ) -> Result<TokenKind, TemplateError> {
        let start = self.at;
        let close = if quote == b'"' { "\"" } else { "'" };
        self.at += prefix;
        loop {
            if !self.quoted(quote, backslash) {
                return Err(self.unterminated("string", close, start));
            }
            match self.continuation() {
                Some(at) => self.at = at,
                None => return Ok(TokenKind::Literal),
            }
        }
    }

    fn quoted_name(&mut self, prefix: usize, quote: u8) -> Result<TokenKind, TemplateError> {
        let start = self.at;
        self.at += prefix;
        if self.quoted(quote, false) {
            return Ok(TokenKind::QuotedName);
        }
        let close = if quote == b'"' { "\"" } else { "`" };
        Err(self.unterminated("quoted name", close, start))
    }

    /// From the opening quote past the closing one; a doubled quote is part of the content.
    /// Whether there was one that closes.
    fn quoted(&mut self, quote: u8, backslash: bool) -> bool {
        self.at += 1;
        while let Some(byte) = self.byte(0) {
            self.at += 1;
            if byte == b'\\' && backslash {
                self.at += 1;
            } else if byte == quote {
                if self.byte(0) != Some(quote) {
                    return true;
                }
                self.at += 1;
            }
        }
        false
    }

    /// Where a Postgres string goes on: a quote after white space with a line break in it is no new
    /// literal but more of the same, read by the same rules. `--` comments count as white space.
    fn continuation(&self) -> Option<usize> {
        if self.dialect != Dialect::Postgres {
            return None;
        }
        let mut ahead = Lexer { dialect: self.dialect, sql: self.sql, at: self.at };
        let mut line_break = false;
        loop {
            match ahead.byte(0)? {
                b'\'' => return line_break.then_some(ahead.at),
                b'\n' | b'\r' => {
                    line_break = true;
                    ahead.at += 1;
                }
                b'-' if ahead.begins_line_comment() => {
                    ahead.line_comment();
                }
                byte if is_space(byte) => ahead.at += 1,
                _ => return None,
            }
        }
    }

    /// `$1`, `$tag$ … $tag$`, or a dollar sign that is neither.
    fn dollar(&mut self) -> Result<TokenKind, TemplateError> {
        if self.byte(1).is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
            return Ok(self.run(|b| b.is_ascii_digit(), TokenKind::Parameter));
        }
        // A digit cannot come first: that was a parameter.
        let in_tag = |b: u8| is_name_start(b) || b.is_ascii_digit();
        let mut tag = 1;
        while self.byte(tag).is_some_and(in_tag) {
            tag += 1;
        }
        if self.byte(tag) != Some(b'$') {
            return Ok(self.past(1, TokenKind::Symbol));
        }
        let (delimiter, content) = self.rest().split_at(tag + 1);
        match content.find(delimiter) {
            Some(end) => Ok(self.past(2 * delimiter.len() + end, TokenKind::Literal)),
            None => Err(self.unterminated("dollar-quoted string", delimiter, self.at)),
        }
    }

    /// A word, or the literal or quoted name that its first letter is the prefix of.
    fn postgres_word(&mut self) -> Result<TokenKind, TemplateError> {
        let first = self.byte(0).map(|b| b.to_ascii_lowercase());
        match (first, self.byte(1), self.byte(2)) {
            (Some(b'e'), Some(b'\''), _) => self.literal(1, b'\'', true),
            (Some(b'b' | b'x' | b'n'), Some(b'\''), _) => self.literal(1, b'\'', false),
            (Some(b'u'), Some(b'&'), Some(b'\'')) => self.literal(2, b'\'', false),
            (Some(b'u'), Some(b'&'), Some(b'"')) => self.quoted_name(2, b'"'),
            _ => Ok(self.run(is_word, TokenKind::Word)),
        }
    }

    /// In MySQL a name may begin with digits, and after a dot all that follows is one.
    fn number_or_word(&mut self, before: Option<&Token<'_>>) -> TokenKind {
        if self.dialect == Dialect::Mysql && before.is_some_and(|token| token.is_symbol(".")) {
            return self.run(is_word, TokenKind::Word);
        }
        let start = self.at;
        let kind = self.number();
        let whole = self.sql.as_bytes()[start..self.at].iter().all(u8::is_ascii_digit);
        if self.dialect == Dialect::Mysql && whole && self.byte(0).is_some_and(is_word) {
            return self.run(is_word, TokenKind::Word);
        }
        kind
    }

    /// `.5`, but not the end of `t.5`.
    fn begins_fraction(&self, before: Option<&Token<'_>>) -> bool {
        let in_name =
            before.is_some_and(|t| matches!(t.kind, TokenKind::Word | TokenKind::QuotedName));
        !in_name && self.byte(1).is_some_and(|b| b.is_ascii_digit())
    }

    /// Digits with a point among them, and an exponent if there are digits in it. What follows
    /// without a space (`0x1F`, `1_000`) is a word of its own, which makes no difference here.
    fn number(&mut self) -> TokenKind {
        let digits = |lexer: &mut Self| lexer.run(|b| b.is_ascii_digit(), TokenKind::Number);
        digits(self);
        if self.byte(0) == Some(b'.') && self.byte(1) != Some(b'.') {
            self.at += 1;
            digits(self);
        }
        let sign = usize::from(matches!(self.byte(1), Some(b'+' | b'-')));
        if matches!(self.byte(0), Some(b'e' | b'E'))
            && self.byte(1 + sign).is_some_and(|b| b.is_ascii_digit())
        {
            self.at += 1 + sign;
            digits(self);
        }
        TokenKind::Number
    }
}

/// White space of both dialects. Every other space of Unicode is part of a word.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

/// After the first character in Postgres, anywhere in MySQL.
fn is_word(byte: u8) -> bool {
    is_name_start(byte) || byte.is_ascii_digit() || byte == b'$'
}
