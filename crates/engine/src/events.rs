//! What happens to containers, images, volumes and networks, as Docker tells it.
//!
//! An event is recorded in the transaction that makes it true: [`container`], [`image`], [`volume`] and [`network`] take
//! that transaction. [`Engine::events`] gives them to whoever wants to know, from a moment in the past on and as they come.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use oci_spec::image::{Digest, ImageConfiguration};
use rctr_store::{NewEvent, Store, Tx, Watch};

use crate::inspect::network_id;
use crate::model::{Container, ZERO_TIME};
use crate::options::NetworkMode;
use crate::{Engine, Error, Result, time};

mod filter;

pub use filter::EventFilter;
pub use rctr_store::Event;

type Stored = rctr_store::Result<()>;
type Attributes = BTreeMap<String, String>;

/// What happens to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerEvent<'a> {
    /// A file or directory was copied out of it.
    ArchivePath,
    /// Somebody attached to its streams.
    Attach,
    /// An image was made of it.
    Commit {
        /// The image's id.
        image: &'a str,
        /// What was said about it.
        comment: &'a str,
    },
    /// It was made.
    Create,
    /// It was removed.
    Destroy,
    /// Its first process ended. Times and code are those of the record.
    Die,
    /// A process is to run in it.
    ExecCreate {
        /// Id of the process.
        id: &'a str,
        /// Its command line.
        command: &'a str,
    },
    /// A process that was run in it has ended.
    ExecDie {
        /// Id of the process.
        id: &'a str,
        /// Its exit code.
        code: i32,
    },
    /// A process was started in it.
    ExecStart {
        /// Id of the process.
        id: &'a str,
        /// Its command line.
        command: &'a str,
    },
    /// Its file system was written to an archive.
    Export,
    /// An archive was unpacked in it.
    ExtractToDir,
    /// Its health is another one: `starting`, `healthy`, `unhealthy`.
    HealthStatus(&'a str),
    /// It was sent a signal.
    Kill(i32),
    /// It ran out of memory.
    Oom,
    /// It was frozen.
    Pause,
    /// It got another name.
    Rename {
        /// The one before.
        before: &'a str,
    },
    /// It was stopped and started.
    Restart,
    /// It was started.
    Start,
    /// It was stopped.
    Stop,
    /// Its processes were listed.
    Top,
    /// It goes on.
    Unpause,
    /// Its limits or its restart policy were changed.
    Update,
}

impl ContainerEvent<'_> {
    fn action(&self) -> Cow<'static, str> {
        match self {
            Self::ArchivePath => "archive-path",
            Self::Attach => "attach",
            Self::Commit { .. } => "commit",
            Self::Create => "create",
            Self::Destroy => "destroy",
            Self::Die => "die",
            Self::ExecCreate { command, .. } => return format!("exec_create: {command}").into(),
            Self::ExecDie { .. } => "exec_die",
            Self::ExecStart { command, .. } => return format!("exec_start: {command}").into(),
            Self::Export => "export",
            Self::ExtractToDir => "extract-to-dir",
            Self::HealthStatus(status) => return format!("health_status: {status}").into(),
            Self::Kill(_) => "kill",
            Self::Oom => "oom",
            Self::Pause => "pause",
            Self::Rename { .. } => "rename",
            Self::Restart => "restart",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Top => "top",
            Self::Unpause => "unpause",
            Self::Update => "update",
        }
        .into()
    }

    fn attributes(&self, container: &Container) -> Vec<(&'static str, String)> {
        match *self {
            Self::Commit { image, comment } => {
                vec![("comment", comment.into()), ("imageID", image.into())]
            }
            Self::Die => vec![
                ("exitCode", container.state.exit_code.to_string()),
                ("execDuration", lived(container).to_string()),
            ],
            Self::ExecCreate { id, .. } | Self::ExecStart { id, .. } => {
                vec![("execID", id.into())]
            }
            Self::ExecDie { id, code } => {
                vec![("execID", id.into()), ("exitCode", code.to_string())]
            }
            Self::Kill(signal) => vec![("signal", signal.to_string())],
            Self::Rename { before } => vec![("oldName", format!("/{before}"))],
            _ => Vec::new(),
        }
    }
}

