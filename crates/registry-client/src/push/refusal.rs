//! Why a registry did not take something.

use reqwest::StatusCode;

use super::Pusher;
use crate::Error;
use crate::retry::Failure;

impl Pusher<'_> {
    /// The error for a push that is given up; `what` was to be pushed.
    pub(super) fn refusal(&self, failure: Failure, what: &str) -> Error {
        let Failure::Status {
            status,
            detail,
            host,
            retry_after,
        } = failure
        else {
            return failure.into_error(&self.endpoint, what);
        };
        let registry = self.endpoint.registry.clone();
        let path = &self.endpoint.repository;
        let what = format!("{what} of {path}");
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::PushDenied {
                repository: format!("{registry}/{path}"),
                registry,
                detail,
            },
            StatusCode::NOT_FOUND => Error::NoRepository {
                registry,
                repository: path.clone(),
                detail,
            },
            StatusCode::PAYLOAD_TOO_LARGE => Error::TooLarge {
                registry,
                what,
                detail,
            },
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                Error::Refused {
                    registry,
                    what,
                    status: status.as_u16(),
                    detail,
                }
            }
            _ => Failure::Status {
                host,
                status,
                retry_after,
                detail,
            }
            .into_error(&self.endpoint, &what),
        }
    }
}
