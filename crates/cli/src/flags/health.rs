//! `--health-*` and `--no-healthcheck`.

use clap::Args;
use rctr_engine::options::{HealthConfig, ParseError, parse_duration};

use crate::failure::{ENGINE, Failure, Result};

#[derive(Debug, Default, Args)]
pub struct HealthFlags {
    /// Command to run to check health
    #[arg(long, value_name = "COMMAND")]
    pub health_cmd: Option<String>,
    /// Time between running the check (ms|s|m|h) (default 30s)
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub health_interval: Option<String>,
    /// Consecutive failures needed to report unhealthy (default 3)
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub health_retries: Option<i64>,
    /// Time between running the check during the start period (ms|s|m|h) (default 5s)
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub health_start_interval: Option<String>,
    /// Start period for the container to initialize before starting health-retries countdown (ms|s|m|h) (default 0s)
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub health_start_period: Option<String>,
    /// Maximum time to allow one check to run (ms|s|m|h) (default 30s)
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub health_timeout: Option<String>,
}

impl HealthFlags {
    /// The check they ask for, if they ask for one; `none` is `--no-healthcheck`.
    pub fn into_config(self, command: &str, none: bool) -> Result<Option<HealthConfig>> {
        let duration = |flag: &str, text: Option<String>| {
            let text = text.unwrap_or_else(|| "0s".to_owned());
            parse_duration(&text).map_err(|e| Failure::argument(command, &text, flag, &e))
        };
        let command_line = self.health_cmd.filter(|line| !line.is_empty());
        let config = HealthConfig {
            test: command_line.map_or_else(Vec::new, |line| vec!["CMD-SHELL".to_owned(), line]),
            interval: duration("--health-interval", self.health_interval)?,
            timeout: duration("--health-timeout", self.health_timeout)?,
            start_period: duration("--health-start-period", self.health_start_period)?,
            start_interval: duration("--health-start-interval", self.health_start_interval)?,
            retries: self.health_retries.unwrap_or(0),
        };
        match (none, config == HealthConfig::default()) {
            (true, false) => {
                let conflict = ParseError::NoHealthcheckAndHealth.to_string();
                Err(Failure::usage(ENGINE, command, conflict))
            }
            (true, true) => Ok(Some(HealthConfig::none())),
            (false, true) => Ok(None),
            (false, false) => Ok(Some(config)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_make_a_check() {
        let flags = |interval: &str, cmd: &str| HealthFlags {
            health_interval: Some(interval.to_owned()),
            health_cmd: Some(cmd.to_owned()),
            ..HealthFlags::default()
        };
        let config = flags("1m", "true").into_config("run", false).unwrap();
        let config = config.unwrap();
        assert_eq!(config.test, ["CMD-SHELL", "true"]);
        assert_eq!(config.interval, 60_000_000_000);
        assert_eq!(flags("0s", "").into_config("run", false).unwrap(), None);
        let none = HealthFlags::default().into_config("run", true).unwrap();
        assert_eq!(none.unwrap().test, ["NONE"]);
        for (flags, none, text) in [
            (
                flags("1s", "x"),
                true,
                "--no-healthcheck conflicts with --health-* options",
            ),
            (
                flags("5", "x"),
                false,
                "invalid argument \"5\" for \"--health-interval\" flag: time: missing unit in duration \"5\"",
            ),
        ] {
            let failure = flags.into_config("run", none).unwrap_err();
            assert!(failure.text().starts_with(text), "{}", failure.text());
            assert_eq!(failure.code(), 125);
        }
    }
}
