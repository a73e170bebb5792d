//! What a poller does, in a line for whoever reads a function's log. Pure; it must never hold a
//! secret: of a URL it has host and path, and nothing where these cannot be told from the rest.

use std::fmt;

use kipper_trigger::{Kind, one_line};

use crate::config::Config;

/// Longest part of a statement, in characters.
const MAX_STATEMENT: usize = 120;

/// A [`Config`], for people.
pub(crate) struct Summary<'a>(pub(crate) &'a Config);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.0;
        write!(
            f,
            "starting: {} events of {}/{}",
            config.trigger, config.namespace, config.function
        )?;
        if let Some(place) = place(&config.source_url.0) {
            write!(f, " from {place}")?;
        }
        match config.trigger {
            Kind::Postgres | Kind::Mysql => field(f, "query", config.query.as_deref())?,
            Kind::Redis => field(f, "list", config.list.as_deref())?,
            Kind::Minio => field(f, "bucket", config.bucket.as_deref())?,
        }
        let (held, concurrency) = (config.max_held, config.concurrency);
        write!(f, "; {concurrency} handled at a time, at most {held} held; ")?;
        match (config.trigger, &config.mark_done) {
            (Kind::Redis | Kind::Minio, _) => f.write_str("a handled event is removed"),
            (_, Some(statement)) => write!(f, "mark-done: {}", clipped(statement)),
            (_, None) => f.write_str("no mark-done: this pod alone remembers what was handled"),
        }
    }
}

fn field(f: &mut fmt::Formatter<'_>, name: &str, value: Option<&str>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, "; {name}: {}", clipped(value)))
}

fn clipped(text: &str) -> String {
    let line = one_line(text);
    match line.char_indices().nth(MAX_STATEMENT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Host, port and path of a URL. A password may hold whatever ends it elsewhere: where two ways to read
/// the URL differ, nothing is said.
fn place(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let before = |text: &'_ str| text.find(['?', '#']).unwrap_or(text.len());
    let after = |text: &'_ str| text.rfind('@').map_or(0, |at| at + 1);
    let path = &rest[..before(rest)];
    let place = &path[after(path)..];
    let other = &rest[after(rest)..];
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:/,[]".contains(c);
    let agrees = place == &other[..before(other)];
    (agrees && !place.is_empty() && place.chars().all(is_plain)).then_some(place)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[track_caller]
    fn check(flags: &[&str], expected: &str) {
        let fixed = ["x", "--function=orders", "--namespace=shop"];
        let config = Config::try_parse_from(fixed.iter().chain(flags)).unwrap();
        assert_eq!(Summary(&config).to_string(), expected);
    }

    #[test]
    fn a_line_says_what_is_polled_and_how_it_is_marked() {
        check(
            &[
                "--trigger=postgres",
                "--source-url=postgres://me:s3cret@db:5432/shop?sslmode=require",
                "--query=SELECT *\n  FROM orders",
                "--mark-done=UPDATE orders SET done = true WHERE id = {{id}}",
                "--concurrency=4",
                "--drain-token=0123456789abcdef",
            ],
            "starting: postgres events of shop/orders from db:5432/shop; query: SELECT * FROM orders; \
             4 handled at a time, at most 256 held; mark-done: UPDATE orders SET done = true WHERE \
             id = {{id}}",
        );
        let long = format!("--query=SELECT {}", "x".repeat(200));
        check(
            &["--trigger=mysql", "--source-url=mysql://me:s3cret@db/shop", &long],
            &format!(
                "starting: mysql events of shop/orders from db/shop; query: SELECT {}…; 8 handled at \
                 a time, at most 256 held; no mark-done: this pod alone remembers what was handled",
                "x".repeat(113)
            ),
        );
        check(
            &["--trigger=redis", "--source-url=rediss://:s3cret@cache", "--list=jobs"],
            "starting: redis events of shop/orders from cache; list: jobs; 8 handled at a time, at \
             most 256 held; a handled event is removed",
        );
        check(
            &["--trigger=minio", "--source-url=http://store:9000", "--bucket=photos"],
            "starting: minio events of shop/orders from store:9000; bucket: photos; 8 handled at a \
             time, at most 256 held; a handled event is removed",
        );
    }

    #[test]
    fn no_part_of_a_password_is_a_place() {
        for (url, expected) in [
            ("postgres://u:p@h/db", Some("h/db")),
            ("postgres://h1:1,h2:2/db", Some("h1:1,h2:2/db")),
            ("postgres://u:p/w@h/db", Some("h/db")),
            ("postgres://u:p@w@h/db", Some("h/db")),
            ("postgres://u:p?w@h/db", None),
            ("postgres://u:p#w@h/db", None),
            ("postgres://h/db?password=ab@cd", None),
            ("postgres://h/db?password=ab", Some("h/db")),
            ("postgres://u:p@h/d%62", None),
            ("s3cret", None),
            ("redis://", None),
        ] {
            assert_eq!(place(url), expected, "{url}");
        }
    }
}
