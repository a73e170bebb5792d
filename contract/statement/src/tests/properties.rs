//! What holds for any text.

use proptest::prelude::*;

use super::super::{
    Dialect::{self, Mysql, Postgres},
    Purpose::OnFailed,
    Query, Template,
    lexer::{TokenKind, only_statement, tokenize},
};

/// Text made of what the lexers treat in a special way, so that most of it is nearly SQL.
fn sql_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "SELECT", "a", "b1", "LIMIT", "as", "E", "u&", "n", "1", "1.5e3", "0x", "é", "$1", "?",
            ":x", "{{id}}", "{{ Big \"x }}", "'{{id}}'", "\"{{id}}\"", "''", "'it''s'", "E'\\''",
            "$$;$$", "$t$ $t$", "\"q\"", "`q`", "-- c", "--", "# c", "/* c */", "/*", "*/", "/*!",
            "(", ")", ";", ".", "$", "@", "{", "}", "'", "\"", "\\", "-", "*", "/", "::", "||",
        ]).prop_map(str::to_owned),
        3 => prop::sample::select(vec![" ", "\n", "\r", "\t"]).prop_map(str::to_owned),
        1 => "\\PC{0,4}",
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

fn dialects() -> impl Strategy<Value = Dialect> {
    prop::sample::select(vec![Postgres, Mysql])
}

/// The tokens that a server would see, white space and all.
fn shape(dialect: Dialect, sql: &str) -> Vec<(TokenKind, String)> {
    let tokens = tokenize(dialect, sql).unwrap();
    let statement = only_statement(sql, &tokens).unwrap();
    statement.iter().map(|token| (token.kind, token.text.to_owned())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Tokens are a partition of the text.
    #[test]
    fn tokens_are_the_text(dialect in dialects(), sql in sql_text()) {
        if let Ok(tokens) = tokenize(dialect, &sql) {
            prop_assert!(tokens.iter().all(|token| !token.text.is_empty()));
            let joined: String = tokens.iter().map(|token| token.text).collect();
            prop_assert_eq!(joined, sql);
        }
    }

    /// Each placeholder becomes the parameter of its number and every other token stays what it
    /// was: nothing runs together with a parameter, and no braces are left where the server reads.
    #[test]
    fn only_placeholders_change(dialect in dialects(), sql in sql_text()) {
        let Ok(template) = Template::parse(dialect, &sql, OnFailed) else { return Ok(()) };
        let mut count = 0_usize;
        let expected: Vec<(TokenKind, String)> = shape(dialect, &sql)
            .into_iter()
            .map(|(kind, text)| {
                let literal = kind == TokenKind::Literal && text.contains("{{");
                if kind != TokenKind::Placeholder && !literal {
                    return (kind, text);
                }
                count += 1;
                let text = if dialect == Postgres { format!("${count}") } else { "?".to_owned() };
                (TokenKind::Parameter, text)
            })
            .collect();
        prop_assert_eq!(shape(dialect, template.sql()), expected);
        prop_assert_eq!(template.parameters().len(), count);
    }

    /// Without placeholders it is what was given, up to the `;`.
    #[test]
    fn text_comes_back(dialect in dialects(), sql in sql_text()) {
        let Ok(template) = Template::parse(dialect, &sql, OnFailed) else { return Ok(()) };
        if template.parameters().is_empty() {
            let rest = sql.strip_prefix(template.sql());
            prop_assert!(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(';')));
        }
    }

    /// A query stays within the parentheses that are put around it.
    #[test]
    fn nothing_breaks_out(dialect in dialects(), sql in sql_text()) {
        let Ok(query) = Query::parse(dialect, &format!("SELECT {sql}")) else { return Ok(()) };
        let around = format!("(\n{}\n) kp", query.text());
        let tokens = tokenize(dialect, &around).unwrap();
        let mut depth = 0_usize;
        for token in &tokens[..tokens.len() - 3] {
            prop_assert!(!token.is_symbol(";"));
            depth = depth + usize::from(token.is_symbol("(")) - usize::from(token.is_symbol(")"));
            prop_assert!(depth > 0);
        }
        prop_assert_eq!(depth, 1);
        prop_assert!(tokens[tokens.len() - 3].is_symbol(")"));
    }
}
