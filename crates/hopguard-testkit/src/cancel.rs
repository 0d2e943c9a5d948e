//! What happens when a caller goes away in the middle?

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// More polls than any future under test needs.
const MOST: usize = 10_000;

/// Drops a fresh future after 0, 1, 2, ... polls until one runs to its end, and calls `after` with the number
/// of polls after each. Returns how many polls the whole run took.
///
/// It runs on whatever runtime it is awaited on, so the futures may do real I/O.
///
/// # Panics
///
/// If a future is still pending after ten thousand polls.
pub async fn at_every_poll<F: Future>(
    mut make: impl FnMut() -> F,
    mut after: impl AsyncFnMut(usize),
) -> usize {
    for allowed in 0..MOST {
        if runs_within(make(), allowed).await {
            after(allowed).await;
            return allowed;
        }
        after(allowed).await;
    }
    panic!("still pending after {MOST} polls");
}

/// True if the future ended within `allowed` polls; it is dropped in either case.
async fn runs_within<F: Future>(future: F, allowed: usize) -> bool {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(move |cx| {
        if polls == allowed {
            return Poll::Ready(false);
        }
        polls += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            // Without a wake-up there would be no further poll after which to drop it.
            Poll::Pending if polls == allowed => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn every_point_is_tried_once() {
        let (begun, ended) = (Cell::new(0), Cell::new(0));
        let mut dropped_after = Vec::new();
        let polls = at_every_poll(
            || async {
                begun.set(begun.get() + 1);
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                ended.set(ended.get() + 1);
            },
            async |polls| dropped_after.push(polls),
        )
        .await;
        assert_eq!((polls, begun.get(), ended.get()), (3, 3, 1));
        assert_eq!(dropped_after, [0, 1, 2, 3]);
    }
}
