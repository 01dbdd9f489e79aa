//! `rctr ps`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rctr_engine::Engine;
use rctr_engine::model::{Container, Health, HealthStatus, State, Status};
use rctr_engine::options::{MountKind, NetworkMode};

use super::ps_filter::Filters;
use crate::app::App;
use crate::cli::PsArgs;
use crate::failure::Result;
use crate::output::listing::{Column, Kind, Layout, Raw, Row, print};
use crate::output::{duration, ellipsis, ports, short_id, size};
use crate::usage::require_none;

const COLUMNS: [Column; 15] = [
    Column {
        name: "ID",
        header: "CONTAINER ID",
    },
    Column {
        name: "Image",
        header: "IMAGE",
    },
    Column {
        name: "Command",
        header: "COMMAND",
    },
    Column {
        name: "RunningFor",
        header: "CREATED",
    },
    Column {
        name: "Status",
        header: "STATUS",
    },
    Column {
        name: "Ports",
        header: "PORTS",
    },
    Column {
        name: "Names",
        header: "NAMES",
    },
    Column {
        name: "Size",
        header: "SIZE",
    },
    Column {
        name: "CreatedAt",
        header: "CREATED AT",
    },
    Column {
        name: "State",
        header: "STATE",
    },
    Column {
        name: "Labels",
        header: "LABELS",
    },
    Column {
        name: "Mounts",
        header: "MOUNTS",
    },
    Column {
        name: "LocalVolumes",
        header: "LOCAL VOLUMES",
    },
    Column {
        name: "Networks",
        header: "NETWORKS",
    },
    Column {
        name: "Platform",
        header: "PLATFORM",
    },
];

pub const KIND: Kind = Kind {
    columns: &COLUMNS,
    type_name: "*formatter.ContainerContext",
};

/// Containers of pods are told with their pod.
const POD_KIND: Kind = Kind {
    columns: &{
        let pod = Column {
            name: "Pod",
            header: "POD",
        };
        let mut all = [pod; COLUMNS.len() + 1];
        let mut n = 0;
        while n < COLUMNS.len() {
            all[n] = COLUMNS[n];
            n += 1;
        }
        all
    },
    type_name: "*formatter.ContainerContext",
};

const TABLE: [&str; 8] = [
    "ID",
    "Image",
    "Command",
    "RunningFor",
    "Status",
    "Ports",
    "Names",
    "Size",
];

const TABLE_OF_PODS: [&str; 7] = [
    "ID",
    "Image",
    "Command",
    "RunningFor",
    "Status",
    "Names",
    "Pod",
];

/// What `--format raw` stands for.
const RAW: Raw = Raw {
    whole: "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n\
            state: {{.State}}\nstatus: {{.Status}}\nnames: {{.Names}}\nlabels: {{- if .Labels}} {{.Labels}}{{end}}\n\
            ports: {{- if .Ports}} {{.Ports}}{{end}}\n",
    quiet: "container_id: {{.ID}}",
};

pub fn run(app: &App, command: &str, args: &PsArgs) -> Result {
    require_none(command, &args.surplus)?;
    let table: &[&'static str] = match (args.pods, args.size) {
        (true, _) => &TABLE_OF_PODS,
        (false, true) => &TABLE,
        // Without the size.
        (false, false) => &TABLE[..7],
    };
    let layout = Layout::new(args.quiet, args.list.format.as_deref(), table, RAW);
    let filters = Filters::parse(command, &args.list.filter)?;
    let engine = app.engine()?;
    let containers = select(&engine, args, filters)?;
    let view = View {
        truncate: !args.list.no_trunc,
        size: args.size || layout.shows("Size"),
        now: Timestamp::now(),
        pods: match args.pods {
            true => Some(pod_names(&engine)?),
            false => None,
        },
        images: images(&engine, &containers)?,
    };
    let rows = containers
        .iter()
        .map(|container| view.row(&engine, container))
        .collect::<Result<Vec<_>>>()?;
    let kind = if args.pods { POD_KIND } else { KIND };
    print(kind, &rows, &layout)
}

/// What is asked for, newest first.
fn select(engine: &Engine, args: &PsArgs, filters: Filters) -> Result<Vec<Container>> {
    let limit = match (args.latest, args.last) {
        (true, _) => Some(1),
        (false, Some(last)) => usize::try_from(last).ok().filter(|last| *last > 0),
        (false, None) => None,
    };
    let all = args.all || limit.is_some() || filters.ask_for_status();
    let mut containers = engine.containers()?;
    containers.retain(|container| container.pod.is_some() == args.pods);
    let filter = filters.resolve(engine, &containers)?;
    containers
        .retain(|container| (all || container.state.status.is_live()) && filter.matches(container));
    if let Some(limit) = limit {
        containers.truncate(limit);
    }
    Ok(containers)
}

/// Names of pods, with their namespaces, by their ids.
fn pod_names(engine: &Engine) -> Result<BTreeMap<String, String>> {
    let pods = engine.pods()?.into_iter();
    let named = pods.map(|pod| {
        let name = format!("{}/{}", pod.options.namespace, pod.options.name);
        (pod.id, name)
    });
    Ok(named.collect())
}

