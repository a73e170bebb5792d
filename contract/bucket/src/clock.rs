//! The server's clock, as far as its answers tell it.
//!
//! Leases are written and judged by the server's time alone; clocks of pods are never compared.
//! `Date` has whole seconds and is older than its arrival, so what is known is an interval.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// What `Date` leaves out.
const RESOLUTION_MS: u64 = 1_000;
/// How far a service's clock may be ahead of this machine's. Leases are written by it: one that was
/// written in a year far away would keep its event from everybody once the clock is right again.
const MAX_AHEAD: Duration = Duration::from_secs(366 * 24 * 3600);
/// The last millisecond of the year 9999, the last that RFC 3339 can write.
const LAST_MS: u64 = 253_402_300_799_999;

/// A service whose clock nobody can reckon with.
#[derive(Debug, thiserror::Error)]
#[error("the service's clock is wrong: it says {0}")]
pub(crate) struct AbsurdDate(String);

/// A time that somebody else says, in milliseconds since 1970: one that can be written.
pub fn bounded_ms(time_ms: u64) -> u64 {
    time_ms.min(LAST_MS)
}

/// A time that [`bounded_ms`] has seen, as RFC 3339 writes it.
pub fn rfc3339(time_ms: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(bounded_ms(time_ms));
    humantime::format_rfc3339_millis(time).to_string()
}

/// The latest answer of a server, and when it was asked for and came.
#[derive(Clone, Copy, Debug)]
struct Reading {
    date_ms: u64,
    asked: Instant,
    answered: Instant,
}

/// Reads the time from every answer; clones share what they read.
#[derive(Clone, Default)]
pub struct ServerClock {
    latest: Arc<Mutex<Option<Reading>>>,
}

impl ServerClock {
    /// Milliseconds since 1970 that the server's clock shows at least, if it was ever read.
    pub fn at_least(&self) -> Option<u64> {
        let reading = self.reading()?;
        Some(reading.date_ms + millis(reading.answered.elapsed()))
    }

    /// Milliseconds since 1970 that the server's clock shows at most.
    pub fn at_most(&self) -> Option<u64> {
        let reading = self.reading()?;
        Some(reading.date_ms + RESOLUTION_MS + millis(reading.asked.elapsed()))
    }

    fn reading(&self) -> Option<Reading> {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what an answer says. What is no date says nothing.
    pub(crate) fn read(&self, date: &str, asked: Instant) -> Result<(), AbsurdDate> {
        let Ok(time) = httpdate::parse_http_date(date) else { return Ok(()) };
        let Ok(since) = time.duration_since(UNIX_EPOCH) else { return Ok(()) };
        if time.duration_since(SystemTime::now()).is_ok_and(|ahead| ahead > MAX_AHEAD) {
            return Err(AbsurdDate(date.to_owned()));
        }
        let reading = Reading { date_ms: millis(since), asked, answered: Instant::now() };
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
        Ok(())
    }
}

impl fmt::Debug for ServerClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerClock")
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_time_is_an_interval_around_the_date() {
        let clock = ServerClock::default();
        assert_eq!((clock.at_least(), clock.at_most()), (None, None));
        let asked = Instant::now();
        clock.read("Thu, 01 Jan 1970 00:01:40 GMT", asked).unwrap();
        let (least, most) = (clock.at_least().unwrap(), clock.at_most().unwrap());
        assert!((100_000..=most).contains(&least), "{least}");
        assert!(most >= 101_000, "{most}");
        clock.read("no date", asked).unwrap();
        assert!(clock.at_least().unwrap() >= least);
    }

    #[test]
    fn a_clock_that_is_out_of_its_mind_is_not_believed() {
        let clock = ServerClock::default();
        for date in ["Fri, 31 Dec 9999 23:59:59 GMT", "Sat, 01 Jan 2400 00:00:00 GMT"] {
            let error = clock.read(date, Instant::now()).unwrap_err();
            assert!(error.to_string().contains(date), "{error}");
        }
        assert_eq!(clock.at_least(), None);
    }

    #[test]
    fn any_time_can_be_written() {
        for (time_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (LAST_MS, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(time_ms), text);
        }
    }
}
