//! One-time tokens: each stands for one request, once, for one minute.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{AttachRequest, Error, ExecRequest, PortForwardRequest, Result};

const LIFETIME: Duration = Duration::from_secs(60);
const MOST: usize = 1_000;

/// What a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Registered {
    Exec(ExecRequest),
    Attach(AttachRequest),
    PortForward(PortForwardRequest),
}

impl Registered {
    /// The first part of its URL's path.
    pub(super) fn verb(&self) -> &'static str {
        match self {
            Registered::Exec(_) => "exec",
            Registered::Attach(_) => "attach",
            Registered::PortForward(_) => "portforward",
        }
    }
}

#[derive(Default)]
pub(super) struct Tokens {
    table: Mutex<HashMap<String, (Instant, Registered)>>,
}

impl Tokens {
    /// Registers a request; gives its token.
    pub(super) fn insert(&self, request: Registered) -> Result<String> {
        self.insert_at(request, Instant::now())
    }

    fn insert_at(&self, request: Registered, now: Instant) -> Result<String> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.retain(|_, (expires, _)| *expires > now);
        if table.len() >= MOST {
            return Err(Error::TooManyRequests { count: table.len() });
        }
        // The thread's generator is a cryptographic one, seeded by the kernel.
        let token = format!("{:032x}", rand::random::<u128>());
        table.insert(token.clone(), (now + LIFETIME, request));
        Ok(token)
    }

    /// The request of a token, which is used up by that, if its URL is `/verb/token`.
    pub(super) fn take(&self, verb: &str, token: &str) -> Option<Registered> {
        self.take_at(verb, token, Instant::now())
    }

    fn take_at(&self, verb: &str, token: &str, now: Instant) -> Option<Registered> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, request) = table.get(token)?;
        if request.verb() != verb {
            return None;
        }
        let (expires, request) = table.remove(token)?;
        (expires > now).then_some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(port: u16) -> Registered {
        Registered::PortForward(PortForwardRequest {
            pod: "p".into(),
            ports: vec![port],
        })
    }

    #[test]
    fn a_token_works_once_at_its_own_path_and_for_a_minute() {
        let tokens = Tokens::default();
        let token = tokens.insert(forward(1)).unwrap();
        assert_eq!(token.len(), 32);
        assert_eq!(tokens.take("exec", &token), None);
        assert_eq!(tokens.take("portforward", &token), Some(forward(1)));
        assert_eq!(tokens.take("portforward", &token), None);

        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let late = tokens.insert_at(forward(2), start).unwrap();
        let later = tokens.insert_at(forward(3), after(59)).unwrap();
        assert_eq!(tokens.take_at("portforward", &late, after(61)), None);
        let taken = tokens.take_at("portforward", &later, after(61));
        assert_eq!(taken, Some(forward(3)));
    }

    #[test]
    fn the_table_is_bounded_and_makes_room_again() {
        let tokens = Tokens::default();
        let start = Instant::now();
        for port in 0..MOST {
            tokens.insert_at(forward(port as u16), start).unwrap();
        }
        assert!(matches!(
            tokens.insert_at(forward(0), start),
            Err(Error::TooManyRequests { count: MOST })
        ));
        assert!(tokens.insert_at(forward(0), start + LIFETIME).is_ok());
    }
}
