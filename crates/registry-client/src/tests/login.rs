//! Logins that are tried before they are kept.

use super::server::{Reply, Server};
use super::sink::client;
use crate::{Error, HostConfigs, Secret};

/// "me:secret"
const BASIC: &str = "Basic bWU6c2VjcmV0";

fn me(password: &str) -> Secret {
    Secret::Password {
        user: "me".to_owned(),
        password: password.to_owned(),
    }
}

async fn login(server: &Server, password: &str) -> Result<Secret, Error> {
    let client = client(HostConfigs::new());
    client.login(&server.host(), &me(password)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_passwords_are_tried() {
    let server = Server::start(|request| match request.header("authorization") {
        Some(BASIC) => Reply::new(200, "{}"),
        _ => Reply::new(
            401,
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
        )
        .header("WWW-Authenticate", "Basic realm=\"x\""),
    })
    .await;
    assert!(login(&server, "secret").await.unwrap() == me("secret"));
    let Err(error) = login(&server, "wrong").await else {
        panic!("a wrong password is accepted");
    };
    let text = error.to_string();
    assert!(
        matches!(error, Error::LoginRefused { .. }) && text.contains("authentication required"),
        "{text}"
    );
    assert!(!text.contains("wrong"));
}

#[tokio::test(flavor = "multi_thread")]
async fn token_servers_are_asked_and_may_grant_a_refresh_token() {
    for refresh in [false, true] {
        let server = Server::start(move |request| {
            if request.target.starts_with("/token") {
                return match request.header("authorization") {
                    Some(BASIC) if refresh => {
                        Reply::new(200, r#"{"token": "t", "refresh_token": "r"}"#)
                    }
                    Some(BASIC) => Reply::new(200, r#"{"token": "t"}"#),
                    _ => Reply::new(401, r#"{"details":"incorrect username or password"}"#),
                };
            }
            match request.header("authorization") {
                Some("Bearer t") => Reply::new(200, "{}"),
                _ => Reply::new(401, "").header(
                    "WWW-Authenticate",
                    format!(
                        "Bearer realm=\"http://{}/token\",service=\"s\"",
                        request.header("host").unwrap()
                    ),
                ),
            }
        })
        .await;
        let kept = login(&server, "secret").await.unwrap();
        let token = Secret::Identity {
            user: "me".to_owned(),
            token: "r".to_owned(),
        };
        assert!(kept == if refresh { token } else { me("secret") });
        assert_eq!(
            server.seen()[1].target,
            "/token?service=s&account=me&client_id=rctr&offline_token=true"
        );
        let Err(error) = login(&server, "no").await else {
            panic!("a wrong password is accepted");
        };
        assert!(
            error.to_string().contains("incorrect username or password"),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_asks_for_nothing_is_content() {
    let server = Server::start(|_| Reply::new(200, "{}")).await;
    login(&server, "any").await.unwrap();
    let server = Server::start(|_| Reply::new(404, "<html>")).await;
    let Err(error) = login(&server, "any").await else {
        panic!("a web server is no registry");
    };
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}
