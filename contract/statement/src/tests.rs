//! Tables of what is accepted, rendered and refused; in `tests/` those of the lexer and of queries,
//! and what holds for any text.

mod lexer;
mod properties;
mod query;

use super::{
    Dialect::{self, Mysql, Postgres},
    Purpose::{MarkDone, OnFailed},
    Query, Template, TemplateError, quote_identifier,
};

#[track_caller]
fn check_template(dialect: Dialect, table: &[(&str, &str, &[&str])]) {
    for (sql, expected, parameters) in table {
        let template =
            Template::parse(dialect, sql, MarkDone).unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(template.sql(), *expected, "{sql}");
        assert_eq!(template.parameters(), *parameters, "{sql}");
    }
}

/// Each text is refused, with a message that begins so.
#[track_caller]
fn check_refused(dialect: Dialect, table: &[(&str, &str)]) {
    for (sql, expected) in table {
        let error = Template::parse(dialect, sql, MarkDone).expect_err(sql).to_string();
        assert!(error.starts_with(expected), "{sql}: {error}");
    }
}

#[test]
fn postgres_templates() {
    check_template(
        Postgres,
        &[
            (
                "UPDATE t SET s = 'x' WHERE id = {{id}}",
                "UPDATE t SET s = 'x' WHERE id = $1",
                &["id"],
            ),
            (
                "UPDATE t SET a={{ a }} WHERE id='{{id}}'::uuid AND b<>{{a}};\n-- done\n",
                "UPDATE t SET a=$1 WHERE id=$2::uuid AND b<>$3",
                &["a", "id", "a"],
            ),
            (
                "f({{Order ID}},{{\"Order ID\"}},{{\" a\"\"b \"}})",
                "f($1,$2,$3)",
                &["Order ID", "Order ID", " a\"b "],
            ),
            (
                "-{{x}} - -{{x}} @{{x}} #{{x}} a[{{i}}:{{n}}]",
                "-$1 - -$2 @$3 #$4 a[$5:$6]",
                &["x", "x", "x", "x", "i", "n"],
            ),
            ("j ? {{k}} AND j ?|ARRAY[{{k}}]", "j ? $1 AND j ?|ARRAY[$2]", &["k", "k"]),
            ("a /* {{b}} */ = {{c}}/**/-- {{d}}\n;;", "a /* {{b}} */ = $1/**/-- {{d}}\n", &["c"]),
            ("DELETE FROM q", "DELETE FROM q", &[]),
            ("  SELECT '{a}', '{\"b\":{\"c\":1}}' ", "  SELECT '{a}', '{\"b\":{\"c\":1}}' ", &[]),
            (
                "SELECT {{größe}}, {{a-b}}, {{it's}}, {{1;2}}",
                "SELECT $1, $2, $3, $4",
                &["größe", "a-b", "it's", "1;2"],
            ),
            ("x = {{\n_id\n}}", "x = $1", &["_id"]),
        ],
    );
}

#[test]
fn mysql_templates() {
    check_template(
        Mysql,
        &[
            (
                "UPDATE `t` SET a = {{a}}, b = \"{{b}}\" WHERE id = '{{ id }}';",
                "UPDATE `t` SET a = ?, b = ? WHERE id = ?",
                &["a", "b", "id"],
            ),
            ("x--{{a}} # {{b}}\n", "x--? # {{b}}\n", &["a"]),
            ("SET @n := {{n}}", "SET @n := ?", &["n"]),
            ("now() + INTERVAL '{{n}}' DAY", "now() + INTERVAL ? DAY", &["n"]),
        ],
    );
}

