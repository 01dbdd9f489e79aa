//! Pushing to registries that are particular, forget, break off and refuse.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use oci_spec::image::{Descriptor, Digest, MediaType};

use super::image::{noise, sha};
use super::server::{Reply, Server};
use super::sink::{client, quick};
use super::uploads::Uploads;
use crate::{
    BlobSource, BlobStream, Client, Error, HostConfigs, PushEvent, SinkError, parse_reference,
};

const LARGE: usize = 6 << 20;

/// Content in memory, given out in small pieces.
struct Memory(Vec<u8>);

impl BlobSource for Memory {
    fn open<'a>(
        &'a self,
        _: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<BlobStream, SinkError>> {
        let part = self.0[range.start as usize..range.end as usize].to_vec();
        let pieces: Vec<_> = part.chunks(100_000).map(Bytes::copy_from_slice).collect();
        async { Ok(stream::iter(pieces.into_iter().map(Ok)).boxed()) }.boxed()
    }
}

fn descriptor(bytes: &[u8]) -> Descriptor {
    let digest = Digest::try_from(sha(bytes)).unwrap();
    Descriptor::new(MediaType::ImageLayerGzip, bytes.len() as u64, digest)
}

pub async fn push_with(
    client: &Client,
    server: &Server,
    others: &[&str],
    bytes: &[u8],
) -> (Result<(), Error>, Vec<PushEvent>) {
    let host = server.host();
    let reference = parse_reference(&format!("{host}/test/app")).unwrap();
    let others: Vec<_> = others
        .iter()
        .map(|name| parse_reference(&format!("{host}/{name}")).unwrap())
        .collect();
    let pusher = client.pusher(&reference, &others).unwrap();
    let events = Mutex::new(Vec::new());
    let report = |event| events.lock().unwrap().push(event);
    let source = Memory(bytes.to_vec());
    let done = pusher.blob(&descriptor(bytes), &source, &report).await;
    let events = std::mem::take(&mut *events.lock().unwrap());
    (done, events)
}

async fn push(server: &Server, bytes: &[u8]) -> (Result<(), Error>, Vec<PushEvent>) {
    push_with(&client(HostConfigs::new()), server, &[], bytes).await
}

fn assert_there(uploads: &Uploads, bytes: &[u8]) {
    assert_eq!(uploads.state().blobs[&sha(bytes)], bytes);
}