/// Seconds from the start of the last run to its end.
fn lived(container: &Container) -> u64 {
    let state = &container.state;
    let times = (
        time::parse(&state.started_at),
        time::parse(&state.finished_at),
    );
    let (true, (Some(start), Some(end))) = (state.started_at != ZERO_TIME, times) else {
        return 0;
    };
    end.duration_since(start).map_or(0, |lived| lived.as_secs())
}

/// What happens to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageEvent {
    /// It was removed.
    Delete,
    /// It was made of an archive of a file system.
    Import,
    /// It came out of an archive of images.
    Load,
    /// It came from a registry.
    Pull,
    /// It went to a registry.
    Push,
    /// It was written to an archive.
    Save,
    /// It got a name.
    Tag,
    /// It lost a name.
    Untag,
}

impl ImageEvent {
    fn action(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Import => "import",
            Self::Load => "load",
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Save => "save",
            Self::Tag => "tag",
            Self::Untag => "untag",
        }
    }
}

/// What happens to a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeEvent<'a> {
    /// It was made.
    Create,
    /// It was removed.
    Destroy,
    /// A container that has it runs.
    Mount {
        /// The container's id.
        container: &'a str,
        /// Where it is there.
        destination: &'a str,
        /// Whether it can be written.
        writable: bool,
        /// How mounts spread.
        propagation: &'a str,
    },
    /// A container that has it has ended.
    Unmount {
        /// The container's id.
        container: &'a str,
    },
}

/// What happens to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkEvent<'a> {
    /// A container with this id takes part.
    Connect(&'a str),
    /// It was made.
    Create,
    /// It was removed.
    Destroy,
    /// A container with this id does not take part any more.
    Disconnect(&'a str),
}

/// Records what happens to a container.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn container(tx: &Tx<'_>, container: &Container, event: ContainerEvent<'_>) -> Stored {
    let mut attributes = container.process.labels.clone();
    attributes.insert("image".into(), container.image_name.clone());
    attributes.insert("name".into(), container.name.clone());
    for (name, value) in event.attributes(container) {
        attributes.insert(name.into(), value);
    }
    add(tx, "container", &event.action(), &container.id, &attributes)
}

/// What an image's configuration has as labels; none if it cannot be read.
pub(crate) fn labels_of(store: &Store, id: &Digest) -> Attributes {
    let bytes = store.read_blob(id).ok().flatten();
    let config = bytes.and_then(|b| serde_json::from_slice::<ImageConfiguration>(&b).ok());
    let labels = config.and_then(|c| c.config().as_ref()?.labels().clone());
    labels.unwrap_or_default().into_iter().collect()
}

/// The familiar form of a canonical name without its tag or digest: `nginx`.
pub(crate) fn repository(canonical: &str) -> String {
    let familiar = crate::familiar_name(canonical);
    let name = familiar.split('@').next().unwrap_or_default();
    filter::without_tag(name).to_owned()
}

/// Records what happens to an image: `actor` is its id, or for what has to do with a registry its familiar name with the
/// tag; `name` is Docker's attribute of that name.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn image(
    tx: &Tx<'_>,
    event: ImageEvent,
    actor: &str,
    name: &str,
    labels: &Attributes,
) -> Stored {
    let mut attributes = labels.clone();
    attributes.insert("name".into(), name.into());
    add(tx, "image", event.action(), actor, &attributes)
}

/// Records what happens to a volume.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn volume(tx: &Tx<'_>, name: &str, event: VolumeEvent<'_>) -> Stored {
    let mut attributes = Attributes::from([("driver".to_owned(), "local".to_owned())]);
    let mut set = |name: &str, value: &str| attributes.insert(name.into(), value.into());
    let action = match event {
        VolumeEvent::Create => "create",
        VolumeEvent::Destroy => "destroy",
        VolumeEvent::Mount {
            container,
            destination,
            writable,
            propagation,
        } => {
            set("container", container);
            set("destination", destination);
            set("read/write", if writable { "true" } else { "false" });
            set("propagation", propagation);
            "mount"
        }
        VolumeEvent::Unmount { container } => {
            set("container", container);
            "unmount"
        }
    };
    add(tx, "volume", action, name, &attributes)
}

