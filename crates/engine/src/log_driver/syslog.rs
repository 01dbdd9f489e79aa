//! Syslog: the system's own, or a server's, in the formats of RFC 3164 and RFC 5424.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rctr_registry_client::TlsOptions;
use rctr_runtime::logs::Stream;

use super::endpoint::{Connection, Endpoint};
use super::record::Record;
use super::{About, Sink};
use crate::options::{LogPlan, ParseError};

const PORT: u16 = 514;
const PATIENCE: Duration = Duration::from_secs(10);

const FACILITIES: [&str; 20] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

pub(super) struct Syslog {
    about: About,
    endpoint: Endpoint,
    tls: TlsOptions,
    facility: u8,
    format: Format,
    connection: Option<Connection>,
}

#[derive(Clone, Copy)]
enum Format {
    /// As the C library writes to the local system log.
    Local,
    Rfc3164,
    Rfc5424 {
        micro: bool,
    },
}

impl Syslog {
    pub(super) fn new(plan: &LogPlan, about: &About) -> Result<Syslog, ParseError> {
        let bad = |key: &str, value: &str, why: &str| ParseError::LogValue {
            reason: format!("invalid value for {key}: {value}: {why}"),
        };
        let endpoint = match plan.option("syslog-address") {
            None | Some("") => Endpoint::SystemLog,
            Some(address) => Endpoint::parse("syslog-address", address, "", PORT)?,
        };
        if let Endpoint::Tls { scheme: "tls", .. } = endpoint {
            let address = plan.option("syslog-address").unwrap_or_default();
            return Err(bad("syslog-address", address, "say tcp+tls"));
        }
        let file = |key| plan.option(key).filter(|path| !path.is_empty());
        let identity = match (file("syslog-tls-cert"), file("syslog-tls-key")) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            (Some(one), None) => return Err(bad("syslog-tls-cert", one, "without its key")),
            (None, Some(one)) => return Err(bad("syslog-tls-key", one, "without its certificate")),
        };
        let tls = TlsOptions {
            ca: file("syslog-tls-ca-cert").map(PathBuf::from),
            identity,
            // As with Docker, whatever its value.
            trust_anyone: plan.option("syslog-tls-skip-verify").is_some(),
        };
        let facility = match plan.option("syslog-facility") {
            None | Some("") => 3,
            Some(word) => match word.parse::<u8>() {
                Ok(number @ 0..=23) => number,
                _ => match FACILITIES.iter().position(|name| *name == word) {
                    // The last eight begin at 16.
                    Some(position) if position >= 12 => position as u8 + 4,
                    Some(position) => position as u8,
                    None => return Err(bad("syslog-facility", word, "no such facility")),
                },
            },
        };
        let format = match plan.option("syslog-format") {
            None | Some("") => Format::Local,
            Some("rfc3164") => Format::Rfc3164,
            Some("rfc5424") => Format::Rfc5424 { micro: false },
            Some("rfc5424micro") => Format::Rfc5424 { micro: true },
            Some(word) => {
                return Err(bad(
                    "syslog-format",
                    word,
                    "rfc3164, rfc5424 or rfc5424micro",
                ));
            }
        };
        Ok(Syslog {
            about: about.clone(),
            endpoint,
            tls,
            facility,
            format,
            connection: None,
        })
    }

    pub(super) fn check(&mut self) -> io::Result<()> {
        self.connect().map(drop)
    }

    fn connect(&mut self) -> io::Result<&mut Connection> {
        let kept = self
            .endpoint
            .keep(&mut self.connection, PATIENCE, &self.tls);
        kept.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", self.endpoint)))
    }

    fn message(&self, record: &Record) -> Vec<u8> {
        let severity = match record.stream {
            Stream::Stdout => 6,
            Stream::Stderr => 3,
        };
        let priority = self.facility * 8 + severity;
        let (tag, pid, host) = (&self.about.tag, std::process::id(), &self.about.hostname);
        let head = match self.format {
            Format::Local => format!("<{priority}>{} {tag}[{pid}]: ", stamp(record.time)),
            Format::Rfc3164 => {
                format!("<{priority}>{} {host} {tag}[{pid}]: ", stamp(record.time))
            }
            Format::Rfc5424 { micro } => {
                let time = Timestamp::try_from(record.time).unwrap_or(Timestamp::UNIX_EPOCH);
                let time = match micro {
                    true => format!("{time:.6}"),
                    false => format!("{time:.0}"),
                };
                format!("<{priority}>1 {time} {host} {tag} {pid} {tag} - ")
            }
        };
        let mut message = head.into_bytes();
        message.extend_from_slice(&record.text);
        message
    }
}

/// `Nov  2 15:04:05`, in the host's time.
fn stamp(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    let local = time.to_zoned(TimeZone::system());
    local.strftime("%b %e %H:%M:%S").to_string()
}

impl Sink for Syslog {
    fn send(&mut self, records: &[Record]) -> io::Result<()> {
        for record in records {
            let mut message = self.message(record);
            let sent = self.connect().and_then(|connection| {
                if !connection.is_datagram() {
                    message.push(b'\n');
                }
                connection.send(&message)
            });
            sent.inspect_err(|_| self.connection = None)?;
        }
        Ok(())
    }

    fn wait(&self, failures: u32) -> Option<Duration> {
        Some(Duration::from_millis(100 << failures.min(7)))
    }
}
