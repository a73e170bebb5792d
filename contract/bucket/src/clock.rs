//! The server's clock, as far as its answers tell it.
//!
//! Leases are written and judged by the server's time alone; clocks of pods are never compared.
//! `Date` has whole seconds and is older than its arrival, so what is known is an interval.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, UNIX_EPOCH},
};

use aws_sdk_s3::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::{
            BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
        },
    },
    error::BoxError,
};

/// What `Date` leaves out.
const RESOLUTION_MS: u64 = 1_000;

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

    fn read(&self, date: &str, asked: Instant) {
        let Ok(date) = httpdate::parse_http_date(date) else { return };
        let Ok(since) = date.duration_since(UNIX_EPOCH) else { return };
        let reading = Reading { date_ms: millis(since), asked, answered: Instant::now() };
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
    }
}

impl fmt::Debug for ServerClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerClock")
    }
}

/// When the request of this attempt left.
#[derive(Debug)]
struct Asked(Instant);

impl aws_smithy_types::config_bag::Storable for Asked {
    type Storer = aws_smithy_types::config_bag::StoreReplace<Self>;
}

impl Intercept for ServerClock {
    fn name(&self) -> &'static str {
        "ServerClock"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        cfg.interceptor_state().store_put(Asked(Instant::now()));
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (Some(date), Some(asked)) =
            (context.response().headers().get("date"), cfg.load::<Asked>())
        {
            self.read(date, asked.0);
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_an_interval_around_the_date() {
        let clock = ServerClock::default();
        assert_eq!((clock.at_least(), clock.at_most()), (None, None));
        let asked = Instant::now();
        clock.read("Thu, 01 Jan 1970 00:01:40 GMT", asked);
        let (least, most) = (clock.at_least().unwrap(), clock.at_most().unwrap());
        assert!((100_000..=most).contains(&least), "{least}");
        assert!(most >= 101_000, "{most}");
        clock.read("no date", asked);
        assert!(clock.at_least().unwrap() >= least);
    }
}