/// Records what happens to a network of this id, name and driver.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn network(
    tx: &Tx<'_>,
    id: &str,
    name: &str,
    driver: &str,
    event: NetworkEvent<'_>,
) -> Stored {
    let mut attributes = Attributes::from([
        ("name".to_owned(), name.to_owned()),
        ("type".to_owned(), driver.to_owned()),
    ]);
    let (action, container) = match event {
        NetworkEvent::Connect(container) => ("connect", Some(container)),
        NetworkEvent::Create => ("create", None),
        NetworkEvent::Destroy => ("destroy", None),
        NetworkEvent::Disconnect(container) => ("disconnect", Some(container)),
    };
    if let Some(container) = container {
        attributes.insert("container".into(), container.into());
    }
    add(tx, "network", action, id, &attributes)
}

/// Records that what nobody used of `kind` was removed, and how many bytes that freed.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn prune(tx: &Tx<'_>, kind: &str, bytes: u64) -> Stored {
    let attributes = Attributes::from([("reclaimed".to_owned(), bytes.to_string())]);
    add(tx, kind, "prune", "", &attributes)
}

/// A container is about to be started: what happens to networks and volumes, and that its start is still to be told.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn starting(tx: &Tx<'_>, of: &Container, attached: bool) -> Stored {
    if attached {
        container(tx, of, ContainerEvent::Attach)?;
    }
    for (id, name, driver) in networks(of) {
        network(tx, &id, &name, driver, NetworkEvent::Connect(&of.id))?;
    }
    for mount in &of.mounts {
        if let Some(name) = &mount.volume {
            let event = VolumeEvent::Mount {
                container: &of.id,
                destination: &mount.spec.target,
                writable: !mount.spec.read_only,
                propagation: "",
            };
            volume(tx, name, event)?;
        }
    }
    tx.owe_event(&of.id)
}

/// A container has been started, unless that was told already.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn started(tx: &Tx<'_>, of: &Container) -> Stored {
    match tx.pay_event(&of.id)? {
        true => container(tx, of, ContainerEvent::Start),
        false => Ok(()),
    }
}

/// What is due of a process beside a container's first.
pub(crate) fn exec_due(container: &str, exec: &str) -> String {
    format!("{container}/{exec}")
}

/// A process beside a container's first has ended, unless that was told already.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn exec_ended(tx: &Tx<'_>, of: &Container, exec: &str, code: i32) -> Stored {
    match tx.pay_event(&exec_due(&of.id, exec))? {
        true => container(tx, of, ContainerEvent::ExecDie { id: exec, code }),
        false => Ok(()),
    }
}

/// A container has ended as its record says.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn ended(tx: &Tx<'_>, of: &Container) -> Stored {
    // Whoever started it was killed before it could tell.
    started(tx, of)?;
    // Whatever ran beside the first process has been killed with it.
    for exec in tx.events_due(&exec_due(&of.id, ""))? {
        exec_ended(tx, of, &exec, 128 + libc::SIGKILL)?;
    }
    if of.state.oom_killed {
        container(tx, of, ContainerEvent::Oom)?;
    }
    container(tx, of, ContainerEvent::Die)?;
    let_go(tx, of)
}

/// A container could not be started.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn not_started(tx: &Tx<'_>, of: &Container) -> Stored {
    match tx.pay_event(&of.id)? {
        true => let_go(tx, of),
        // It had not come as far as that.
        false => Ok(()),
    }
}

/// A container is removed, and these of its volumes with it.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn removed(tx: &Tx<'_>, of: &Container, volumes: &[&str]) -> Stored {
    tx.pay_event(&of.id)?;
    for name in volumes {
        volume(tx, name, VolumeEvent::Destroy)?;
    }
    container(tx, of, ContainerEvent::Destroy)
}

fn let_go(tx: &Tx<'_>, of: &Container) -> Stored {
    for (id, name, driver) in networks(of) {
        network(tx, &id, &name, driver, NetworkEvent::Disconnect(&of.id))?;
    }
    let event = VolumeEvent::Unmount { container: &of.id };
    let mut volumes = of.mounts.iter().filter_map(|mount| mount.volume.as_deref());
    volumes.try_for_each(|name| volume(tx, name, event))
}

