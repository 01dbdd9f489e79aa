//! Drivers that pass a container's output on to another place.
//!
//! Each container with such a driver has a small process for it (`rctr internal log-driver`), which its monitor feeds
//! through a pipe with the records of the log. The monitor does without a network and its delays, and without the
//! code for them; a driver that is killed is started again by the monitor.

mod attributes;
mod endpoint;
mod fluentd;
mod journald;
mod msgpack;
mod queue;
mod record;
mod syslog;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rctr_runtime::LogConfig;
use serde::{Deserialize, Serialize};

use crate::model::Container;
use crate::options::{LogDriver, LogPlan};
use crate::{Engine, Error, Result};

use self::queue::Queue;
use self::record::Record;

/// How long a receiver may fail after the end of the container's output.
const LAST: Duration = Duration::from_secs(10);
/// Bytes that wait for a receiver, if its driver has no option for it.
const BUFFER: usize = 1 << 20;
/// How large the file becomes that tells what could not be delivered, before it begins anew.
const MOST_ERRORS: u64 = 64 << 10;

/// What a driver's process has to know.
#[derive(Debug, Serialize, Deserialize)]
struct Configuration {
    driver: String,
    options: BTreeMap<String, String>,
    container: About,
    /// Where it is written down what could not be delivered.
    errors: PathBuf,
}

/// What receivers are told of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct About {
    id: String,
    name: String,
    image: String,
    tag: String,
    /// Labels and variables that were asked for.
    attributes: BTreeMap<String, String>,
    hostname: String,
}

/// A place that takes records.
trait Sink {
    /// How many records it takes with one [`send`](Sink::send).
    fn at_once(&self) -> usize {
        1
    }

    /// Takes them all, or fails and has taken none.
    fn send(&mut self, records: &[Record]) -> io::Result<()>;

    /// How long to wait before the next attempt after so many failures in a row; `None`: records that failed so often
    /// are given up.
    fn wait(&self, failures: u32) -> Option<Duration>;
}

impl Engine {
    /// Driver and options of a container, those of the configuration where it has none.
    pub(crate) fn log_plan(&self, container: &Container) -> Result<LogPlan> {
        let choice = &container.options.log;
        let settings = &self.config.settings.log;
        let name = choice.driver.as_deref().unwrap_or(&settings.driver);
        Ok(LogPlan::new(
            name,
            &choice.options,
            (settings.max_size, settings.max_file),
        )?)
    }

    /// What `logs --details` shows: the labels and variables that the log options name, `a=1,b=2`.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`].
    pub fn log_details(&self, name: &str) -> Result<String> {
        let container = self.container(name)?;
        let attributes = attributes::attributes(&container, &self.log_plan(&container)?)?;
        let pairs = attributes.iter().map(|(k, v)| format!("{k}={v}"));
        Ok(pairs.collect::<Vec<_>>().join(","))
    }

    /// Whether a container's driver is one of files, whose place `inspect` tells.
    pub fn has_log_file(&self, container: &Container) -> bool {
        let plan = self.log_plan(container);
        plan.is_ok_and(|plan| plan.driver == LogDriver::File)
    }

    /// Checks driver and options of a container that is being made, and writes them down: the configuration may change.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub(crate) fn settle_log(&self, container: &mut Container) -> Result<()> {
        let settings = &self.config.settings.log;
        let choice = &mut container.options.log;
        if choice.driver.is_none() {
            choice.driver = Some(settings.driver.clone());
            for (key, value) in &settings.options {
                choice.options.entry(key.clone()).or_insert(value.clone());
            }
        }
        let plan = self.log_plan(container)?;
        if plan.driver.is_remote() {
            sink(&plan, &attributes::about(container, &plan)?)?;
        }
        Ok(())
    }

    /// What the monitor needs for a container's log.
    ///
    /// # Errors
    /// [`Error::LogDriver`] if the driver cannot work now, [`Error::Invalid`] for options that cannot be.
    pub(crate) fn log_launch(
        &self,
        container: &Container,
        bundle: &Path,
    ) -> Result<(Option<LogConfig>, Option<rctr_runtime::LogDriver>)> {
        let plan = self.log_plan(container)?;
        let file = plan.files.map(|(max_size, max_file)| LogConfig {
            path: bundle.join("log"),
            max_size,
            max_file,
        });
        if !plan.driver.is_remote() {
            return Ok((file, None));
        }
        let about = attributes::about(container, &plan)?;
        let mut sink = sink(&plan, &about)?;
        // As with Docker, a container does not start whose log has no receiver.
        sink.check().map_err(|e| Error::LogDriver {
            reason: e.to_string(),
        })?;
        let configuration = Configuration {
            driver: plan.name.clone(),
            options: plan.options.clone(),
            container: about,
            errors: bundle.join("log-driver.errors"),
        };
        let json = serde_json::to_string(&configuration).map_err(|e| Error::LogDriver {
            reason: e.to_string(),
        })?;
        let exe = crate::program()?;
        let words = ["internal", "log-driver"].map(str::to_owned);
        let program = exe.to_string_lossy().into_owned();
        let driver = rctr_runtime::LogDriver {
            command: std::iter::once(program).chain(words).collect(),
            configuration: json,
            buffer: plan.buffer,
        };
        Ok((file, Some(driver)))
    }
}

