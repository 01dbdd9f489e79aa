//! `HEALTHCHECK` and `--health-*`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ParseError;

const MILLISECOND: i64 = 1_000_000;

/// A health check as Docker keeps it. Durations are nanoseconds; what is 0 or empty was not said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthConfig {
    /// `CMD` and words, `CMD-SHELL` and a line, or `NONE`.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub test: Vec<String>,
    /// Between probes.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one probe.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// After the start, while failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between probes in that time.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl HealthConfig {
    /// The check of `--no-healthcheck`.
    pub fn none() -> HealthConfig {
        HealthConfig {
            test: vec!["NONE".to_owned()],
            ..HealthConfig::default()
        }
    }

    /// With what the image says where this says nothing.
    pub fn over(mut self, image: HealthConfig) -> HealthConfig {
        if self.test.is_empty() {
            self.test = image.test;
        }
        for (mine, its) in [
            (&mut self.interval, image.interval),
            (&mut self.timeout, image.timeout),
            (&mut self.start_period, image.start_period),
            (&mut self.start_interval, image.start_interval),
            (&mut self.retries, image.retries),
        ] {
            if *mine == 0 {
                *mine = its;
            }
        }
        self
    }

    /// The command line that a probe executes, if there is one.
    pub fn command(&self) -> Option<Vec<String>> {
        let (kind, words) = self.test.split_first()?;
        match kind.as_str() {
            "CMD" => Some(words.to_vec()),
            "CMD-SHELL" => {
                let shell = ["/bin/sh", "-c"].map(str::to_owned);
                Some([&shell, words].concat())
            }
            _ => None,
        }
        .filter(|words| !words.is_empty())
    }

    /// The value of a duration, or Docker's default.
    pub(crate) fn or_default(nanoseconds: i64, default: Duration) -> Duration {
        match u64::try_from(nanoseconds) {
            Ok(nanoseconds) if nanoseconds > 0 => Duration::from_nanos(nanoseconds),
            _ => default,
        }
    }

    /// Checks what Docker's command line and its engine check.
    ///
    /// # Errors
    /// [`ParseError::Negative`], [`ParseError::HealthTooShort`].
    pub(super) fn check(&self) -> Result<(), ParseError> {
        for (flag, field, value) in [
            ("--health-interval", "Interval", self.interval),
            ("--health-timeout", "Timeout", self.timeout),
            ("--health-start-period", "StartPeriod", self.start_period),
            (
                "--health-start-interval",
                "StartInterval",
                self.start_interval,
            ),
        ] {
            if value < 0 {
                return Err(ParseError::Negative { flag });
            }
            if value != 0 && value < MILLISECOND {
                return Err(ParseError::HealthTooShort { field });
            }
        }
        if self.retries < 0 {
            let flag = "--health-retries";
            return Err(ParseError::Negative { flag });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_and_the_image_fills_the_gaps() {
        let image: HealthConfig = serde_json::from_str(
            r#"{"Test": ["CMD-SHELL", "curl -f localhost"], "Interval": 5000000000, "Retries": 7}"#,
        )
        .unwrap();
        assert_eq!(
            image.command().unwrap(),
            ["/bin/sh", "-c", "curl -f localhost"]
        );
        let flags = HealthConfig {
            retries: 2,
            timeout: MILLISECOND,
            ..HealthConfig::default()
        };
        let merged = flags.over(image.clone());
        assert_eq!((merged.retries, merged.interval), (2, 5_000_000_000));
        assert_eq!(
            serde_json::to_string(&merged).unwrap(),
            r#"{"Test":["CMD-SHELL","curl -f localhost"],"Interval":5000000000,"Timeout":1000000,"Retries":2}"#
        );
        assert_eq!(HealthConfig::none().over(image).command(), None);
        assert_eq!(HealthConfig::default().command(), None);
        let odd: HealthConfig = serde_json::from_str(r#"{"Test": null}"#).unwrap();
        assert_eq!(odd.command(), None);
    }

    #[test]
    fn times_have_bounds() {
        let check = |interval| {
            let config = HealthConfig {
                interval,
                ..HealthConfig::default()
            };
            config.check().map_err(|e| e.to_string())
        };
        assert_eq!(check(0), Ok(()));
        assert_eq!(check(MILLISECOND), Ok(()));
        assert_eq!(
            check(MILLISECOND - 1).unwrap_err(),
            "Interval in Healthcheck cannot be less than 1ms"
        );
        assert_eq!(
            check(-1).unwrap_err(),
            "--health-interval cannot be negative"
        );
    }
}
