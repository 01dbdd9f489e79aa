//! TLS: whom to trust, and what not to say without it.

use std::path::{Path, PathBuf};

use super::image::{Content, noise, sha};
use super::push::push_with;
use super::server::{Reply, Server};
use super::sink::{MemorySink, client, pull, pull_into, quick};
use super::uploads::Uploads;
use crate::{Client, Error, HostConfig, HostConfigs};

fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/tests/tls")
        .join(name)
}

fn trusting(host: &str, ca: PathBuf) -> HostConfigs {
    let config = HostConfig {
        ca: Some(ca),
        ..HostConfig::default()
    };
    HostConfigs::from([(host.to_owned(), config)])
}

async fn secure() -> Server {
    let content = Content::image(&[noise(1, 500_000), noise(2, 1000)]);
    Server::start_tls(move |request| content.answer(request)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_authority_is_trusted() {
    let server = secure().await;
    let name = format!("{}/test/app", server.host());
    let client = client(trusting(&server.host(), certificate("ca.pem")));
    pull(&client, &name, None, &MemorySink::default())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_is_not() {
    let server = secure().await;
    let name = format!("{}/test/app", server.host());
    let client = client(trusting(&server.host(), certificate("server.pem")));
    let error = pull(&client, &name, None, &MemorySink::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    let text = error.to_string();
    for word in [&server.host(), "server.pem", "ca = ", "insecure = true"] {
        assert!(text.contains(word), "{word:?} in {text}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_where_tls_was_promised_is_explained() {
    let server = Server::start(|_| Reply::new(200, "")).await;
    let client = client(trusting(&server.host(), certificate("ca.pem")));
    let name = format!("{}/test/app", server.host());
    let error = pull(&client, &name, None, &MemorySink::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Tls { .. } | Error::Network { .. }),
        "{error}"
    );
    assert!(server.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_needs_no_certificate_to_be_known() {
    pull_into(&MemorySink::default(), &secure().await)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_certificate_files_are_named() {
    for file in ["missing.pem", "server.key.pem"] {
        let server = secure().await;
        let client = client(trusting(&server.host(), certificate(file)));
        let name = format!("{}/test/app", server.host());
        let error = pull(&client, &name, None, &MemorySink::default())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Config { .. }), "{error}");
        assert!(error.to_string().contains(file), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_do_not_go_from_tls_to_plain_http() {
    let eavesdropper = Server::start(|_| Reply::new(200, r#"{"token": "t"}"#)).await;
    let challenge = format!("Bearer realm=\"{}/token\"", eavesdropper.url());
    let server = Server::start_tls(move |_| {
        Reply::new(401, "").header("WWW-Authenticate", challenge.clone())
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        r#"{{"auths": {{"{}": {{"auth": "bWU6c2VjcmV0"}}}}}}"#,
        server.host()
    );
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    let client =
        Client::with_timing(HostConfigs::new(), Some(dir.path().to_owned()), quick()).unwrap();
    let name = format!("{}/test/app", server.host());
    let error = pull(&client, &name, None, &MemorySink::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
    assert!(eavesdropper.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_can_be_spawned() {
    let server = secure().await;
    tokio::spawn(async move { pull_into(&MemorySink::default(), &server).await })
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_trust_whom_pulls_trust() {
    for (ca, trusted) in [("ca.pem", true), ("server.pem", false)] {
        let uploads = Uploads::default();
        let mine = uploads.clone();
        // A registry that does not know of the TLS before it.
        let server = Server::start_tls(move |request| {
            let reply = mine.answer(request);
            match request.method.as_str() {
                "POST" => reply.with_location(&format!(
                    "http://{}/v2/test/app/blobs/uploads/u1?state=x",
                    request.header("host").unwrap()
                )),
                _ => reply,
            }
        })
        .await;
        let client = client(trusting(&server.host(), certificate(ca)));
        let bytes = noise(1, 5 << 20);
        let (done, _) = push_with(&client, &server, &[], &bytes).await;
        match trusted {
            true => done.unwrap(),
            false => assert!(matches!(done, Err(Error::Tls { .. }))),
        }
        let there = uploads.state().blobs.contains_key(&sha(&bytes));
        assert_eq!(there, trusted);
    }
}