/// A driver's sink, which is not connected yet.
enum AnySink {
    Fluentd(fluentd::Fluentd),
    Journald(journald::Journald),
    Syslog(syslog::Syslog),
}

impl AnySink {
    fn check(&mut self) -> io::Result<()> {
        match self {
            AnySink::Fluentd(sink) => sink.check(),
            AnySink::Journald(sink) => sink.check(),
            AnySink::Syslog(sink) => sink.check(),
        }
    }

    fn as_sink(&mut self) -> &mut dyn Sink {
        match self {
            AnySink::Fluentd(sink) => sink,
            AnySink::Journald(sink) => sink,
            AnySink::Syslog(sink) => sink,
        }
    }

    fn buffer(&self) -> usize {
        match self {
            AnySink::Fluentd(sink) => sink.buffer(),
            AnySink::Journald(_) | AnySink::Syslog(_) => BUFFER,
        }
    }
}

fn sink(plan: &LogPlan, about: &About) -> Result<AnySink> {
    Ok(match plan.driver {
        LogDriver::Fluentd => AnySink::Fluentd(fluentd::Fluentd::new(plan, about)?),
        LogDriver::Syslog => AnySink::Syslog(syslog::Syslog::new(plan, about)?),
        _ => AnySink::Journald(journald::Journald::new(about)),
    })
}

/// The process of a driver: passes on what comes on standard input until that ends. `configuration` is what the engine
/// has written for it.
///
/// # Errors
/// [`Error::BadRecord`] for a configuration that is none.
pub fn run_log_driver(configuration: &str) -> Result<()> {
    let configuration: Configuration =
        serde_json::from_str(configuration).map_err(|e| Error::BadRecord {
            what: format!("configuration of a log driver: {e}"),
        })?;
    let plan = LogPlan::new(&configuration.driver, &configuration.options, (0, 1))?;
    let mut sink = sink(&plan, &configuration.container)?;
    let queue = Queue::new(sink.buffer(), plan.buffer.is_some());
    let errors = Errors {
        path: configuration.errors,
        container: configuration.container.id,
        told: None,
    };
    std::thread::scope(|scope| {
        scope.spawn(|| queue.fill(io::stdin().lock()));
        deliver(&queue, sink.as_sink(), errors);
    });
    Ok(())
}

/// Hands over what comes, until there is no more.
fn deliver(queue: &Queue, sink: &mut dyn Sink, mut errors: Errors) {
    let mut failures = 0;
    let mut give_up_at = None;
    while let Some(batch) = queue.take(sink.at_once()) {
        if batch.dropped > 0 {
            errors.tell(&format!(
                "{} lines dropped: the receiver is too slow",
                batch.dropped
            ));
        }
        loop {
            let error = match sink.send(&batch.records) {
                Ok(()) => {
                    failures = 0;
                    queue.progress();
                    break;
                }
                Err(error) => error,
            };
            if error.raw_os_error() == Some(libc::EMSGSIZE) {
                errors.tell_now("a line lost: too long for the receiver");
                break;
            }
            failures += 1;
            errors.tell(&error.to_string());
            if queue.has_ended() && give_up_at.is_none() {
                give_up_at = Some(Instant::now() + LAST);
            }
            let late = give_up_at.is_some_and(|at| at <= Instant::now());
            match sink.wait(failures).filter(|_| !late) {
                Some(time) => queue.wait(time),
                None => {
                    errors.tell_now(&format!("{} lines lost: {error}", batch.records.len()));
                    failures = 0;
                    break;
                }
            }
        }
    }
}

/// Where it is told what did not reach the receiver.
struct Errors {
    path: PathBuf,
    container: String,
    told: Option<Instant>,
}

impl Errors {
    /// At most once a minute.
    fn tell(&mut self, what: &str) {
        if self
            .told
            .is_none_or(|at| at.elapsed() > Duration::from_secs(60))
        {
            self.tell_now(what);
        }
    }

    /// In a file beside the log, if the container is still there, and in the host's system log, if that has one.
    fn tell_now(&mut self, what: &str) {
        self.told = Some(Instant::now());
        let now = crate::time::now();
        let append = |path: &Path| -> io::Result<File> {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            if file.metadata()?.len() > MOST_ERRORS {
                file.set_len(0)?;
            }
            Ok(file)
        };
        if self.path.parent().is_some_and(Path::is_dir) {
            let _ = append(&self.path).and_then(|mut file| writeln!(file, "{now} {what}"));
        }
        if let Ok(socket) = UnixDatagram::unbound() {
            let text = format!(
                "<27>rctr[{}]: log of {}: {what}",
                std::process::id(),
                self.container
            );
            let _ = socket.set_nonblocking(true);
            let _ = socket.send_to(text.as_bytes(), "/dev/log");
        }
    }
}

#[cfg(test)]
mod tests;
