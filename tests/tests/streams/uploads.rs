//! Uploads end with their tokens, also those that go on after their answer, or that nobody reads.

use hopguard_core::seconds;

use crate::rig::{LIFE, Served};

#[tokio::test]
async fn a_slow_upload_ends_and_the_handler_hears_of_it() {
    let served = Served::new().await;
    let mut client =
        served.open("POST /upload", "connection: close\r\ncontent-length: 1000\r\n\r\n12345").await;
    while served.codes().is_empty() {
        tokio::task::yield_now().await;
    }
    client.send("67890").await;
    served.advance(seconds(LIFE));
    let all = client.closed().await;
    assert!(all.starts_with("HTTP/1.1 401"), "{all}");
    let end = served.seen.next_end().await;
    assert!(end.contains("expired"), "{end}");
    served.ended("stream_expired", Some(401)).await;
}

#[tokio::test]
async fn an_upload_that_goes_on_after_the_answer_ends_too() {
    for withdrawn in [true, false] {
        let served = Served::new().await;
        let mut client = served.open("POST /answer-first", "content-length: 1000\r\n\r\n12345").await;
        client.until("started").await;
        assert_eq!(served.codes(), ["admitted"], "its answer is whole, and its upload goes on");
        if withdrawn {
            served.withdraw(served.withdrawals().remove(0));
        } else {
            served.advance(seconds(LIFE));
        }
        let (end, code) = (served.seen.next_end().await, if withdrawn { "withdrawn" } else { "expired" });
        assert!(end.contains(code), "{end}");
        served.ended(&format!("stream_{code}"), Some(200)).await;
    }
}

/// Nobody asks it for a frame that could tell that its time is up, and its place in the audit comes free all the same.
#[tokio::test]
async fn an_upload_that_is_kept_and_never_read_ends_too() {
    for (change, code) in
        [("time", "stream_expired"), ("withdrawn", "stream_withdrawn"), ("dropped", "completed")]
    {
        let served = Served::new().await;
        let mut client = served.open("POST /keep", "content-length: 1000\r\n\r\n12345").await;
        client.until("started").await;
        assert_eq!(served.codes(), ["admitted"], "its answer is whole, and its upload goes on");
        match change {
            "time" => served.advance(seconds(LIFE)),
            "withdrawn" => served.withdraw(served.withdrawals().remove(0)),
            _ => served.seen.0.kept.lock().unwrap().clear(),
        }
        served.ended(code, Some(200)).await;
        served.seen.0.kept.lock().unwrap().clear();
        assert_eq!(served.codes().len(), 2, "one outcome");
    }
}

/// Its outcome is written once it is whole, or once its caller has gone away.
#[tokio::test]
async fn an_upload_that_goes_on_after_the_answer_is_waited_for() {
    for whole in [true, false] {
        let served = Served::new().await;
        let mut client = served.open("POST /answer-first", "content-length: 10\r\n\r\n12345").await;
        client.until("started").await;
        assert_eq!(served.codes(), ["admitted"]);
        if whole {
            // The server does not tell the handler that this was all, before the next request comes.
            client.send("67890").await;
        } else {
            drop(client);
            assert_ne!(served.seen.next_end().await, "whole");
        }
        served.ended("completed", Some(200)).await;
    }
}

#[tokio::test]
async fn a_quick_upload_arrives_whole() {
    let served = Served::new().await;
    let client = served.open("POST /upload", "connection: close\r\ncontent-length: 5\r\n\r\n12345").await;
    assert!(client.closed().await.ends_with("5 bytes"));
    assert_eq!(served.seen.next_end().await, "whole");
    served.ended("completed", Some(200)).await;
}
