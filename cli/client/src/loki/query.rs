//! A question as Loki reads it. Pure.

use crate::logs::Query;

/// LogQL for every line of a function that contains the text that is searched.
pub(super) fn logql(namespace: &str, function: &str, query: &Query) -> String {
    let app = quoted(function);
    let selector = format!("{{namespace={}, app={app}}}", quoted(namespace));
    match &query.search {
        None => selector,
        Some(search) => format!("{selector} |~ {}", quoted(&search.pattern())),
    }
}

/// Path and query of one page, newest line first. Times are nanoseconds since 1970, and `end` itself
/// is not in the range.
pub(super) fn path(logql: &str, start: u64, end: u64, limit: usize) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("query", logql)
        .append_pair("start", &start.to_string())
        .append_pair("end", &end.to_string())
        .append_pair("limit", &limit.to_string())
        .append_pair("direction", "backward")
        .finish();
    format!("/loki/api/v1/query_range?{query}")
}

/// A string of LogQL, which is one of Go (The Go Programming Language Specification, "String
/// literals"): quotes, backslashes and control characters are escaped, all else stands for itself.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn check(search: Option<&str>, expected: &str) {
        let mut query = Query::function("hello", Duration::from_secs(60));
        query.search = search.map(|text| text.parse().unwrap());
        assert_eq!(logql("shop-dev", "hello", &query), expected);
    }

    #[test]
    fn a_search_is_for_text_and_no_part_of_the_query() {
        check(None, r#"{namespace="shop-dev", app="hello"}"#);
        let pattern = r#"{namespace="shop-dev", app="hello"} |~ "(?i)a\\.\\*\\[b\\]""#;
        check(Some("a.*[b]"), pattern);
        check(
            Some("\"} |= `x` \\ \t é"),
            r#"{namespace="shop-dev", app="hello"} |~ "(?i)\"\\} \\|= `x` \\\\ \u0009 é""#,
        );
    }

    #[test]
    fn a_page_is_asked_for_from_its_end() {
        assert_eq!(
            path("{app=\"a b\"} |= \"&\"", 1, 2, 3),
            "/loki/api/v1/query_range?query=%7Bapp%3D%22a+b%22%7D+%7C%3D+%22%26%22&start=1&end=2\
             &limit=3&direction=backward"
        );
    }
}
