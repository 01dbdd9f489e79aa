//! `--log-driver` and `--log-opt`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ParseError, parse_size};

/// Bytes of output that wait for a slow receiver with `mode=non-blocking`, if nothing else is said.
const BUFFER: u64 = 1 << 20;

/// Size and number of the files that keep the output of a driver for another place, as Docker has them.
const CACHE: (u64, u32) = (20 << 20, 5);

/// Drivers that Docker has and rctr does not.
const ELSEWHERE: [&str; 6] = [
    "awslogs",
    "etwlogs",
    "gcplogs",
    "gelf",
    "splunk",
    "logentries",
];

/// Where a container's output goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogChoice {
    /// The driver's name; `None` is the configuration's.
    pub driver: Option<String>,
    /// Its options as given.
    pub options: BTreeMap<String, String>,
}

/// A driver by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogDriver {
    /// Files in CRI format in the container's directory: Docker's `json-file` and `local`.
    File,
    /// Nothing is kept.
    None,
    /// systemd's journal.
    Journald,
    /// A syslog server.
    Syslog,
    /// Fluentd's forward protocol.
    Fluentd,
}

impl LogDriver {
    /// By Docker's name.
    ///
    /// # Errors
    /// [`ParseError::LogDriver`], [`ParseError::LogDriverElsewhere`].
    pub fn named(name: &str) -> Result<LogDriver, ParseError> {
        match name {
            "json-file" | "local" | "file" => Ok(LogDriver::File),
            "none" => Ok(LogDriver::None),
            "journald" => Ok(LogDriver::Journald),
            "syslog" => Ok(LogDriver::Syslog),
            "fluentd" => Ok(LogDriver::Fluentd),
            name if ELSEWHERE.contains(&name) => {
                Err(ParseError::LogDriverElsewhere { name: name.into() })
            }
            name => Err(ParseError::LogDriver { name: name.into() }),
        }
    }

    /// Whether the output goes to another place than the container's directory.
    pub fn is_remote(self) -> bool {
        matches!(self, Self::Journald | Self::Syslog | Self::Fluentd)
    }

    fn own_options(self) -> &'static [&'static str] {
        match self {
            Self::File => &["max-size", "max-file", "compress"],
            Self::None => &[],
            Self::Journald => &[],
            Self::Syslog => &[
                "syslog-address",
                "syslog-facility",
                "syslog-format",
                "syslog-tls-ca-cert",
                "syslog-tls-cert",
                "syslog-tls-key",
                "syslog-tls-skip-verify",
            ],
            Self::Fluentd => &[
                "fluentd-address",
                "fluentd-async",
                "fluentd-async-connect",
                "fluentd-async-reconnect-interval",
                "fluentd-buffer-limit",
                "fluentd-max-retries",
                "fluentd-request-ack",
                "fluentd-retry-wait",
                "fluentd-sub-second-precision",
                "fluentd-write-timeout",
            ],
        }
    }
}

/// Options that several drivers have.
const COMMON: [&str; 7] = [
    "mode",
    "max-buffer-size",
    "labels",
    "labels-regex",
    "env",
    "env-regex",
    "tag",
];

/// Options of the files that keep what goes elsewhere.
const OF_CACHE: [&str; 4] = [
    "cache-disabled",
    "cache-max-size",
    "cache-max-file",
    "cache-compress",
];

/// What driver and options mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPlan {
    /// The driver.
    pub driver: LogDriver,
    /// The driver's name as it was given.
    pub name: String,
    /// Size and number of the files in the container's directory; `None`: there are none.
    pub files: Option<(u64, u32)>,
    /// `mode=non-blocking`: how many bytes may wait for a slow receiver before the oldest are dropped.
    pub buffer: Option<u64>,
    /// All options.
    pub options: BTreeMap<String, String>,
}

impl LogPlan {
    /// Reads driver and options; `size` and `count` are the configuration's for files.
    ///
    /// # Errors
    /// [`ParseError::LogDriver`], [`ParseError::LogDriverElsewhere`], [`ParseError::LogOption`] for an option that the
    /// driver does not have, [`ParseError::LogValue`] for one that cannot be.
    pub fn new(
        name: &str,
        options: &BTreeMap<String, String>,
        (size, count): (u64, u32),
    ) -> Result<LogPlan, ParseError> {
        let driver = LogDriver::named(name)?;
        let cached: &[&str] = if driver.is_remote() { &OF_CACHE } else { &[] };
        for key in options.keys() {
            let known = [&COMMON[..], driver.own_options(), cached];
            if driver != LogDriver::None && !known.iter().any(|list| list.contains(&key.as_str())) {
                return Err(ParseError::LogOption {
                    key: key.clone(),
                    name: name.to_owned(),
                });
            }
        }
        let reader = Reader { options };
        for key in ["compress", "cache-compress"] {
            if reader.flag(key)? {
                return Err(reader.bad(key, "rotated files are not compressed"));
            }
        }
        let files = match driver {
            LogDriver::None => None,
            LogDriver::File => Some((
                reader.size("max-size")?.unwrap_or(size),
                reader.count("max-file")?.unwrap_or(count),
            )),
            _ if reader.flag("cache-disabled")? => None,
            _ => Some((
                reader.size("cache-max-size")?.unwrap_or(CACHE.0),
                reader.count("cache-max-file")?.unwrap_or(CACHE.1),
            )),
        };
        let buffer = match options.get("mode").map(String::as_str) {
            None | Some("" | "blocking") => match options.contains_key("max-buffer-size") {
                true => {
                    return Err(ParseError::LogValue {
                        reason:
                            "logger: max-buffer-size option is only supported with 'mode=non-blocking'"
                                .to_owned(),
                    });
                }
                false => None,
            },
            Some("non-blocking") => Some(reader.size("max-buffer-size")?.unwrap_or(BUFFER)),
            Some(mode) => {
                return Err(ParseError::LogValue {
                    reason: format!("logger: logging mode not supported: {mode}"),
                });
            }
        };
        Ok(LogPlan {
            driver,
            name: name.to_owned(),
            files,
            buffer,
            options: options.clone(),
        })
    }