/// Ids, names and drivers of the networks that a container takes part in while it runs.
fn networks(container: &Container) -> Vec<(String, String, &'static str)> {
    if container.pod.is_some() {
        return Vec::new();
    }
    match &container.options.network {
        NetworkMode::Bridge | NetworkMode::User(_) => {
            let connections = container.connections().into_owned().into_iter();
            connections
                .map(|c| (c.network_id, c.request.network, c.driver.as_str()))
                .collect()
        }
        NetworkMode::Host => vec![(network_id("host"), "host".into(), "host")],
        NetworkMode::None => vec![(network_id("none"), "none".into(), "null")],
        NetworkMode::Container(_) => Vec::new(),
    }
}

fn add(tx: &Tx<'_>, kind: &str, action: &str, actor: &str, attributes: &Attributes) -> Stored {
    tx.add_event(&NewEvent {
        kind,
        action,
        actor,
        attributes,
    })
}

impl Engine {
    /// Records what happens to a container and changes no other record.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn tell(&self, of: &Container, event: ContainerEvent<'_>) -> Result<()> {
        Ok(self.store.write(|tx| container(tx, of, event))?)
    }

    /// Records that what nobody used of a kind (`builder`, `image`, …) was removed, and how many bytes that freed.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn tell_of_prune(&self, kind: &str, bytes: u64) -> Result<()> {
        Ok(self.store.write(|tx| prune(tx, kind, bytes))?)
    }

    /// Events that pass the filter, as they come; with `since` or `until` also those that there were, as far as they are
    /// kept. They end with `until`.
    ///
    /// # Errors
    /// [`Error::Time`]; [`Error::SinceAfterUntil`]; the store cannot be read or watched.
    pub fn events(
        &self,
        since: Option<&str>,
        until: Option<&str>,
        filter: EventFilter,
    ) -> Result<Events> {
        let (from, to) = (moment("since", since)?, moment("until", until)?);
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            return Err(Error::SinceAfterUntil {
                since: since.unwrap_or_default().into(),
                until: until.unwrap_or_default().into(),
            });
        }
        // Before the first look: nothing may come in between.
        let watch = self.store.watch()?;
        let last = match (from, to) {
            (None, None) => self.store.last_event()?,
            _ => 0,
        };
        Ok(Events {
            store: self.store.clone(),
            watch,
            filter,
            from: from.unwrap_or(i64::MIN),
            to,
            last,
            waiting: VecDeque::new(),
            missed: 0,
        })
    }
}

/// `--since` and `--until`, in nanoseconds since 1970.
fn moment(flag: &'static str, text: Option<&str>) -> Result<Option<i64>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let time = time::parse(text).ok_or_else(|| Error::Time {
        flag,
        value: text.into(),
    })?;
    Ok(Some(nanoseconds(time)))
}

fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Events as they come.
pub struct Events {
    store: Store,
    watch: Watch,
    filter: EventFilter,
    from: i64,
    to: Option<i64>,
    /// The number of the last one that was read.
    last: i64,
    waiting: VecDeque<Event>,
    missed: i64,
}

impl Events {
    /// The next one; blocks until there is one. `None` at the end that was asked for.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready()? {
                return Ok(Some(event));
            }
            let left = self.to.map(|to| to - nanoseconds(SystemTime::now()));
            if left.is_some_and(|left| left <= 0) {
                // What was on its way when time was up.
                return self.ready();
            }
            self.wait(left)?;
        }
    }

    /// The next one, if it is there; does not block.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn ready(&mut self) -> Result<Option<Event>> {
        loop {
            while let Some(event) = self.waiting.pop_front() {
                self.last = event.seq;
                let in_time = event.time >= self.from && self.to.is_none_or(|to| event.time <= to);
                if in_time && self.filter.matches(&event) {
                    return Ok(Some(event));
                }
            }
            self.watch.drain()?;
            self.waiting = self.store.events_after(self.last)?.into();
            match self.waiting.front() {
                Some(first) if self.last > 0 => self.missed += first.seq - self.last - 1,
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// How many have been forgotten before they were read since this was asked last.
    pub fn missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed).unsigned_abs()
    }

    fn wait(&self, nanoseconds: Option<i64>) -> Result<()> {
        let timeout = match nanoseconds {
            None => PollTimeout::NONE,
            Some(left) => {
                let left = Duration::from_nanos(left.unsigned_abs()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(
            &mut [PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)],
            timeout,
        ) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(errno) => Err(Error::file("watch", self.store.root())(errno.into())),
        }
    }
}

impl AsFd for Events {
    /// Readable once [`Events::ready`] may have something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}