async fn serving(uploads: &Uploads) -> Server {
    let uploads = uploads.clone();
    Server::start(move |request| uploads.answer(request)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn small_blobs_go_in_one_request_and_large_ones_are_streamed() {
    for (size, requests) in [
        (0, "HEAD POST PUT"),
        (1000, "HEAD POST PUT"),
        (LARGE, "HEAD POST PATCH PUT"),
    ] {
        let (uploads, bytes) = (Uploads::default(), noise(1, size));
        let server = serving(&uploads).await;
        let (done, events) = push(&server, &bytes).await;
        done.unwrap();
        assert_there(&uploads, &bytes);
        let methods: Vec<_> = server.seen().into_iter().map(|r| r.method).collect();
        assert_eq!(methods.join(" "), requests);
        assert_eq!(events.last(), Some(&PushEvent::Pushed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_sent() {
    let (uploads, bytes) = (Uploads::default(), noise(1, 5000));
    uploads.state().blobs.insert(sha(&bytes), bytes.clone());
    let server = serving(&uploads).await;
    let (done, events) = push(&server, &bytes).await;
    done.unwrap();
    assert_eq!(events, [PushEvent::Exists]);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_repository_hands_over_what_it_has() {
    let (uploads, bytes) = (Uploads::default(), noise(1, LARGE));
    let key = ("base/two".to_owned(), sha(&bytes));
    uploads.state().elsewhere.insert(key, bytes.clone());
    let server = serving(&uploads).await;
    let client = client(HostConfigs::new());
    let names = ["test/app", "base/one", "base/two", "base/two"];
    let (done, events) = push_with(&client, &server, &names, &bytes).await;
    done.unwrap();
    let from = "base/two".to_owned();
    assert_eq!(events, [PushEvent::Mounted { from }]);
    assert_eq!(server.count("PATCH", "") + server.count("PUT", ""), 0);
    assert!(
        uploads.state().uploads.is_empty(),
        "the first one's upload is closed"
    );

    // Nobody has this: the upload that the last one opened is used.
    let other = noise(2, 1000);
    push_with(&client, &server, &names, &other).await.0.unwrap();
    assert_there(&uploads, &other);
    assert!(uploads.state().uploads.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_upload_goes_on_where_it_broke() {
    let (uploads, bytes) = (Uploads::default(), noise(1, LARGE));
    let mine = uploads.clone();
    // Two million bytes of each request are taken.
    let server = Server::start_hungry(|_| 2_000_000, move |request| mine.answer(request)).await;
    let (done, events) = push(&server, &bytes).await;
    done.unwrap();
    assert_there(&uploads, &bytes);
    let asked: Vec<_> = server
        .seen()
        .into_iter()
        .filter(|r| r.method == "GET")
        .collect();
    assert_eq!(asked.len(), 3);
    let patches: Vec<_> = server
        .seen()
        .into_iter()
        .filter(|r| r.method == "PATCH")
        .collect();
    assert_eq!(patches[1].header("content-range"), Some("2000000-6291455"));
    assert_eq!(patches.iter().map(|p| p.bytes.len()).sum::<usize>(), LARGE);
    let retried = |e: &&PushEvent| matches!(e, PushEvent::Retrying { .. });
    assert_eq!(events.iter().filter(retried).count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_upload_is_begun_again() {
    let (uploads, bytes) = (Uploads::default(), noise(1, LARGE));
    let (mine, patches) = (uploads.clone(), AtomicUsize::new(0));
    let server = Server::start(move |request| {
        if request.method == "PATCH" && patches.fetch_add(1, Ordering::SeqCst) == 0 {
            mine.state().uploads.clear();
        }
        mine.answer(request)
    })
    .await;
    push(&server, &bytes).await.0.unwrap();
    assert_there(&uploads, &bytes);
    assert_eq!(server.count("POST", ""), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_last_answer_is_no_second_upload() {
    let (uploads, bytes) = (Uploads::default(), noise(1, LARGE));
    let (mine, puts) = (uploads.clone(), AtomicUsize::new(0));
    let server = Server::start(move |request| {
        let answer = mine.answer(request);
        match request.method == "PUT" && puts.fetch_add(1, Ordering::SeqCst) == 0 {
            true => Reply::new(502, "<html>"),
            false => answer,
        }
    })
    .await;
    let (done, events) = push(&server, &bytes).await;
    done.unwrap();
    assert_eq!(events.last(), Some(&PushEvent::Pushed));
    assert_eq!(server.count("PATCH", ""), 1);
    assert_there(&uploads, &bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_takes_little_gets_it_in_pieces() {
    for size in [3 << 20, LARGE] {
        let (uploads, bytes) = (Uploads::default(), noise(1, size));
        uploads.state().largest = Some(1 << 20);
        let server = serving(&uploads).await;
        push(&server, &bytes).await.0.unwrap();
        assert_there(&uploads, &bytes);
        let taken = server.seen().into_iter().filter(|r| r.method == "PATCH");
        assert!(
            taken
                .filter(|r| r.header("content-range").is_some())
                .count()
                > 2
        );
    }
    // Less than the registry itself would take: there is no way.
    let uploads = Uploads::default();
    uploads.state().largest = Some(1 << 20);
    uploads.state().smallest = Some(2 << 20);
    let server = serving(&uploads).await;
    let error = push(&server, &noise(1, LARGE)).await.0.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_takes_nothing_is_given_up() {
    let (uploads, bytes) = (Uploads::default(), noise(1, LARGE));
    let mine = uploads.clone();
    let server = Server::start(move |request| match request.method.as_str() {
        "PATCH" => Reply::new(202, "").header("Range", "0-1"),
        _ => mine.answer(request),
    })
    .await;
    let error = push(&server, &bytes).await.0.unwrap_err();
    assert!(error.to_string().contains("takes nothing"), "{error}");
    assert!(server.count("PATCH", "") < 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_pieces_gets_it_whole() {
    let (uploads, bytes) = (Uploads::default(), noise(1, LARGE));
    let mine = uploads.clone();
    let server = Server::start(move |request| match request.method.as_str() {
        "PATCH" => Reply::new(405, ""),
        _ => mine.answer(request),
    })
    .await;
    push(&server, &bytes).await.0.unwrap();
    assert_there(&uploads, &bytes);
    assert_eq!(server.count("PUT", ""), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_apart() {
    type Check = fn(&Error) -> bool;
    let cases: [(u16, &str, Check); 6] = [
        (403, "DENIED", |e| matches!(e, Error::PushDenied { .. })),
        (404, "NAME_UNKNOWN", |e| {
            matches!(e, Error::NoRepository { .. })
        }),
        (413, "", |e| matches!(e, Error::TooLarge { .. })),
        (429, "TOOMANYREQUESTS", |e| {
            matches!(e, Error::TooManyRequests { .. })
        }),
        (400, "NAME_INVALID", |e| {
            matches!(e, Error::Refused { status: 400, .. })
        }),
        (503, "", |e| matches!(e, Error::Server { status: 503, .. })),
    ];
    for (status, code, check) in cases {
        let server = Server::start(move |request| match request.method.as_str() {
            "HEAD" => Reply::new(404, ""),
            _ => {
                let body = format!(r#"{{"errors":[{{"code":"{code}","message":"so it is"}}]}}"#);
                Reply::new(status, body)
            }
        })
        .await;
        let error = push(&server, b"x").await.0.unwrap_err();
        let text = error.to_string();
        assert!(check(&error), "{status}: {text}");
        assert!(
            !text.contains('\n') && text.contains(&server.host()),
            "{text}"
        );
        let tries = if status == 503 || status == 429 { 5 } else { 1 };
        assert_eq!(server.count("POST", ""), tries, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_of_a_denial_are_dockers() {
    let server =
        Server::start(|_| Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""))
            .await;
    let text = push(&server, b"x").await.0.unwrap_err().to_string();
    assert!(
        text.starts_with("denied: requested access to the resource is denied")
            && text.contains(&format!("rctr login {}", server.host())),
        "{text}"
    );
}

/// Accepts the tokens `good` says, and gives `t1`, `t2`, … for every question.
async fn token_registry(
    uploads: &Uploads,
    good: impl Fn(&str, &super::server::Seen) -> bool + Send + Sync + 'static,
) -> Server {
    let (uploads, issued) = (uploads.clone(), AtomicUsize::new(0));
    Server::start(move |request| {
        if request.target.starts_with("/token") {
            let n = issued.fetch_add(1, Ordering::SeqCst) + 1;
            return Reply::new(200, format!(r#"{{"token": "t{n}"}}"#));
        }
        let token = request.header("authorization").and_then(|h| h.strip_prefix("Bearer "));
        match token {
            Some(token) if good(token, request) => uploads.answer(request),
            _ => Reply::new(401, "").header(
                "WWW-Authenticate",
                format!(
                    r#"Bearer realm="http://{}/token",service="s",scope="repository:test/app:pull""#,
                    request.header("host").unwrap()
                ),
            ),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_is_for_all_of_a_push_and_is_renewed_in_the_midst() {
    let (uploads, bytes) = (Uploads::default(), noise(1, LARGE));
    let server = token_registry(&uploads, |token, request| {
        token == "t2" || (token == "t1" && request.method != "PATCH")
    })
    .await;
    let client = Client::with_timing(HostConfigs::new(), None, quick()).unwrap();
    push_with(&client, &server, &[], &bytes).await.0.unwrap();
    assert_there(&uploads, &bytes);
    let tokens: Vec<_> = server
        .seen()
        .into_iter()
        .filter(|r| r.is("GET", "/token"))
        .collect();
    assert_eq!(tokens.len(), 2);
    assert_eq!(
        tokens[0].target,
        "/token?service=s&scope=repository%3Atest%2Fapp%3Apull%2Cpush"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mounting_asks_to_read_the_other_repository() {
    let (uploads, bytes) = (Uploads::default(), noise(1, 1000));
    let key = ("base/img".to_owned(), sha(&bytes));
    uploads.state().elsewhere.insert(key, bytes.clone());
    let server = token_registry(&uploads, |_, _| true).await;
    let client = Client::with_timing(HostConfigs::new(), None, quick()).unwrap();
    push_with(&client, &server, &["base/img"], &bytes)
        .await
        .0
        .unwrap();
    let server = token_registry(&uploads, |token, request| {
        token == "t2" || request.method == "HEAD"
    })
    .await;
    uploads.state().blobs.clear();
    push_with(&client, &server, &["base/img"], &bytes)
        .await
        .0
        .unwrap();
    assert_eq!(
        server.count("GET", "scope=repository%3Abase%2Fimg%3Apull"),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_put_as_they_are() {
    let uploads = Uploads::default();
    let server = serving(&uploads).await;
    let client = client(HostConfigs::new());
    let reference = parse_reference(&format!("{}/test/app", server.host())).unwrap();
    let pusher = client.pusher(&reference, []).unwrap();
    // Odd spacing must survive.
    let bytes = b"{ \"schemaVersion\":2 }\n";
    let digest = Digest::try_from(sha(bytes)).unwrap();
    let manifest = Descriptor::new(MediaType::ImageManifest, bytes.len() as u64, digest.clone());
    assert!(!pusher.has_manifest(&digest).await.unwrap());
    pusher.manifest("v1", &manifest, bytes).await.unwrap();
    assert!(pusher.has_manifest(&digest).await.unwrap());
    let (media_type, kept) = uploads.state().manifests["v1"].clone();
    assert_eq!(media_type, MediaType::ImageManifest.to_string());
    assert_eq!(kept, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_names_another_digest_is_not_believed() {
    let server =
        Server::start(|_| Reply::new(201, "").header("Docker-Content-Digest", sha(b"other"))).await;
    let client = client(HostConfigs::new());
    let reference = parse_reference(&format!("{}/test/app", server.host())).unwrap();
    let pusher = client.pusher(&reference, []).unwrap();
    let error = pusher
        .manifest("v1", &descriptor(b"{}"), b"{}")
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

/// Ends after half of what was asked for.
struct Broken;

impl BlobSource for Broken {
    fn open<'a>(
        &'a self,
        _: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<BlobStream, SinkError>> {
        let half = Bytes::from(vec![0; (range.end - range.start) as usize / 2]);
        let pieces = [Ok(half), Err(SinkError::from("the disk is gone"))];
        async { Ok(stream::iter(pieces).boxed()) }.boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_cannot_be_read_ends_the_push_at_once() {
    let uploads = Uploads::default();
    let server = serving(&uploads).await;
    let client = client(HostConfigs::new());
    let reference = parse_reference(&format!("{}/test/app", server.host())).unwrap();
    let pusher = client.pusher(&reference, []).unwrap();
    let blob = descriptor(&noise(1, LARGE));
    let error = pusher.blob(&blob, &Broken, &|_| ()).await.unwrap_err();
    assert!(matches!(error, Error::Source { .. }), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "the disk is gone");
    assert_eq!(server.count("POST", ""), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_do_not_go_where_uploads_are_sent() {
    let uploads = Uploads::default();
    let store = serving(&uploads).await;
    let place = format!("{}/v2/test/app/blobs/uploads/u9?state=x", store.url());
    uploads.state().uploads.insert("u9".to_owned(), Vec::new());
    let registry = Server::start(move |request| {
        if request.target.starts_with("/token") {
            return Reply::new(200, r#"{"token": "t"}"#);
        }
        match (request.header("authorization"), request.method.as_str()) {
            (None, _) => Reply::new(401, "").header(
                "WWW-Authenticate",
                format!(
                    "Bearer realm=\"http://{}/token\"",
                    request.header("host").unwrap()
                ),
            ),
            (Some(_), "HEAD") => Reply::new(404, ""),
            (Some(_), _) => Reply::new(202, "").header("Location", place.clone()),
        }
    })
    .await;
    let bytes = noise(1, LARGE);
    push(&registry, &bytes).await.0.unwrap();
    assert_there(&uploads, &bytes);
    assert!(
        store
            .seen()
            .iter()
            .all(|r| r.header("authorization").is_none())
    );
}