#[test]
fn refused_templates() {
    let both = [
        (" -- {{id}}\n", "no statement"),
        (";", "no statement"),
        ("a; b", "second statement at line 1, column 4:"),
        ("a;; /* x */ {{b}}", "second statement at line 1, column 13:"),
        ("{{ }}", "the placeholder at line 1, column 1 has no name"),
        ("{{\"\"}}", "the placeholder at line 1, column 1 has no name"),
        ("'{{}}'", "the placeholder at line 1, column 1 has no name"),
        ("{{{a}}}", "{{{a}} at line 1, column 1 is not the name of a column"),
        ("{{a {{b}}", "{{a {{b}} at line 1, column 1 is not the name of a column"),
        ("{{a}b}}", "{{a}b}} at line 1, column 1 is not the name of a column"),
        ("{{\"a}}", "{{\"a}} at line 1, column 1 is not the name of a column"),
        ("{{\"a\"b\"}}", "{{\"a\"b\"}} at line 1, column 1 is not the name of a column"),
        ("x = 'order {{id}}'", "placeholder in a longer literal at line 1, column 5"),
        ("x = ' {{id}}'", "placeholder in a longer literal at line 1, column 5"),
        ("x = '{{a}}{{b}}'", "placeholder in a longer literal at line 1, column 5"),
        ("x = '{{1,2},{3,4}}'", "placeholder in a longer literal at line 1, column 5"),
        ("x = '{{it''s}}'", "placeholder in a longer literal at line 1, column 5"),
        ("x = '{{id'", "placeholder in a longer literal at line 1, column 5"),
        ("t.{{id}} = 1", "placeholder as or in a name at line 1, column 3"),
        ("{{t}}.id = 1", "placeholder as or in a name at line 1, column 1"),
        ("foo{{id}}", "{{id}} at line 1, column 4 touches foo: put a space"),
        ("{{id}}bar", "{{id}} at line 1, column 1 touches bar: put a space"),
        ("'{{id}}'and", "'{{id}}' at line 1, column 1 touches and: put a space"),
        ("LIKE'{{id}}'", "'{{id}}' at line 1, column 5 touches LIKE: put a space"),
        ("N'{{id}}'", ""),
        ("1{{id}}", "{{id}} at line 1, column 2 touches 1: put a space"),
        ("{{id}}1", "{{id}} at line 1, column 1 touches 1: put a space"),
        ("{{a}}{{b}}", "{{a}} at line 1, column 1 touches {{b}}: put a space"),
        ("{{a}}'{{b}}'", "{{a}} at line 1, column 1 touches '{{b}}': put a space"),
        ("{{a}}}", "{{a}} at line 1, column 1 touches }: put a space"),
        ("${{a}}", "{{a}} at line 1, column 2 touches $: put a space"),
        (
            "x = {{_error}}",
            "{{_error}} at line 1, column 5 is known only to the on-failed statement",
        ),
        ("x = '{{ _attempts }}'", "{{_attempts}} at line 1, column 5 is known only to"),
    ];
    for dialect in [Postgres, Mysql] {
        check_refused(dialect, &both);
    }
    check_refused(
        Postgres,
        &[
            ("x = E'{{id}}'", "placeholder in a longer literal at line 1, column 5"),
            ("x = U&'{{id}}'", "placeholder in a longer literal at line 1, column 5"),
            ("x = $${{id}}$$", "placeholder in a longer literal at line 1, column 5"),
            ("x = 'a'\n'{{id}}'", "placeholder in a longer literal at line 1, column 5"),
            ("DO $$ DELETE FROM t WHERE id = {{id}} $$", "placeholder in a longer literal"),
            ("UPDATE \"{{t}}\"", "placeholder as or in a name at line 1, column 8"),
            ("x = $1", "$1 at line 1, column 5 is a parameter that nothing is bound to"),
            ("{{id}}$", "{{id}} at line 1, column 1 touches $: put a space"),
            ("{{id}}$$x$$", "{{id}} at line 1, column 1 touches $$x$$: put a space"),
            ("{{id}}\"x\"", "{{id}} at line 1, column 1 touches \"x\": put a space"),
        ],
    );
    check_refused(
        Mysql,
        &[
            ("a --;", "the -- at line 1, column 3 begins no comment: put a space after it"),
            ("UPDATE `{{t}}`", "placeholder as or in a name at line 1, column 8"),
            ("x = \"a {{id}}\"", "placeholder in a longer literal at line 1, column 5"),
            ("x = ?", "? at line 1, column 5 is a parameter that nothing is bound to"),
            ("x = :id", ":id at line 1, column 5 is a parameter that nothing is bound to"),
            ("@{{a}}", "{{a}} at line 1, column 2 touches @: put a space"),
            ("_utf8'{{a}}'", "'{{a}}' at line 1, column 6 touches _utf8: put a space"),
            ("a /*! {{a}} */", "executable comment at line 1, column 3"),
        ],
    );
}

