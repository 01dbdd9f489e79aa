//! Mirrors, redirects and other hosts an image may come from.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::image::{Content, noise};
use super::server::{Reply, Server};
use super::sink::{MemorySink, client, pull, pull_into, quick};
use crate::{Client, Error, HostConfig, HostConfigs};

fn mirrored(registry: &str, mirrors: &[String]) -> HostConfigs {
    let config = HostConfig {
        mirrors: mirrors.to_vec(),
        ..HostConfig::default()
    };
    HostConfigs::from([(registry.to_owned(), config)])
}

async fn good() -> Server {
    let content = Content::image(&[noise(1, 100_000), noise(2, 1000)]);
    Server::start(move |request| content.answer(request)).await
}

async fn broken(status: u16) -> Server {
    Server::start(move |_| Reply::new(status, "")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_stands_in_for_docker_hub() {
    let mirror = good().await;
    let client = client(mirrored("docker.io", &[mirror.url()]));
    let pulled = pull(&client, "test/app", None, &MemorySink::default())
        .await
        .unwrap();
    assert_eq!(pulled.layers.len(), 2);
    assert!(mirror.seen().iter().all(|r| !r.target.contains("ns=")));
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_mirrors_fall_through_to_the_registry() {
    let (missing, failing, gone, registry) = (
        broken(404).await,
        broken(500).await,
        broken(500).await,
        good().await,
    );
    let mirrors = [missing.url(), failing.url(), gone.url()];
    drop(gone);
    let client = client(mirrored(&registry.host(), &mirrors));
    let name = format!("{}/test/app", registry.host());
    pull(&client, &name, None, &MemorySink::default())
        .await
        .unwrap();
    assert_eq!(failing.count("HEAD", ""), 2);
    let asked = missing.seen();
    assert!(asked.iter().all(|r| {
        r.target
            .contains(&format!("?ns={}", registry.host().replace(':', "%3A")))
    }));
    // Once the registry has answered, the mirrors are left alone.
    assert!(asked.iter().all(|r| r.target.contains("/manifests/latest")));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_fail_each_is_heard() {
    let (mirror, registry) = (broken(500).await, broken(404).await);
    let client = client(mirrored(&registry.host(), &[mirror.url()]));
    let name = format!("{}/test/app", registry.host());
    let error = pull(&client, &name, None, &MemorySink::default())
        .await
        .unwrap_err();
    assert!(matches!(error.upstream(), Error::NotFound { .. }));
    let text = error.to_string();
    assert_eq!(
        text,
        format!(
            "cannot fetch {name}:latest: tried mirror {}: answered 500; then {}: not found",
            mirror.host(),
            registry.host()
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_a_mirror_lacks_or_spoils_come_from_the_registry() {
    for spoil in [true, false] {
        let content = Content::image(&[noise(1, 100_000), noise(2, 1000)]);
        let mirror = Server::start(move |request| {
            let mut reply = content.answer(request);
            if request.target.contains("/blobs/") && reply.body.len() == 100_000 {
                if !spoil {
                    return Reply::new(404, "");
                }
                reply.body[7] ^= 1;
            }
            reply
        })
        .await;
        let registry = good().await;
        let client = client(mirrored(&registry.host(), &[mirror.url()]));
        let name = format!("{}/test/app", registry.host());
        let sink = MemorySink::default();
        pull(&client, &name, None, &sink).await.unwrap();
        assert_eq!(sink.state().layers.len(), 2);
        assert_eq!(registry.seen().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_prefix_goes_before_the_repository() {
    let mirror = good().await;
    let client = client(mirrored(
        "docker.io",
        &[format!("{}/cache/hub/", mirror.url())],
    ));
    pull(&client, "test/app", None, &MemorySink::default())
        .await
        .unwrap();
    assert!(
        mirror
            .seen()
            .iter()
            .all(|r| r.target.starts_with("/v2/cache/hub/test/app/"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let content = Content::image(&[noise(1, 100_000)]);
    let storage = {
        let content = content.clone();
        Server::start(move |request| content.answer(request)).await
    };
    let elsewhere = storage.url();
    let registry = Server::start(move |request| {
        if request.header("authorization").is_none() {
            return Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"r\"");
        }
        if request.target.contains("/blobs/") {
            return Reply::new(307, "").header(
                "Location",
                format!("{elsewhere}{}?signed=yes", request.target),
            );
        }
        content.answer(request)
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        r#"{{"auths": {{"{}": {{"auth": "bWU6c2VjcmV0"}}}}}}"#,
        registry.host()
    );
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    let client =
        Client::with_timing(HostConfigs::new(), Some(dir.path().to_owned()), quick()).unwrap();
    let name = format!("{}/test/app", registry.host());
    pull(&client, &name, None, &MemorySink::default())
        .await
        .unwrap();
    let seen = storage.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|r| r.header("authorization").is_none()));
    assert!(seen.iter().all(|r| r.target.ends_with("?signed=yes")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_the_storage_host_is_no_challenge() {
    let storage = Server::start(|_| {
        Reply::new(401, "").header("WWW-Authenticate", "Basic realm=\"give me your password\"")
    })
    .await;
    let elsewhere = storage.url();
    let content = Content::image(&[]);
    let registry = Server::start(move |request| {
        if request.target.contains("/blobs/") {
            return Reply::new(307, "").header("Location", elsewhere.clone());
        }
        content.answer(request)
    })
    .await;
    let error = pull_into(&MemorySink::default(), &registry)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert_eq!(storage.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_end() {
    for location in ["/v2/again", "file:///etc/passwd", "http://"] {
        let server = Server::start(move |_| Reply::new(302, "").header("Location", location)).await;
        let error = pull_into(&MemorySink::default(), &server)
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Protocol { .. }),
            "{location}: {error}"
        );
        assert!(server.seen().len() <= 11);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_loopback_is_a_registry_too() {
    let content = Content::image(&[noise(1, 1000)]);
    let server = Server::start_at("[::1]:0", move |request| content.answer(request)).await;
    assert!(server.host().starts_with("[::1]:"));
    pull_into(&MemorySink::default(), &server).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_pull_leaves_its_bytes_for_the_next() {
    let content = Content::image(&[noise(1, 600_000)]);
    let resumed = Arc::new(Notify::new());
    let (notify, resumes) = (Arc::clone(&resumed), AtomicUsize::new(0));
    let server = Server::start(move |request| {
        let mut reply = content.answer(request);
        if reply.body.len() == 600_000 {
            return reply.cut_after(300_000);
        }
        // The first resumption is never answered, so the pull is under way for sure when it is cancelled.
        if request.range_start().is_some() && resumes.fetch_add(1, Ordering::SeqCst) == 0 {
            reply.silent = true;
            notify.notify_one();
        }
        reply
    })
    .await;
    let sink = MemorySink::default();
    tokio::select! {
        _ = pull_into(&sink, &server) => panic!("finished before it was cancelled"),
        () = resumed.notified() => {}
    }
    // The sink's thread lets go once it notices; it has nothing else to do.
    let let_go = async {
        while sink.state().partial.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), let_go)
        .await
        .expect("the sink was not let go");
    assert!(sink.state().layers.is_empty());

    pull_into(&sink, &server).await.unwrap();
    assert_eq!(sink.state().layers.len(), 1);
    let starts: Vec<_> = server
        .seen()
        .iter()
        .filter_map(|r| r.range_start())
        .collect();
    assert_eq!(starts, [300_000, 300_000]);
}

#[test]
fn settings_are_read_strictly() {
    let ca = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/tls/ca.pem");
    let text = format!(r#"{{"mirrors": ["http://m:1"], "insecure": true, "ca": "{ca}"}}"#);
    let good: HostConfig = serde_json::from_str(&text).unwrap();
    assert!(good.insecure && good.mirrors.len() == 1);
    for (bad, word) in [
        (r#"{"mirror": []}"#, "unknown field"),
        (r#"{"mirrors": ["ftp://x"]}"#, "ftp://x"),
        (r#"{"ca": "/nosuch/ca.pem"}"#, "/nosuch/ca.pem"),
        (r#"{"ca": "ca.pem"}"#, "absolute"),
    ] {
        let error = serde_json::from_str::<HostConfig>(bad).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(matches!(
        Client::new(mirrored("docker.io", &["ftp://x".to_owned()]), None),
        Err(Error::Config { .. })
    ));
}
