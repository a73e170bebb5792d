//! Where tokens begin and end, and what never ends.

use super::super::{
    Dialect::{self, Mysql, Postgres},
    Query, TemplateError,
    error::MAX_SQL_BYTES,
    lexer::{TokenKind, tokenize},
};

/// One letter per token, so that a table of them can be read.
fn kinds(dialect: Dialect, sql: &str) -> String {
    match tokenize(dialect, sql) {
        Err(error) => error.to_string(),
        Ok(tokens) => tokens
            .iter()
            .map(|token| match token.kind {
                TokenKind::Space => '_',
                TokenKind::Comment => 'c',
                TokenKind::Word => 'w',
                TokenKind::QuotedName => 'q',
                TokenKind::Literal => 'l',
                TokenKind::Number => 'n',
                TokenKind::Placeholder => 'p',
                TokenKind::Parameter => '$',
                TokenKind::Symbol => '.',
            })
            .collect(),
    }
}

#[track_caller]
fn check_kinds(dialect: Dialect, table: &[(&str, &str)]) {
    for (sql, expected) in table {
        assert_eq!(kinds(dialect, sql), *expected, "{sql}");
    }
}

#[test]
fn postgres_tokens() {
    check_kinds(
        Postgres,
        &[
            ("SELECT a,\"b\" FROM t", "w_w.q_w_w"),
            ("'it''s'||E'it\\'s'||'a\\'", "l..l..l"),
            ("B'1' x'ff' U&'\\0441' n'a' u&\"x\"", "l_l_l_l_q"),
            ("u & 'x' ue'x'", "w_._l_wl"),
            ("'a' 'b'", "l_l"),
            ("'a'\n'b'", "l"),
            ("E'a' -- x\n '\\'' -- y", "l_c"),
            ("'a' -- x 'b'", "l_c"),
            ("'a' /* x */\n'b'", "l_c_l"),
            ("'a'\r'b'", "l"),
            ("$$a'b$$ $x$ $$ $y$ $x$ $é1$;$é1$", "l_l_l"),
            ("$a$b$$a$", "l"),
            ("a$b$c$ x$$", "w_w"),
            ("$1 1$2 $", "$_n$_."),
            ("a ? b ?| c", "w_._w_.._w"),
            ("1.5e-3 1e5 1..2 .5 t.5 1e 0x1F 1.", "n_n_n.n_n_w.n_nw_nw_n"),
            ("a--b\nc", "wc_w"),
            ("a-- b\rc", "wc_w"),
            ("a+--b", "w.c"),
            ("a*/* /* */ */b", "w.cw"),
            ("/**/ /*/*/**/*/**/*/", "c_c.."),
            ("# ` {", "._._."),
            ("{{a}}{{ \"b'\" }}", "pp"),
            ("'{{a}}' \"{{a}}\" -- {{a}}", "l_q_c"),
            ("größe\u{a0}x", "w"),
        ],
    );
}

#[test]
fn mysql_tokens() {
    check_kinds(
        Mysql,
        &[
            ("'it''s\\'' \"it\\\"s\"\"\" `a``b\\`", "l_l_q"),
            ("'a'\n'b'", "l_l"),
            ("a--b -- c\nd", "w..w_c_w"),
            ("a --", "w_c"),
            ("a --\u{1}b", "w_c"),
            ("a# b\rc\nd", "wc_w"),
            ("/* /* */ */", "c_.."),
            ("/*+ hint */ /*/*/", "c_c"),
            ("1abc 1e5LIMIT t.1e5 1.5LIMIT .5LIMIT 0x1F 1.LIMIT", "w_nw_w.w_nw_nw_w_nw"),
            ("$a a$b", "w_w"),
            ("? ?? @a @'x' @@b", "$_$$_.w_.l_..w"),
            (":a := ::b : c", "$_.._.$_._w"),
            ("_utf8'a' N'b' x'00'", "wl_wl_wl"),
        ],
    );
}

#[test]
fn what_never_ends() {
    check_kinds(
        Postgres,
        &[
            (
                "a\n  'é''",
                "the string that begins at line 2, column 3 is never closed: close it with '",
            ),
            (
                "é \"a",
                "the quoted name that begins at line 1, column 3 is never closed: close it with \"",
            ),
            (
                "$a$ $b$",
                "the dollar-quoted string that begins at line 1, column 1 is never closed: close it with $a$",
            ),
            (
                "/* /* */",
                "the comment that begins at line 1, column 1 is never closed: close it with */",
            ),
            ("a {{b", "the {{ at line 1, column 3 has no }}: write {{column}}"),
            ("E'\\", "the string that begins at line 1, column 1 is never closed: close it with '"),
            (
                "'a'\n'b",
                "the string that begins at line 1, column 1 is never closed: close it with '",
            ),
            ("a\n\0", "NUL character at line 2, column 1: remove it"),
        ],
    );
    check_kinds(
        Mysql,
        &[
            (
                "'a\\'",
                "the string that begins at line 1, column 1 is never closed: close it with '",
            ),
            ("\"a", "the string that begins at line 1, column 1 is never closed: close it with \""),
            (
                "`a",
                "the quoted name that begins at line 1, column 1 is never closed: close it with `",
            ),
            ("/*", "the comment that begins at line 1, column 1 is never closed: close it with */"),
            (
                "\n /*!50000 LIMIT 1 */",
                "executable comment at line 2, column 2: some servers run its content and others do not, so write the content out or remove the comment",
            ),
            (
                "/*M!100100 x */",
                "executable comment at line 1, column 1: some servers run its content and others do not, so write the content out or remove the comment",
            ),
        ],
    );
    let long = " ".repeat(MAX_SQL_BYTES + 1);
    assert_eq!(
        Query::parse(Postgres, &long),
        Err(TemplateError::TooLong { bytes: MAX_SQL_BYTES + 1 })
    );
}