/// The messages in full, once per kind, because they are what a user sees.
#[test]
fn messages() {
    let long = "{{an exceedingly long\nname of a column}}";
    for (sql, expected) in [
        (
            "x = 'n {{id}}'",
            "placeholder in a longer literal at line 1, column 5: it is bound as a value, not pasted into text, so write 'text ' || {{name}}; for braces that are not a placeholder, join '{' and '{' in that way",
        ),
        (
            "{{{a}}",
            "{{{a}} at line 1, column 1 is not the name of a column: write {{column}} or {{\"column\"}}, with no braces in the name and each quote in a quoted name doubled",
        ),
        (
            "x = $2",
            "$2 at line 1, column 5 is a parameter that nothing is bound to: write {{column}}, or put the text in quotes",
        ),
        (
            "{{_error}}",
            "{{_error}} at line 1, column 1 is known only to the on-failed statement: name a column of the query",
        ),
        (
            &format!("a{long}"),
            "{{an exceedingly long na… at line 1, column 2 touches a: put a space between them, or write an operator",
        ),
    ] {
        assert_eq!(Template::parse(Postgres, sql, MarkDone).unwrap_err().to_string(), expected);
    }
    let error = Query::parse(Postgres, "SELECT 1\nLIMIT 5").unwrap_err();
    assert_eq!(
        error.to_string(),
        "LIMIT at line 2, column 1: if the rows within it kept failing, no other row would ever be \
         delivered; remove it (no more rows are fetched than can be worked on) or narrow the query \
         with WHERE"
    );
}

#[test]
fn columns_of_the_query() {
    let columns = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let sql = "UPDATE t SET e = {{_error}}, n = {{_attempts}} WHERE id = {{id}}";
    let template = Template::parse(Postgres, sql, OnFailed).unwrap();
    assert_eq!(template.parameters(), ["_error", "_attempts", "id"]);
    assert_eq!(template.check_columns(&columns(&["a", "id"])), Ok(()));
    assert_eq!(
        template.check_columns(&columns(&["ID", "a"])).unwrap_err().to_string(),
        "unknown column id: the query returns ID, a (upper and lower case letters differ)"
    );
    let template = Template::parse(Mysql, "f({{a}}, {{b}}, {{a}}, {{c}})", MarkDone).unwrap();
    assert_eq!(
        template.check_columns(&columns(&["b"])),
        Err(TemplateError::UnknownColumns { unknown: "a, c".into(), known: "b".into() })
    );
    assert_eq!(
        template.check_columns(&[]),
        Err(TemplateError::UnknownColumns { unknown: "a, b, c".into(), known: "none".into() })
    );
    let many: Vec<String> = (0..25).map(|n| format!("k{n}")).collect();
    let error = template.check_columns(&many).unwrap_err().to_string();
    assert!(error.contains("k18, k19 and 5 more"), "{error}");
}

#[test]
fn quoted_identifiers() {
    for (name, postgres, mysql) in [
        ("id", "\"id\"", "`id`"),
        ("a\"b", "\"a\"\"b\"", "`a\"b`"),
        ("a`b\\", "\"a`b\\\"", "`a``b\\`"),
        ("", "\"\"", "``"),
    ] {
        assert_eq!(quote_identifier(Postgres, name), postgres);
        assert_eq!(quote_identifier(Mysql, name), mysql);
    }
}
