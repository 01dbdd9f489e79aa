//! Registries that want to know who asks.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::image::{Content, noise};
use super::server::{Reply, Server};
use super::sink::{MemorySink, pull, quick};
use crate::{Client, Error, HostConfigs};

/// "me:secret"
const BASIC: &str = "Basic bWU6c2VjcmV0";

fn logged_in(dir: &Path, host: &str, entry: &str) -> Client {
    let config = format!(r#"{{"auths": {{"{host}": {entry}}}}}"#);
    std::fs::write(dir.join("config.json"), config).unwrap();
    Client::with_timing(HostConfigs::new(), Some(dir.to_owned()), quick()).unwrap()
}

fn image() -> Content {
    Content::image(&[
        noise(1, 1000),
        noise(2, 1000),
        noise(3, 1000),
        noise(4, 1000),
    ])
}

fn refused(challenge: String) -> Reply {
    Reply::new(
        401,
        r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
    )
    .header("WWW-Authenticate", challenge)
}

/// A registry whose token server is itself. `good` says which token is accepted now.
async fn token_registry(
    issue: impl Fn(&super::server::Seen) -> Reply + Send + Sync + 'static,
    good: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> Server {
    let content = image();
    Server::start(move |request| {
        if request.target.starts_with("/token") {
            return issue(request);
        }
        let token = request.header("authorization").and_then(|h| h.strip_prefix("Bearer "));
        match token {
            Some(token) if good(token) => content.answer(request),
            _ => refused(format!(
                r#"Bearer realm="http://{}/token",service="the, registry",scope="repository:test/app:pull""#,
                request.header("host").unwrap()
            )),
        }
    })
    .await
}

fn token(value: &str) -> Reply {
    Reply::new(200, format!(r#"{{"token": "{value}", "expires_in": 300}}"#))
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_tokens_are_fetched_once() {
    let server = token_registry(|_| token("t1"), |t| t == "t1").await;
    let client = super::sink::client(HostConfigs::new());
    let name = format!("{}/test/app", server.host());
    pull(&client, &name, None, &MemorySink::default())
        .await
        .unwrap();
    let tokens: Vec<_> = server
        .seen()
        .into_iter()
        .filter(|r| r.target.starts_with("/token"))
        .collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(
        tokens[0].target,
        "/token?service=the%2C+registry&scope=repository%3Atest%2Fapp%3Apull"
    );
    assert_eq!(tokens[0].header("authorization"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_runs_out_is_renewed() {
    let issued = AtomicUsize::new(0);
    let uses = AtomicUsize::new(0);
    let server = token_registry(
        move |_| token(&format!("t{}", issued.fetch_add(1, Ordering::SeqCst) + 1)),
        // The first token runs out among the layers; manifest and config come before them.
        move |t| t == "t2" || (t == "t1" && uses.fetch_add(1, Ordering::SeqCst) < 3),
    )
    .await;
    let client = super::sink::client(HostConfigs::new());
    let sink = MemorySink::default();
    pull(&client, &format!("{}/test/app", server.host()), None, &sink)
        .await
        .unwrap();
    assert_eq!(sink.state().layers.len(), 4);
    // Layers whose token was refused at the same time share the new one.
    assert_eq!(server.count("GET", "/token"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_go_to_the_token_server() {
    let server = token_registry(
        |request| match request.header("authorization") {
            Some(BASIC) => token("mine"),
            _ => Reply::new(401, r#"{"details":"incorrect username or password"}"#),
        },
        |t| t == "mine",
    )
    .await;
    let dir = tempfile::tempdir().unwrap();
    let name = format!("{}/test/app", server.host());
    let sink = MemorySink::default();

    let client = logged_in(dir.path(), &server.host(), r#"{"auth": "bWU6c2VjcmV0"}"#);
    pull(&client, &name, None, &sink).await.unwrap();
    assert!(
        server
            .seen()
            .iter()
            .any(|r| r.target.contains("account=me"))
    );

    let client = logged_in(dir.path(), &server.host(), r#"{"auth": "bWU6d3Jvbmc="}"#);
    let error = pull(&client, &name, None, &sink).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    let text = error.to_string();
    for part in [
        "incorrect username",
        &name,
        &format!("rctr login {}", server.host()),
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("wrong"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_tokens_are_exchanged() {
    let server = token_registry(
        |request| {
            let good = request.method == "POST"
                && request.body.contains("grant_type=refresh_token")
                && request.body.contains("refresh_token=abc")
                && request.body.contains("service=the%2C+registry");
            if good {
                Reply::new(200, r#"{"access_token": "mine"}"#)
            } else {
                Reply::new(400, "")
            }
        },
        |t| t == "mine",
    )
    .await;
    let dir = tempfile::tempdir().unwrap();
    let client = logged_in(dir.path(), &server.host(), r#"{"identitytoken": "abc"}"#);
    let name = format!("{}/test/app", server.host());
    pull(&client, &name, None, &MemorySink::default())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_opens_nothing_is_asked_for_once_more_only() {
    let server = token_registry(|_| token("useless"), |_| false).await;
    let client = super::sink::client(HostConfigs::new());
    let name = format!("{}/test/app", server.host());
    let error = pull(&client, &name, None, &MemorySink::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert!(server.count("GET", "/token") <= 2);
}

async fn basic_registry() -> Server {
    let content = image();
    Server::start(move |request| match request.header("authorization") {
        Some(BASIC) => content.answer(request),
        _ => refused(r#"Basic realm="registry""#.to_owned()),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_is_answered_and_remembered() {
    let server = basic_registry().await;
    let dir = tempfile::tempdir().unwrap();
    let client = logged_in(
        dir.path(),
        &server.host(),
        r#"{"username": "me", "password": "secret"}"#,
    );
    let name = format!("{}/test/app", server.host());
    pull(&client, &name, None, &MemorySink::default())
        .await
        .unwrap();
    let naked = server
        .seen()
        .iter()
        .filter(|r| r.header("authorization").is_none())
        .count();
    assert_eq!(naked, 1);

    let client = super::sink::client(HostConfigs::new());
    let error = pull(&client, &name, None, &MemorySink::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");

    let client = logged_in(dir.path(), &server.host(), r#"{"auth": "bWU6d3Jvbmc="}"#);
    let error = pull(&client, &name, None, &MemorySink::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("were refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn helpers_are_run_and_their_failures_told() {
    use std::os::unix::fs::PermissionsExt;
    let server = basic_registry().await;
    let name = format!("{}/test/app", server.host());
    let dir = tempfile::tempdir().unwrap();
    // Found by its path: `docker-credential-` and the name make a path of our own.
    let helper = dir.path().join("docker-credential-x");
    let script = r#"#!/bin/sh
read host; echo '{"ServerURL":"","Username":"me","Secret":"secret"}'"#;
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = |store: &str| {
        let text = format!(r#"{{"credHelpers": {{"{}": "{store}"}}}}"#, server.host());
        std::fs::write(dir.path().join("config.json"), text).unwrap();
        Client::with_timing(HostConfigs::new(), Some(dir.path().to_owned()), quick()).unwrap()
    };
    // The helper is looked for in PATH, which tests that run in parallel share: this one only adds to it.
    let path = std::env::var("PATH").unwrap();
    let with_ours = format!("{path}:{}", dir.path().display());
    // SAFETY: nothing else in this crate's tests changes the environment, and glibc's getenv in other threads reads
    // strings that setenv leaves in place.
    unsafe { std::env::set_var("PATH", with_ours) };
    pull(&config("x"), &name, None, &MemorySink::default())
        .await
        .unwrap();

    let error = pull(&config("missing"), &name, None, &MemorySink::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("helper"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forbidden_is_not_unknown() {
    let server = Server::start(|_| {
        Reply::new(
            403,
            r#"{"errors":[{"code":"DENIED","message":"no\n\u001b[31m rights"}]}"#,
        )
    })
    .await;
    let client = super::sink::client(HostConfigs::new());
    let name = format!("{}/test/app", server.host());
    let error = pull(&client, &name, None, &MemorySink::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("no [31m rights") && !text.contains('\n'),
        "{text}"
    );
}
