//! What happens to containers, images, volumes and networks, as Docker tells it.
//!
//! An event is recorded in the transaction that makes it true: [`container`], [`image`], [`volume`] and [`network`] take
//! that transaction. [`Engine::events`] gives them to whoever wants to know, from a moment in the past on and as they come.

use std::collections::BTreeMap;

use oci_spec::image::{Digest, ImageConfiguration};
use rctr_store::{NewEvent, Store, Tx};

use crate::inspect::network_id;
use crate::model::Container;
use crate::options::NetworkMode;
use crate::{Engine, Result};

mod filter;
mod follow;
mod kinds;
pub(crate) mod pods;

pub use filter::EventFilter;
pub use follow::Events;
pub use kinds::{ContainerEvent, ImageEvent, NetworkEvent, VolumeEvent};
pub use pods::{PodChange, PodEvent, PodEvents};
pub use rctr_store::Event;

type Stored = rctr_store::Result<()>;
type Attributes = BTreeMap<String, String>;

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
    add(tx, "container", &event.action(), &container.id, &attributes)?;
    pods::member(tx, container, &event)
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

/// Records what happens to an image: `actor` is its id, or for what has to do with a registry its familiar name with
/// the tag; `name` is Docker's attribute of that name.
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
    tx.owe_event(&oom_due(&of.id))?;
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

/// What is due if a container runs out of memory, and nobody has told when it did.
fn oom_due(container: &str) -> String {
    format!("oom/{container}")
}

/// A container that runs has run out of memory.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn out_of_memory(tx: &Tx<'_>, of: &Container) -> Stored {
    tx.pay_event(&oom_due(&of.id))?;
    container(tx, of, ContainerEvent::Oom)
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
    if tx.pay_event(&oom_due(&of.id))? && of.state.oom_killed {
        container(tx, of, ContainerEvent::Oom)?;
    }
    container(tx, of, ContainerEvent::Die)?;
    let_go(tx, of)
}

/// A container has ended because it was to stop: whoever notices its end tells of both, also when the container goes
/// with its end.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn stopped(tx: &Tx<'_>, of: &Container) -> Stored {
    ended(tx, of)?;
    container(tx, of, ContainerEvent::Stop)
}

/// A container could not be started.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn not_started(tx: &Tx<'_>, of: &Container) -> Stored {
    tx.pay_event(&oom_due(&of.id))?;
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
    for due in [&of.id, &oom_due(&of.id)] {
        tx.pay_event(due)?;
    }
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

    /// The same where what happens must not fail for want of a record of it.
    pub(crate) fn try_to_tell(&self, of: &Container, event: ContainerEvent<'_>) {
        if let Err(error) = self.tell(of, event) {
            tracing::warn!(container = of.id, ?event, %error, "it is not told of");
        }
    }

    /// Records what a monitor has seen, if the run of the container that it looks after goes on: `pid` is that of its
    /// first process. What came with the end is told with the end.
    pub(crate) fn tell_of_run(
        &self,
        id: &str,
        pid: i32,
        tell: impl FnOnce(&Tx<'_>, &Container) -> Stored,
    ) -> Result<()> {
        let state_dir = self.state_dir(id);
        self.store.write(|tx| {
            // Whoever settles the end waits for this transaction.
            let runs = matches!(
                rctr_runtime::status(&state_dir)?,
                rctr_runtime::Status::Running { pid: of, .. } if of == pid
            );
            match tx.container::<Container>(id)? {
                Some(record) if runs && record.doc.state.status.is_live() => {
                    Ok(tell(tx, &record.doc)?)
                }
                _ => Ok(()),
            }
        })
    }

    /// Tells that a container has run out of memory, in the run whose first process has this pid.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn tell_of_oom(&self, id: &str, pid: i32) -> Result<()> {
        self.tell_of_run(id, pid, out_of_memory)
    }

    /// Records that what nobody used of a kind (`builder`, `image`, …) was removed, and how many bytes that freed.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn tell_of_prune(&self, kind: &str, bytes: u64) -> Result<()> {
        Ok(self.store.write(|tx| prune(tx, kind, bytes))?)
    }
}
