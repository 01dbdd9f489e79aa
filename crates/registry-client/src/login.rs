//! Trying credentials before they are kept.

use oci_spec::distribution::Reference;
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, StatusCode};

use crate::auth::Auth;
use crate::credentials::Credential;
use crate::hosts::endpoints;
use crate::retry::Failure;
use crate::transport::Request;
use crate::{Client, Error, Secret};

/// What every registry answers with 200 to whom it knows (distribution specification, "Determining Support").
const BASE: &str = "/v2/";

impl Client {
    /// Asks a registry (`docker.io`, `localhost:5000`) whether it accepts these credentials, and gives what is to be
    /// kept: the refresh token if the registry grants one in place of the password.
    ///
    /// # Errors
    /// [`Error::LoginRefused`] if it does not; [`Error::Network`], [`Error::Tls`], [`Error::Server`],
    /// [`Error::Protocol`] if it cannot be asked.
    pub async fn login(&self, registry: &str, secret: &Secret) -> Result<Secret, Error> {
        let any = Reference::with_tag(registry.to_owned(), "any".to_owned(), "any".to_owned());
        let Some(endpoint) = endpoints(self.transport.hosts(), &any)?.pop() else {
            return Ok(secret.clone());
        };
        let auth = Auth::with(match secret {
            Secret::Password { user, password } => Credential::Password {
                user: user.clone(),
                password: password.clone(),
            },
            Secret::Identity { token, .. } => Credential::Identity {
                token: token.clone(),
            },
        });
        let refused = |failure: Failure| match failure {
            Failure::Status { status, detail, .. }
                if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
                    // What some token servers say to a wrong password.
                    || status == StatusCode::BAD_REQUEST =>
            {
                Error::LoginRefused {
                    registry: registry.to_owned(),
                    detail,
                }
            }
            other => other.into_error(&endpoint, registry),
        };
        let mut request = Request::new(Method::GET);
        let mut answer = self
            .transport
            .send(&endpoint, BASE, &request)
            .await
            .map_err(refused)?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let (headers, secure) = (answer.headers(), answer.secure);
            let proof = auth
                .answer(&self.transport, &endpoint, "", headers, secure, None)
                .await
                .map_err(refused)?;
            if let Some(proof) = proof {
                request.headers.insert(AUTHORIZATION, proof);
                let again = self.transport.send(&endpoint, BASE, &request).await;
                answer = again.map_err(refused)?;
            }
        }
        match answer.status() {
            status if status.is_success() => {}
            StatusCode::NOT_FOUND => {
                return Err(Error::Protocol {
                    host: endpoint.authority,
                    reason: format!("does not answer at {BASE}: it is no registry of images"),
                });
            }
            _ => return Err(refused(answer.into_failure().await)),
        }
        Ok(match (auth.refresh_token().await, secret) {
            (Some(token), Secret::Password { user, .. }) => Secret::Identity {
                user: user.clone(),
                token,
            },
            _ => secret.clone(),
        })
    }
}
