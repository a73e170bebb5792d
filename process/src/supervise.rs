//! Work of one tenant that panics, beside the work of others.
//!
//! A panic is a mistake in this program or in one of its libraries, met by what one tenant's server
//! said. It ends the work it happened in, which then begins anew after a pause, and never the process.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use crate::backoff::Backoff;

/// The result of `work`, or what it said when it panicked. Its future is dropped then.
///
/// # Errors
/// The panic's message.
pub async fn caught<F: Future>(work: F) -> Result<F::Output, String> {
    let mut work = pin!(work);
    // What the work had a hold of is dropped with it, or guarded by locks that know no poison.
    poll_fn(move |ctx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(ctx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(message(&*panic))),
    })
    .await
}

/// Does `work` until it ends by itself: after a panic, which `panicked` is told, once more.
pub async fn until_it_ends<F: Future>(
    mut backoff: Backoff,
    mut panicked: impl FnMut(&str),
    mut work: impl FnMut() -> F,
) -> F::Output {
    loop {
        match caught(work()).await {
            Ok(output) => return output,
            Err(words) => panicked(&words),
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

    #[tokio::test(start_paused = true)]
    async fn what_panics_begins_anew_and_its_words_are_told() {
        let (mut begun, mut told) = (0, Vec::new());
        let told_panics = |words: &str| told.push(words.to_owned());
        let output = until_it_ends(BACKOFF, told_panics, || {
            begun += 1;
            let turn = begun;
            async move {
                tokio::task::yield_now().await;
                assert!(turn > 2, "turn {turn}");
                turn
            }
        })
        .await;
        assert_eq!((output, told), (3, vec!["turn 1".to_owned(), "turn 2".to_owned()]));
    }

    #[tokio::test]
    async fn what_ends_well_is_handed_on() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        let panic = async { std::panic::panic_any(7) };
        assert_eq!(caught(panic).await, Err::<(), _>("a panic without words".to_owned()));
    }
}
