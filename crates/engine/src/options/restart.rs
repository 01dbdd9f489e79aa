//! `--restart`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ParseError;

/// Whether a container that has ended is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// When.
    pub mode: RestartMode,
    /// How often at most, with `on-failure`; 0 is without end.
    pub maximum: u32,
}

/// When a container that has ended is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartMode {
    /// Never.
    #[default]
    No,
    /// When its exit code is not 0.
    OnFailure,
    /// Unless somebody stops it; after a boot even then.
    Always,
    /// Unless somebody stops it, or has before a boot.
    UnlessStopped,
}

impl RestartMode {
    /// Docker's word: `no`, `on-failure`, `always`, `unless-stopped`.
    pub fn as_str(self) -> &'static str {
        match self {
            RestartMode::No => "no",
            RestartMode::OnFailure => "on-failure",
            RestartMode::Always => "always",
            RestartMode::UnlessStopped => "unless-stopped",
        }
    }
}

impl RestartPolicy {
    /// Whether one that ended by itself with this code, after so many restarts, is started again.
    pub fn wants_restart(self, exit_code: i32, restarts: u32) -> bool {
        match self.mode {
            RestartMode::No => false,
            RestartMode::Always | RestartMode::UnlessStopped => true,
            RestartMode::OnFailure => {
                exit_code != 0 && (self.maximum == 0 || restarts < self.maximum)
            }
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<RestartPolicy, ParseError> {
        let (name, count) = match text.split_once(':') {
            Some(("", _)) => return Err(ParseError::RestartNoPolicy),
            Some((name, count)) => (name, count),
            None => (text, ""),
        };
        let count: i64 = match count {
            "" => 0,
            count => count.parse().map_err(|_| ParseError::RestartCount)?,
        };
        let mode = match name {
            "" | "no" => RestartMode::No,
            "on-failure" => RestartMode::OnFailure,
            "always" => RestartMode::Always,
            "unless-stopped" => RestartMode::UnlessStopped,
            other => return Err(ParseError::RestartUnknown { name: other.into() }),
        };
        let maximum = match (mode, count) {
            (RestartMode::OnFailure, count) => {
                u32::try_from(count).map_err(|_| ParseError::RestartNegative)?
            }
            (_, 0) => 0,
            (_, count) => {
                return Err(ParseError::RestartCountWithout {
                    negative: count < 0,
                });
            }
        };
        Ok(RestartPolicy { mode, maximum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_as_docker_reads_them() {
        let parse = |text: &str| text.parse::<RestartPolicy>();
        for (text, mode, maximum) in [
            ("", RestartMode::No, 0),
            ("no", RestartMode::No, 0),
            ("always", RestartMode::Always, 0),
            ("always:0", RestartMode::Always, 0),
            ("unless-stopped", RestartMode::UnlessStopped, 0),
            ("on-failure", RestartMode::OnFailure, 0),
            ("on-failure:", RestartMode::OnFailure, 0),
            ("on-failure:3", RestartMode::OnFailure, 3),
        ] {
            assert_eq!(parse(text).unwrap(), RestartPolicy { mode, maximum });
        }
        for (text, why) in [
            (
                ":3",
                "invalid restart policy format: no policy provided before colon",
            ),
            (
                "on-failure:x",
                "invalid restart policy format: maximum retry count must be an integer",
            ),
            (
                "on-failure:-1",
                "invalid restart policy: maximum retry count cannot be negative",
            ),
            (
                "always:3",
                "invalid restart policy: maximum retry count can only be used with 'on-failure'",
            ),
            (
                "no:-3",
                "invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative",
            ),
            (
                "often",
                "invalid restart policy: unknown policy 'often'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), why, "{text}");
        }
    }

    #[test]
    fn failures_are_counted() {
        let policy: RestartPolicy = "on-failure:2".parse().unwrap();
        assert!(policy.wants_restart(1, 0));
        assert!(policy.wants_restart(1, 1));
        assert!(!policy.wants_restart(1, 2));
        assert!(!policy.wants_restart(0, 0));
        let for_ever: RestartPolicy = "on-failure".parse().unwrap();
        assert!(for_ever.wants_restart(255, u32::MAX));
        assert!(!RestartPolicy::default().wants_restart(1, 0));
    }
}