/// What the names that containers were made by stand for today.
fn images(engine: &Engine, containers: &[Container]) -> Result<BTreeMap<String, String>> {
    let mut images = BTreeMap::new();
    let names: BTreeSet<&String> = containers.iter().map(|c| &c.image_name).collect();
    for name in names {
        if let Some(id) = engine.image_id(name)? {
            images.insert(name.clone(), id);
        }
    }
    Ok(images)
}

/// A container as the table of all shows it, with another word for its size.
pub fn row_with_size(engine: &Engine, container: &Container, size: String) -> Result<Row> {
    let view = View {
        truncate: true,
        size: false,
        now: Timestamp::now(),
        pods: None,
        images: images(engine, std::slice::from_ref(container))?,
    };
    let mut row = view.row(engine, container)?;
    let place = KIND.columns.iter().position(|column| column.name == "Size");
    if let Some(cell) = place.and_then(|place| row.cells.get_mut(place)) {
        *cell = size;
    }
    Ok(row)
}

/// How containers are shown.
struct View {
    truncate: bool,
    size: bool,
    now: Timestamp,
    /// Names of pods, if it is their containers that are shown.
    pods: Option<BTreeMap<String, String>>,
    /// Ids of images by the names that containers were made by.
    images: BTreeMap<String, String>,
}

impl View {
    /// In the order of [`KIND`]'s columns, or of [`POD_KIND`]'s.
    fn row(&self, engine: &Engine, container: &Container) -> Result<Row> {
        let id = if self.truncate {
            short_id(&container.id)
        } else {
            &container.id
        };
        let size = match self.size {
            true => {
                let (written, all) = engine.container_size(container)?;
                format!("{} (virtual {})", size::human3(written), size::human3(all))
            }
            false => "0B".to_owned(),
        };
        let labels = &container.process.labels;
        let label_list: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let volumes = container
            .mounts
            .iter()
            .filter(|mount| mount.spec.kind == MountKind::Volume)
            .count();
        let mut cells = vec![
            id.to_owned(),
            self.image(container),
            self.command(container),
            format!("{} ago", duration::since(&container.created, self.now)),
            status(&container.state, self.now),
            ports::of(container),
            name(container),
            size,
            duration::local(&container.created),
            container.state.status.as_str().to_owned(),
            label_list.join(","),
            self.mounts(container),
            volumes.to_string(),
            network(container),
            container.platform.clone(),
        ];
        if let (Some(pods), Some(member)) = (&self.pods, &container.pod) {
            // Of a pod that was removed at this moment the id is all there is.
            let pod = pods.get(&member.pod).unwrap_or(&member.pod);
            cells.push(pod.clone());
        }
        Ok(Row {
            cells,
            labels: labels.clone(),
        })
    }

    fn image(&self, container: &Container) -> String {
        let (name, id) = (container.image_name.as_str(), container.image_id.as_str());
        if name.is_empty() {
            return "<no image>".to_owned();
        }
        // As with Docker, a name that another image has taken would mislead.
        let name = match self.images.get(name).is_some_and(|now| now == id) {
            true => name,
            false => id,
        };
        if !self.truncate {
            return name.to_owned();
        }
        if short_id(name) == short_id(id) {
            return short_id(id).to_owned();
        }
        match name.split_once("@sha256:") {
            Some((name, _)) => name.to_owned(),
            None => name.to_owned(),
        }
    }

    fn command(&self, container: &Container) -> String {
        let mut command = container.process.path.clone();
        for arg in &container.process.args {
            command.push(' ');
            match arg.contains(' ') {
                true => command.extend(["'", arg, "'"]),
                false => command.push_str(arg),
            }
        }
        if self.truncate {
            command = ellipsis(&command, 20);
        }
        format!("{command:?}")
    }

    fn mounts(&self, container: &Container) -> String {
        let names = container.mount_points().map(|mount| {
            let name = match &mount.volume {
                Some(volume) => volume.clone(),
                None => mount.source.display().to_string(),
            };
            if self.truncate {
                ellipsis(&name, 15)
            } else {
                name
            }
        });
        names.collect::<Vec<_>>().join(",")
    }
}

/// In a pod the name there; the whole one repeats the pod's.
fn name(container: &Container) -> String {
    match &container.pod {
        Some(member) => member.options.name.clone(),
        None => container.name.clone(),
    }
}

/// The names of its networks.
fn network(container: &Container) -> String {
    match &container.options.network {
        NetworkMode::Bridge | NetworkMode::User(_) => {
            let connections = container.connections();
            let mut names: Vec<&str> = connections
                .iter()
                .map(|connection| connection.request.network.as_str())
                .collect();
            names.sort_unstable();
            names.join(",")
        }
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::Container(_) => String::new(),
    }
}

/// `Up 2 hours`, `Exited (0) 5 seconds ago`.
fn status(state: &State, now: Timestamp) -> String {
    let started = || duration::since(&state.started_at, now);
    let finished = || duration::since(&state.finished_at, now);
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => match &state.health {
            None => format!("Up {}", started()),
            Some(health) => format!("Up {} ({})", started(), health_word(health)),
        },
        Status::Paused => format!("Up {} (Paused)", started()),
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, finished()),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, finished()),
        Status::Dead => "Dead".to_owned(),
    }
}

fn health_word(health: &Health) -> &'static str {
    match health.status {
        HealthStatus::Starting => "health: starting",
        known => known.as_str(),
    }
}

#[cfg(test)]
pub mod tests;
