//! Registries that fail, and connections that break.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::image::{Content, noise, sha};
use super::server::{Reply, Server};
use super::sink::{MemorySink, pull_into};
use crate::{Error, LayerEvent};

const SIZE: usize = 1_000_000;

fn one_layer() -> (Content, Vec<u8>, String) {
    let layer = noise(1, SIZE);
    let digest = sha(&layer);
    (Content::image(std::slice::from_ref(&layer)), layer, digest)
}

/// Serves blobs of about a layer's size by `answer`, everything else well.
async fn with_layer(
    answer: impl Fn(usize, Reply) -> Reply + Send + Sync + 'static,
) -> (Server, String) {
    let (content, _, digest) = one_layer();
    let (path, tries) = (format!("/blobs/{digest}"), AtomicUsize::new(0));
    let server = Server::start(move |request| {
        let good = content.answer(request);
        if request.target.ends_with(&path) {
            answer(tries.fetch_add(1, Ordering::SeqCst), good)
        } else {
            good
        }
    })
    .await;
    (server, digest)
}

fn assert_complete(sink: &MemorySink, digest: &str) {
    let state = sink.state();
    assert_eq!(state.layers.len(), 1);
    assert_eq!(sha(&state.layers[digest]), digest);
    assert!(state.partial.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_layer_resumes_where_it_broke() {
    let (server, digest) = with_layer(|n, good| match n {
        0 => good.cut_after(300_000),
        1 => good.cut_after(400_000),
        _ => good,
    })
    .await;
    let sink = MemorySink::default();
    pull_into(&sink, &server).await.unwrap();
    assert_complete(&sink, &digest);
    let ranges: Vec<_> = server
        .seen()
        .iter()
        .filter(|r| r.target.ends_with(&digest))
        .map(|r| r.range_start())
        .collect();
    assert_eq!(ranges, [None, Some(300_000), Some(700_000)]);
    assert_eq!(sink.state().resets, 0);
    let retried = |e: &&LayerEvent| matches!(e, LayerEvent::Retrying { .. });
    assert_eq!(sink.state().events.iter().filter(retried).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_series_of_breaks_is_no_failure_while_bytes_come() {
    let (server, digest) = with_layer(|_, good| good.cut_after(100_000)).await;
    let sink = MemorySink::default();
    pull_into(&sink, &server).await.unwrap();
    assert_complete(&sink, &digest);
    assert_eq!(server.count("GET", &digest), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ignores_ranges_starts_over() {
    let (content, layer, digest) = one_layer();
    let tries = AtomicUsize::new(0);
    let path = format!("/blobs/{digest}");
    let server = Server::start(move |request| {
        if !request.target.ends_with(&path) {
            return content.answer(request);
        }
        let whole = Reply::new(200, layer.clone());
        match tries.fetch_add(1, Ordering::SeqCst) {
            0 => whole.cut_after(300_000),
            _ => whole,
        }
    })
    .await;
    let sink = MemorySink::default();
    pull_into(&sink, &server).await.unwrap();
    assert_complete(&sink, &digest);
    assert_eq!(sink.state().resets, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_range_is_not_believed() {
    let (server, digest) = with_layer(|n, good| match n {
        0 => good.cut_after(300_000),
        1 => {
            let mut other = good;
            other.headers.clear();
            other.header("Content-Range", "bytes 0-999999/1000000")
        }
        _ => good,
    })
    .await;
    let sink = MemorySink::default();
    pull_into(&sink, &server).await.unwrap();
    assert_complete(&sink, &digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_pull_is_gone_on_with() {
    let (server, digest) = with_layer(|_, good| good).await;
    let sink = MemorySink::default();
    let begun = noise(1, 400_000);
    sink.state().partial.insert(digest.clone(), begun);
    pull_into(&sink, &server).await.unwrap();
    assert_complete(&sink, &digest);
    let seen = server.seen();
    let request = seen.iter().find(|r| r.target.ends_with(&digest)).unwrap();
    assert_eq!(request.range_start(), Some(400_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn corrupt_leftovers_are_fetched_again() {
    for kept in [400_000, SIZE, SIZE + 5] {
        let (server, digest) = with_layer(|_, good| good).await;
        let sink = MemorySink::default();
        sink.state().partial.insert(digest.clone(), vec![0; kept]);
        pull_into(&sink, &server).await.unwrap();
        assert_complete(&sink, &digest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_waits_while_its_corrupt_parent_is_fetched_again() {
    let layers: Vec<Vec<u8>> = (0..6).map(|i| noise(i, SIZE >> i)).collect();
    let content = Content::image(&layers);
    let server = Server::start(move |request| content.answer(request)).await;
    let sink = MemorySink::default();
    for layer in [&layers[0], &layers[2]] {
        let corrupt = vec![0; layer.len()];
        sink.state().partial.insert(sha(layer), corrupt);
    }
    pull_into(&sink, &server).await.unwrap();
    assert_eq!(sink.state().layers.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_refused_after_a_second_try() {
    let (server, digest) = with_layer(|_, mut good| {
        good.body[5] ^= 1;
        good
    })
    .await;
    let sink = MemorySink::default();
    let error = pull_into(&sink, &server).await.unwrap_err();
    assert!(
        matches!(&error, Error::DigestMismatch { expected, .. } if expected.as_ref() == digest),
        "{error}"
    );
    assert_eq!(server.count("GET", &digest), 2);
    assert!(sink.state().layers.is_empty());
    // Nothing that names the image is left of a pull that failed.
    assert_eq!(sink.state().blobs.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_long_is_cut_off() {
    for announced in [true, false] {
        let (server, digest) = with_layer(move |_, mut good| {
            good.body.extend([0; 5000]);
            let longer = Reply::new(200, good.body);
            if announced {
                longer
            } else {
                longer.without_length()
            }
        })
        .await;
        let sink = MemorySink::default();
        let error = pull_into(&sink, &server).await.unwrap_err();
        assert!(
            matches!(error, Error::SizeMismatch { expected: 1_000_000, actual, .. } if actual > 1_000_000),
            "{error}"
        );
        assert_eq!(server.count("GET", &digest), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_short_ends_the_pull() {
    let (server, _) = with_layer(|_, mut good| {
        good.body.truncate(900_000);
        Reply::new(200, good.body)
    })
    .await;
    let error = pull_into(&MemorySink::default(), &server)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::SizeMismatch {
                actual: 900_000,
                ..
            }
        ),
        "{error}"
    );

    // Without an announced length it looks like a break each time, always at the same place.
    let (server, digest) = with_layer(|_, mut good| {
        good.body.truncate(good.body.len() - 100_000);
        Reply::new(200, good.body).without_length()
    })
    .await;
    let error = pull_into(&MemorySink::default(), &server)
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Network { .. } | Error::SizeMismatch { .. }),
        "{error}"
    );
    assert!(server.count("GET", &digest) <= 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_errors_are_waited_out() {
    let (content, _, digest) = one_layer();
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |request| match tries.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Reply::new(503, ""),
        4 => Reply::new(500, ""),
        _ => content.answer(request),
    })
    .await;
    let sink = MemorySink::default();
    pull_into(&sink, &server).await.unwrap();
    assert_complete(&sink, &digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_server_errors_end_the_pull() {
    let server = Server::start(|_| Reply::new(502, "<html>bad gateway")).await;
    let error = pull_into(&MemorySink::default(), &server)
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Server { status: 502, .. }),
        "{error}"
    );
    assert_eq!(server.count("HEAD", ""), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured() {
    let (content, _, digest) = one_layer();
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |request| match tries.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(429, "").header("Retry-After", "1"),
        _ => content.answer(request),
    })
    .await;
    let (sink, started) = (MemorySink::default(), Instant::now());
    pull_into(&sink, &server).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_complete(&sink, &digest);

    let server = Server::start(|_| Reply::new(429, "").header("Retry-After", "3600")).await;
    let error = pull_into(&MemorySink::default(), &server)
        .await
        .unwrap_err();
    let after = Some(Duration::from_secs(3600));
    assert!(
        matches!(&error, Error::TooManyRequests { retry_after, .. } if *retry_after == after),
        "{error}"
    );
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_pull_at_once() {
    let (server, digest) = with_layer(|_, good| good).await;
    let sink = MemorySink::default();
    sink.state().full_at = Some(100_000);
    let error = pull_into(&sink, &server).await.unwrap_err();
    assert!(matches!(error, Error::Sink { .. }), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "no space left on device");
    assert_eq!(server.count("GET", &digest), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_told_at_once() {
    let server = Server::start(|_| Reply::new(500, "")).await;
    let host = server.host();
    drop(server);
    let client = super::sink::client(crate::HostConfigs::new());
    let started = Instant::now();
    let reference = crate::parse_reference(&format!("{host}/a")).unwrap();
    let error = client.resolve(&reference).await.unwrap_err();
    assert!(
        matches!(&error, Error::Network { host: h, .. } if *h == host),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(1));
}
