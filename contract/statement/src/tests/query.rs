//! Queries that are accepted, and what is refused in one.

use super::super::{
    Dialect::{self, Mysql, Postgres},
    Query,
};

#[track_caller]
fn check_query(dialect: Dialect, table: &[(&str, &str)]) {
    for (sql, expected) in table {
        let query = Query::parse(dialect, sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(query.text(), *expected, "{sql}");
    }
}

#[track_caller]
fn check_query_refused(dialect: Dialect, table: &[(&str, &str)]) {
    for (sql, expected) in table {
        let error = Query::parse(dialect, sql).expect_err(sql).to_string();
        assert!(error.starts_with(expected), "{sql}: {error}");
    }
}

#[test]
fn accepted_queries() {
    let both = [
        ("SELECT * FROM t;\n", "SELECT * FROM t"),
        ("\n select 1 -- all of it", "select 1 -- all of it"),
        ("SELECT 1 --\n;-- x", "SELECT 1 --"),
        (
            "-- why\nWITH c AS (SELECT * FROM t LIMIT 5) SELECT * FROM c",
            "-- why\nWITH c AS (SELECT * FROM t LIMIT 5) SELECT * FROM c",
        ),
        ("TABLE t", "TABLE t"),
        ("VALUES (1), (2)", "VALUES (1), (2)"),
        ("((SELECT 1))", "((SELECT 1))"),
        ("SELECT (SELECT a FROM t LIMIT 1) FROM u", "SELECT (SELECT a FROM t LIMIT 1) FROM u"),
        (
            "SELECT 1 FROM (SELECT 1 FROM t LIMIT 5 OFFSET 2) x",
            "SELECT 1 FROM (SELECT 1 FROM t LIMIT 5 OFFSET 2) x",
        ),
        (
            "SELECT a FROM t WHERE b > ALL (SELECT c FROM u LIMIT 1)",
            "SELECT a FROM t WHERE b > ALL (SELECT c FROM u LIMIT 1)",
        ),
        (
            "SELECT t.limit, 'LIMIT 1', x AS offset FROM t /* LIMIT 1 */",
            "SELECT t.limit, 'LIMIT 1', x AS offset FROM t /* LIMIT 1 */",
        ),
        (
            "SELECT limits, for_update, '{{1,2},{3,4}}', '%{{%' FROM t",
            "SELECT limits, for_update, '{{1,2},{3,4}}', '%{{%' FROM t",
        ),
        ("SELECT ';)' FROM t", "SELECT ';)' FROM t"),
    ];
    for dialect in [Postgres, Mysql] {
        check_query(dialect, &both);
    }
    check_query(
        Postgres,
        &[
            (
                "SELECT \"limit\", E'\\' LIMIT 1', $$ LIMIT 1; $$ FROM t WHERE j ? 'a'",
                "SELECT \"limit\", E'\\' LIMIT 1', $$ LIMIT 1; $$ FROM t WHERE j ? 'a'",
            ),
            (
                "SELECT substring(a FROM 1 FOR 3), procedure FROM t",
                "SELECT substring(a FROM 1 FOR 3), procedure FROM t",
            ),
        ],
    );
    check_query(
        Mysql,
        &[
            (
                "SELECT `limit`, offset, @limit FROM t FORCE INDEX FOR ORDER BY (a) # LIMIT",
                "SELECT `limit`, offset, @limit FROM t FORCE INDEX FOR ORDER BY (a) # LIMIT",
            ),
            ("SELECT a - -b, 1--1 FROM t", "SELECT a - -b, 1--1 FROM t"),
        ],
    );
}

#[test]
fn refused_queries() {
    let both = [
        ("", "no statement"),
        ("(", "no statement"),
        ("DELETE FROM t", "the query begins with DELETE at line 1, column 1: begin with SELECT"),
        ("(UPDATE t)", "the query begins with UPDATE at line 1, column 2"),
        ("'SELECT'", "the query begins with 'SELECT' at line 1, column 1"),
        ("SELECT 1; SELECT 2", "second statement at line 1, column 11"),
        ("SELECT {{id}}", "{{id}} at line 1, column 8: a query has no row yet"),
        ("SELECT '{{id}}'", "'{{id}}' at line 1, column 8: a query has no row yet"),
        ("SELECT 1 LIMIT 5", "LIMIT at line 1, column 10: if the rows within it kept failing"),
        ("SELECT 1 limit/**/5", "LIMIT at line 1, column 10"),
        ("(SELECT 1 LIMIT 5)", "LIMIT at line 1, column 11"),
        (" ( /* x */ ( SELECT 1 ) Limit 5 ) ", "LIMIT at line 1, column 25"),
        ("(SELECT 1) LIMIT 5", "LIMIT at line 1, column 12"),
        ("(SELECT 1) UNION ALL (SELECT 2 LIMIT 5)", "LIMIT at line 1, column 32"),
        ("SELECT 1 EXCEPT (SELECT 2 LIMIT 5)", "LIMIT at line 1, column 27"),
        ("WITH c AS (SELECT 1) (SELECT * FROM c LIMIT 5)", "LIMIT at line 1, column 39"),
        ("SELECT t.as LIMIT 5", "LIMIT at line 1, column 13"),
        ("SELECT 1.LIMIT 5", "LIMIT at line 1, column 10"),
        ("SELECT .5LIMIT 5", "LIMIT at line 1, column 10"),
        ("TABLE t OFFSET 3 ROWS", "OFFSET at line 1, column 9"),
        ("SELECT 1 FETCH FIRST 5 ROWS ONLY", "FETCH at line 1, column 10"),
        ("SELECT 1 FOR UPDATE", "FOR UPDATE at line 1, column 10: a row lock would block"),
        ("SELECT 1 for share", "FOR SHARE at line 1, column 10"),
        ("SELECT 1 INTO x", "INTO at line 1, column 10: the rows go to the function"),
        ("SELECT 1) x; (SELECT 2", "second statement at line 1, column 14"),
        ("SELECT 1) x, (SELECT 2", "the ) at line 1, column 9 has no counterpart"),
        (")(", "the ) at line 1, column 1 has no counterpart"),
        ("SELECT (1", "the ( at line 1, column 8 has no counterpart"),
        ("SELECT 1 /*", "the comment that begins at line 1, column 10 is never closed"),
    ];
    for dialect in [Postgres, Mysql] {
        check_query_refused(dialect, &both);
    }
    check_query_refused(
        Postgres,
        &[
            ("SELECT $1", "$1 at line 1, column 8 is a parameter, and a query has none"),
            ("SELECT 1 OFFSET x", "OFFSET at line 1, column 10"),
            ("SELECT 1 FOR NO KEY UPDATE", "FOR NO KEY UPDATE at line 1, column 10"),
            ("SELECT 1 FOR KEY SHARE", "FOR KEY SHARE at line 1, column 10"),
        ],
    );
    check_query_refused(
        Mysql,
        &[
            ("SELECT ?", "? at line 1, column 8 is a parameter, and a query has none"),
            ("SELECT 1 LOCK IN SHARE MODE", "LOCK IN SHARE MODE at line 1, column 10"),
            ("SELECT 1 FROM t PROCEDURE ANALYSE()", "PROCEDURE at line 1, column 17"),
            ("SELECT 1 INTO OUTFILE 'x'", "INTO at line 1, column 10"),
            ("SELECT 1 /*! LIMIT 5 */", "executable comment at line 1, column 10"),
            ("SELECT 1e5LIMIT 5", "LIMIT at line 1, column 11"),
            ("SELECT 1 --;", "the -- at line 1, column 10 begins no comment"),
        ],
    );
}