    /// An option's value.
    pub fn option(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(String::as_str)
    }
}

/// Reads options' values.
pub(crate) struct Reader<'a> {
    pub(crate) options: &'a BTreeMap<String, String>,
}

impl Reader<'_> {
    pub(crate) fn bad(&self, key: &str, reason: &str) -> ParseError {
        let value = self.options.get(key).map_or("", String::as_str);
        ParseError::LogValue {
            reason: format!("invalid value for {key}: {value}: {reason}"),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Result<bool, ParseError> {
        match self.options.get(key).map(String::as_str) {
            None => Ok(false),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(_) => Err(self.bad(key, "neither true nor false")),
        }
    }

    pub(crate) fn size(&self, key: &str) -> Result<Option<u64>, ParseError> {
        match self.options.get(key) {
            // Docker's word for no limit.
            Some(text) if text == "-1" => Ok(Some(0)),
            Some(text) => match parse_size(text) {
                Ok(size) if size > 0 => Ok(Some(size)),
                _ => Err(self.bad(key, "not a size")),
            },
            None => Ok(None),
        }
    }

    pub(crate) fn count(&self, key: &str) -> Result<Option<u32>, ParseError> {
        match self.options.get(key) {
            Some(text) => match text.parse() {
                Ok(count) if count > 0 => Ok(Some(count)),
                _ => Err(self.bad(key, "not a number from 1 on")),
            },
            None => Ok(None),
        }
    }

    /// Go's notation, `1s`, `500ms`, `1m30s`.
    pub(crate) fn duration(&self, key: &str) -> Result<Option<Duration>, ParseError> {
        match self.options.get(key) {
            Some(text) => match parse_duration(text) {
                Some(duration) => Ok(Some(duration)),
                None => Err(self.bad(key, "not a duration")),
            },
            None => Ok(None),
        }
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let end = unit
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(unit.len());
        let (unit, after) = unit.split_at(end);
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    Duration::try_from_secs_f64(total)
        .ok()
        .filter(|_| !text.is_empty())
}

/// Reads every `--log-opt KEY=VALUE`; what is wrong with one is found with its driver.
pub fn parse_log_options(values: &[String]) -> BTreeMap<String, String> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (text.clone(), String::new()),
    };
    values.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(driver: &str, options: &[&str]) -> Result<LogPlan, String> {
        let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
        let options = parse_log_options(&options);
        LogPlan::new(driver, &options, (10, 3)).map_err(|e| e.to_string())
    }

    #[test]
    fn files_have_sizes() {
        let json = plan("json-file", &["max-size=1k", "max-file=2", "tag=x"]).unwrap();
        assert_eq!(
            (json.driver, json.files),
            (LogDriver::File, Some((1024, 2)))
        );
        assert_eq!(plan("local", &[]).unwrap().files, Some((10, 3)));
        assert_eq!(
            plan("json-file", &["max-size=-1"]).unwrap().files,
            Some((0, 3))
        );
        assert_eq!(plan("none", &[]).unwrap().files, None);
        let syslog = plan("syslog", &["cache-max-file=1"]).unwrap();
        assert_eq!(syslog.files, Some((20 << 20, 1)));
        assert_eq!(
            plan("fluentd", &["cache-disabled=true"]).unwrap().files,
            None
        );
    }

    #[test]
    fn modes() {
        assert_eq!(plan("syslog", &[]).unwrap().buffer, None);
        let plan = |options: &[&str]| plan("syslog", options);
        assert_eq!(plan(&["mode=non-blocking"]).unwrap().buffer, Some(1 << 20));
        let small = ["mode=non-blocking", "max-buffer-size=4k"];
        assert_eq!(plan(&small).unwrap().buffer, Some(4096));
        assert!(
            plan(&["max-buffer-size=4k"])
                .unwrap_err()
                .contains("non-blocking")
        );
        assert_eq!(
            plan(&["mode=fast"]).unwrap_err(),
            "logger: logging mode not supported: fast"
        );
    }

    #[test]
    fn what_is_unknown_is_named() {
        for (driver, options, message) in [
            (
                "foo",
                &[][..],
                "logger: no log driver named 'foo' is registered",
            ),
            (
                "gelf",
                &[],
                "log driver gelf is not supported: use fluentd, syslog or journald",
            ),
            (
                "json-file",
                &["x=1"],
                "unknown log opt 'x' for json-file log driver",
            ),
            (
                "journald",
                &["syslog-address=x"],
                "unknown log opt 'syslog-address' for journald log driver",
            ),
            (
                "json-file",
                &["cache-disabled=1"],
                "unknown log opt 'cache-disabled' for json-file log driver",
            ),
            (
                "json-file",
                &["max-file=0"],
                "invalid value for max-file: 0: not a number from 1 on",
            ),
            (
                "json-file",
                &["compress=true"],
                "invalid value for compress: true: rotated files are not compressed",
            ),
        ] {
            assert_eq!(plan(driver, options).unwrap_err(), message);
        }
    }

    #[test]
    fn durations_are_go_s() {
        for (text, millis) in [("1s", 1000), ("500ms", 500), ("1m30s", 90_000), ("0", 0)] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)));
        }
        for text in ["", "1", "x", "1d", "-1s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
