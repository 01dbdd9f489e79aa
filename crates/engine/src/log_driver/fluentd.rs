//! Fluentd's forward protocol.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use rctr_registry_client::TlsOptions;

use super::endpoint::{Connection, Endpoint};
use super::msgpack::{self, Writer};
use super::record::Record;
use super::{About, BUFFER, Sink};
use crate::options::{LogOptionReader, LogPlan, ParseError};

const ADDRESS: &str = "tcp://127.0.0.1:24224";
const PORT: u16 = 24224;
/// Longest pause between two attempts.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How many records a message has at most.
const BATCH: usize = 512;
/// Docker's bounds of `fluentd-async-reconnect-interval`.
const RECONNECT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(10);

pub(super) struct Fluentd {
    about: About,
    endpoint: Endpoint,
    /// Start without a receiver.
    asynchronous: bool,
    buffer: usize,
    /// `None`: for ever.
    max_retries: Option<u32>,
    retry_wait: Duration,
    patience: Duration,
    acknowledged: bool,
    precise: bool,
    connection: Option<Connection>,
    /// How long a connection is used: the name may lead to another receiver by then.
    reconnect: Option<Duration>,
    reconnect_at: Option<Instant>,
    chunks: u64,
}

impl Fluentd {
    pub(super) fn new(plan: &LogPlan, about: &About) -> Result<Fluentd, ParseError> {
        let reader = LogOptionReader {
            options: &plan.options,
        };
        let address = plan.option("fluentd-address").unwrap_or(ADDRESS);
        let endpoint = Endpoint::parse("fluentd-address", address, "tcp", PORT)?;
        match endpoint {
            Endpoint::Tcp(_) | Endpoint::Unix(_) | Endpoint::Tls { scheme: "tls", .. } => {}
            _ => return Err(reader.bad("fluentd-address", "schemes are tcp, tls and unix")),
        }
        let buffer = reader.size("fluentd-buffer-limit")?;
        let key = "fluentd-async-reconnect-interval";
        let reconnect = reader.duration(key)?.filter(|interval| !interval.is_zero());
        if reconnect.is_some_and(|interval| !RECONNECT.contains(&interval)) {
            return Err(reader.bad(key, "must be between 100ms and 10s"));
        }
        Ok(Fluentd {
            about: about.clone(),
            endpoint,
            asynchronous: reader.flag("fluentd-async")? || reader.flag("fluentd-async-connect")?,
            buffer: buffer.map_or(BUFFER, |size| usize::try_from(size).unwrap_or(usize::MAX)),
            max_retries: reader.count("fluentd-max-retries")?,
            retry_wait: reader
                .duration("fluentd-retry-wait")?
                .unwrap_or(Duration::from_secs(1)),
            patience: reader
                .duration("fluentd-write-timeout")?
                .filter(|patience| !patience.is_zero())
                .unwrap_or(Duration::from_secs(10)),
            acknowledged: reader.flag("fluentd-request-ack")?,
            precise: reader.flag("fluentd-sub-second-precision")?,
            connection: None,
            reconnect,
            reconnect_at: None,
            chunks: 0,
        })
    }

    pub(super) fn buffer(&self) -> usize {
        self.buffer
    }

    pub(super) fn check(&mut self) -> io::Result<()> {
        match self.asynchronous {
            true => Ok(()),
            false => self.connect().map(drop),
        }
    }

    fn connect(&mut self) -> io::Result<&mut Connection> {
        let now = Instant::now();
        if self.reconnect_at.is_some_and(|at| at <= now) {
            self.connection = None;
        }
        if self.connection.is_none() {
            self.reconnect_at = self.reconnect.map(|after| now + after);
        }
        let tls = TlsOptions::default();
        let kept = self
            .endpoint
            .keep(&mut self.connection, self.patience, &tls);
        kept.map_err(|e| io::Error::new(e.kind(), format!("dial {}: {e}", self.endpoint)))
    }

    /// `[tag, [[time, record], …], {…}]`.
    fn message(&self, records: &[Record], chunk: Option<&str>) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.array(3);
        writer.string(&self.about.tag);
        writer.array(records.len());
        for record in records {
            writer.array(2);
            match self.precise {
                true => writer.event_time(record.time),
                false => writer.number(
                    record
                        .time
                        .duration_since(SystemTime::UNIX_EPOCH)
                        .map_or(0, |since| since.as_secs()),
                ),
            }
            self.event(&mut writer, record);
        }
        writer.map(1 + usize::from(chunk.is_some()));
        writer.string("size");
        writer.number(records.len() as u64);
        if let Some(chunk) = chunk {
            writer.string("chunk");
            writer.string(chunk);
        }
        writer.0
    }

    fn event(&self, writer: &mut Writer, record: &Record) {
        let about = &self.about;
        let piece = if record.piece.is_some() { 4 } else { 0 };
        writer.map(4 + about.attributes.len() + piece);
        let mut pair = |name: &str, value: &[u8]| {
            writer.string(name);
            writer.string(value);
        };
        pair("container_id", about.id.as_bytes());
        pair("container_name", format!("/{}", about.name).as_bytes());
        pair("source", record.source().as_bytes());
        pair("log", &record.text);
        for (name, value) in &about.attributes {
            pair(name, value.as_bytes());
        }
        if let Some(piece) = &record.piece {
            pair("partial_message", b"true");
            pair("partial_id", piece.id.as_bytes());
            pair("partial_ordinal", piece.number.to_string().as_bytes());
            pair("partial_last", piece.last.to_string().as_bytes());
        }
    }

    fn try_send(&mut self, records: &[Record]) -> io::Result<()> {
        self.chunks += 1;
        let chunk = self
            .acknowledged
            .then(|| format!("{}-{}", self.about.id, self.chunks));
        let message = self.message(records, chunk.as_deref());
        let connection = self.connect()?;
        connection.send(&message)?;
        match chunk {
            Some(chunk) => await_ack(connection, &chunk),
            None => Ok(()),
        }
    }
}

fn await_ack(connection: &mut Connection, chunk: &str) -> io::Result<()> {
    let bad = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the receiver does not acknowledge",
        )
    };
    let mut answer = Vec::new();
    let mut buffer = [0; 256];
    loop {
        match connection.receive(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => answer.extend_from_slice(&buffer[..count]),
        }
        match msgpack::ack(&answer) {
            Ok(Some(ack)) if ack == chunk => return Ok(()),
            Ok(None) if answer.len() < 4096 => {}
            _ => return Err(bad()),
        }
    }
}

impl Sink for Fluentd {
    fn at_once(&self) -> usize {
        BATCH
    }

    fn send(&mut self, records: &[Record]) -> io::Result<()> {
        let sent = self.try_send(records);
        sent.inspect_err(|_| self.connection = None)
    }

    /// Each time half as long again, as Fluentd's own clients have it.
    fn wait(&self, failures: u32) -> Option<Duration> {
        if self.max_retries.is_some_and(|most| failures > most) {
            return None;
        }
        let factor = 1.5_f64.powi(failures.saturating_sub(1).min(30) as i32);
        Some(self.retry_wait.mul_f64(factor).min(MAX_WAIT))
    }
}
