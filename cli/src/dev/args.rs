//! The flags of `kip dev`.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::Args as ClapArgs;
use humantime::parse_duration;
use kipper_api::env_name;

/// Shortest polling interval: below it the player would mostly measure itself.
const MIN_POLLING_INTERVAL: Duration = Duration::from_millis(100);
/// Longest of every duration: far beyond a working day, far below an overflow.
const MAX_DURATION: Duration = Duration::from_secs(30 * 24 * 3600);

/// Run functions on this machine, as a cluster would: from zero, up, and back to zero.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// A .js, .mjs, .cjs or .py file, a .yaml file with Functions, or a folder of them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub sources: Vec<PathBuf>,

    /// Port to listen on; 0 picks a free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,

    /// Scale to zero after this time without a request [default: the function's own]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub idle_timeout: Option<Duration>,

    /// Environment variable for every function; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,

    /// Do not restart functions when their files change
    #[arg(long)]
    pub no_watch: bool,

    /// How often activity and metrics are polled (a cluster: 30 s)
    #[arg(long, value_name = "DURATION", value_parser = polling_interval, default_value = "1s")]
    pub polling_interval: Duration,

    /// How long the highest recommendation counts before scaling down (a cluster: 5 min)
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub scale_down_window: Duration,

    /// How long running requests may take when a process stops
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    pub grace: Duration,

    /// Node to use
    #[arg(long, value_name = "PROGRAM", default_value = "node")]
    pub node: PathBuf,

    /// Python to use
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    pub python: PathBuf,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if duration > MAX_DURATION {
        return Err("is longer than 30 days".to_owned());
    }
    Ok(duration)
}

fn polling_interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < MIN_POLLING_INTERVAL {
        return Err("is shorter than 100 ms".to_owned());
    }
    Ok(interval)
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("is not NAME=VALUE")?;
    env_name::check(name).map_err(|error| format!("name {error}"))?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Example {
        #[command(flatten)]
        args: Args,
    }

    fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
        Example::try_parse_from([&["dev"], flags].concat()).map(|example| example.args)
    }

    #[test]
    fn a_source_is_enough() {
        let args = parse(&["hello.js"]).unwrap();
        assert_eq!((args.port, args.host.to_string().as_str()), (8080, "127.0.0.1"));
        assert_eq!(args.idle_timeout, None);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for flags in [
            &[][..],
            &["--port", "70000", "a.js"],
            &["--env", "NOVALUE", "a.js"],
            &["--env", "PORT=1", "a.js"],
            &["--env", "1A=1", "a.js"],
            &["--idle-timeout", "10", "a.js"],
            &["--polling-interval", "1ms", "a.js"],
            &["--grace", "400days", "a.js"],
        ] {
            parse(flags).unwrap_err();
        }
        let args = parse(&["a.js", "--env", "A=b=c", "--env", "B="]).unwrap();
        let expected = [("A", "b=c"), ("B", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(args.env, expected);
    }
}
