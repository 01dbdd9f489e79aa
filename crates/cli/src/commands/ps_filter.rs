//! `ps --filter`: values of one name are alternatives, except labels, which all have to match.

use std::collections::BTreeMap;

use rctr_engine::Engine;
use rctr_engine::inspect::{port_map, published_ports};
use rctr_engine::model::Container;
use rctr_engine::options::{NetworkMode, parse_expose};
use regex::Regex;

use crate::failure::{ENGINE, Failure, GENERAL, Result};

const STATES: [&str; 7] = [
    "created",
    "restarting",
    "running",
    "removing",
    "paused",
    "exited",
    "dead",
];
const NAMES: [&str; 14] = [
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "name",
    "network", "publish", "since", "status", "volume",
];
const HEALTH: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

/// Splits the `--filter`s of a command into values by name.
pub fn split(
    command: &str,
    filters: &[String],
    known: &[&str],
) -> Result<BTreeMap<String, Vec<String>>> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // An empty one is none, as from a script's unset variable.
    for filter in filters.iter().filter(|filter| !filter.is_empty()) {
        let Some((name, value)) = filter.split_once('=') else {
            let message = format!(
                "invalid argument {filter:?} for \"-f, --filter\" flag: bad format of filter (expected name=value)"
            );
            return Err(Failure::usage(ENGINE, command, message));
        };
        let (name, value) = (name.trim().to_lowercase(), value.trim());
        if !known.contains(&name.as_str()) {
            return Err(Failure::new(GENERAL, format!("invalid filter '{name}'")));
        }
        values.entry(name).or_default().push(value.to_owned());
    }
    Ok(values)
}

/// Whether labels have `name` or `name=value`.
pub fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|have| have == value),
        None => labels.contains_key(wanted),
    }
}

/// The filters as given.
#[derive(Debug)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Checks names and values.
    pub fn parse(command: &str, filters: &[String]) -> Result<Filters> {
        let values = split(command, filters, &NAMES)?;
        for health in values.get("health").into_iter().flatten() {
            if !HEALTH.contains(&health.as_str()) {
                return Err(invalid("health", health));
            }
        }
        for state in values.get("status").into_iter().flatten() {
            if !STATES.contains(&state.as_str()) {
                return Err(invalid("status", state));
            }
        }
        Ok(Filters(values))
    }

    /// A status filter looks at all containers, without `--all`.
    pub fn ask_for_status(&self) -> bool {
        self.0.contains_key("status")
    }

    /// Looks up what the filters mean among what there is.
    pub fn resolve(self, engine: &Engine, containers: &[Container]) -> Result<Filter> {
        let image_id = |name: &str| engine.image(name).map(|image| image.id).ok();
        self.resolve_with(containers, image_id)
    }

    fn resolve_with(
        self,
        containers: &[Container],
        image_id: impl Fn(&str) -> Option<String>,
    ) -> Result<Filter> {
        let values = |name: &str| self.0.get(name).cloned().unwrap_or_default();
        let find = |name: &str, wanted: &str| {
            let wanted_name = wanted.strip_prefix('/').unwrap_or(wanted);
            let found = containers
                .iter()
                .find(|c| c.name == wanted_name || c.id.starts_with(wanted));
            let created = found.map(|container| container.created.clone());
            created.ok_or_else(|| {
                Failure::new(
                    GENERAL,
                    format!("invalid filter '{name}={wanted}': no such container"),
                )
            })
        };
        let times = |name: &str| {
            values(name)
                .iter()
                .map(|wanted| find(name, wanted))
                .collect::<Result<Vec<_>>>()
        };
        let ports = |name: &'static str| -> Result<Option<Vec<String>>> {
            let wanted = values(name);
            let parsed: Vec<Vec<String>> = wanted
                .iter()
                .map(|text| parse_expose(text).map_err(|_| invalid(name, text)))
                .collect::<Result<_>>()?;
            Ok((!wanted.is_empty()).then(|| parsed.concat()))
        };
        let exited = values("exited")
            .iter()
            .map(|code| code.parse().map_err(|_| invalid("exited", code)))
            .collect::<Result<Vec<i32>>>()?;
        Ok(Filter {
            ids: patterns(&values("id")),
            names: patterns(&values("name")),
            labels: values("label"),
            states: values("status"),
            health: values("health"),
            tasks: values("is-task"),
            exited,
            ancestors: values("ancestor")
                .iter()
                .map(|name| image_id(name).unwrap_or_else(|| name.clone()))
                .collect(),
            volumes: values("volume"),
            networks: values("network"),
            publish: ports("publish")?,
            expose: ports("expose")?,
            before: times("before")?.into_iter().min(),
            since: times("since")?.into_iter().max(),
        })
    }
}

/// The filters, ready to be applied; an empty list lets everything pass.
#[derive(Debug)]
pub struct Filter {
    ids: Vec<Pattern>,
    names: Vec<Pattern>,
    labels: Vec<String>,
    states: Vec<String>,
    health: Vec<String>,
    tasks: Vec<String>,
    exited: Vec<i32>,
    ancestors: Vec<String>,
    volumes: Vec<String>,
    networks: Vec<String>,
    publish: Option<Vec<String>>,
    expose: Option<Vec<String>>,
    before: Option<String>,
    since: Option<String>,
}

impl Filter {
    pub fn matches(&self, container: &Container) -> bool {
        let status = container.state.status;
        let with_slash = format!("/{}", container.name);
        let on = |wanted: &String| match &container.options.network {
            NetworkMode::Bridge | NetworkMode::User(_) => {
                let connections = container.connections();
                connections.iter().any(|connection| {
                    connection.request.network == *wanted
                        || !wanted.is_empty() && connection.network_id.starts_with(wanted.as_str())
                })
            }
            NetworkMode::None => wanted == "none",
            NetworkMode::Host => wanted == "host",
            NetworkMode::Container(_) => wanted.is_empty(),
        };
        any(&self.ids, |pattern| pattern.matches(&container.id))
            && any(&self.names, |pattern| {
                pattern.matches(&container.name) || pattern.matches(&with_slash)
            })
            && self
                .labels
                .iter()
                .all(|label| has_label(&container.process.labels, label))
            && any(&self.states, |state| state == status.as_str())
            && any(&self.health, |wanted| {
                let health = container.state.health.as_ref();
                wanted == health.map_or("none", |health| health.status.as_str())
            })
            // There is no swarm whose task it could be.
            && any(&self.tasks, |task| matches!(task.as_str(), "false" | "0"))
            && any(&self.exited, |code| {
                !status.is_live()
                    && container.state.exit_code == *code
                    && status != rctr_engine::model::Status::Created
            })
            && any(&self.ancestors, |image| {
                *image == container.image_id || *image == container.image_name
            })
            && any(&self.volumes, |wanted| uses_volume(container, wanted))
            && any(&self.networks, on)
            && self
                .publish
                .as_ref()
                .is_none_or(|ports| publishes(container, ports))
            && self
                .expose
                .as_ref()
                .is_none_or(|ports| exposes(container, ports))
            && self
                .before
                .as_ref()
                .is_none_or(|time| container.created < *time)
            && self
                .since
                .as_ref()
                .is_none_or(|time| container.created > *time)
    }
}

fn any<T>(alternatives: &[T], test: impl FnMut(&T) -> bool) -> bool {
    alternatives.is_empty() || alternatives.iter().any(test)
}

fn uses_volume(container: &Container, wanted: &str) -> bool {
    container.mounts.iter().any(|mount| {
        mount.volume.as_deref() == Some(wanted)
            || mount.spec.target == wanted
            || mount.source.as_os_str() == wanted
    })
}

fn publishes(container: &Container, wanted: &[String]) -> bool {
    published_ports(container)
        .iter()
        .any(|port| wanted.contains(&format!("{}/{}", port.host_port, port.protocol.as_str())))
}

/// Docker looks at the ports that a running container has.
fn exposes(container: &Container, wanted: &[String]) -> bool {
    port_map(container).keys().any(|port| wanted.contains(port))
}

/// An unanchored regular expression; what is none is taken as it is.
#[derive(Debug)]
struct Pattern {
    text: String,
    regex: Option<Regex>,
}

impl Pattern {
    fn matches(&self, subject: &str) -> bool {
        self.text == subject
            || self
                .regex
                .as_ref()
                .is_some_and(|regex| regex.is_match(subject))
    }
}

fn patterns(texts: &[String]) -> Vec<Pattern> {
    texts
        .iter()
        .map(|text| Pattern {
            text: text.clone(),
            regex: Regex::new(text).ok(),
        })
        .collect()
}

fn invalid(name: &str, value: &str) -> Failure {
    Failure::new(GENERAL, format!("invalid filter '{name}={value}'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::ps::tests::container;
    use rctr_engine::model::Status;

    fn two() -> Vec<Container> {
        let mut web = container("ab", "web-1");
        web.process.labels = BTreeMap::from([
            ("tier".into(), "front".into()),
            ("env".into(), "test".into()),
        ]);
        web.process.exposed_ports = vec!["80/tcp".into()];
        web.state.status = Status::Running;
        let mut db = container("cd", "db-1");
        db.created = "2026-11-21T13:00:00Z".into();
        db.state.status = Status::Exited;
        db.state.exit_code = 3;
        vec![db, web]
    }

    fn listed(filters: &[&str]) -> Result<Vec<String>> {
        let containers = two();
        let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let filter = Filters::parse("ps", &filters)?.resolve_with(&containers, |name| {
            (name == "redis:7").then(|| containers[0].image_id.clone())
        })?;
        Ok(containers
            .iter()
            .filter(|c| filter.matches(c))
            .map(|c| c.name.clone())
            .collect())
    }

    #[test]
    fn names_are_unanchored_expressions_and_alternatives() {
        assert_eq!(listed(&["name=eb"]).unwrap(), ["web-1"]);
        assert_eq!(listed(&["name=^/web"]).unwrap(), ["web-1"]);
        assert_eq!(listed(&["name=^web-1$"]).unwrap(), ["web-1"]);
        assert_eq!(listed(&["name=web", "name=db"]).unwrap(), ["db-1", "web-1"]);
        assert_eq!(listed(&["name=x"]).unwrap(), [""; 0]);
    }

    #[test]
    fn labels_have_to_match_all() {
        assert_eq!(
            listed(&["label=tier", "label=env=test"]).unwrap(),
            ["web-1"]
        );
        assert_eq!(listed(&["label=tier", "label=env=live"]).unwrap(), [""; 0]);
    }

    #[test]
    fn the_others() {
        assert_eq!(listed(&["status=exited", "exited=3"]).unwrap(), ["db-1"]);
        assert_eq!(listed(&["exited=0"]).unwrap(), [""; 0]);
        assert_eq!(listed(&["id=abab"]).unwrap(), ["web-1"]);
        assert_eq!(listed(&["ancestor=redis:7"]).unwrap(), ["db-1", "web-1"]);
        assert_eq!(listed(&["ancestor=nginx"]).unwrap(), [""; 0]);
        assert_eq!(
            listed(&["network=bridge", "network=host"]).unwrap().len(),
            2
        );
        // Docker looks at the ports of a network that is up.
        assert_eq!(listed(&["expose=79-81"]).unwrap(), [""; 0]);
        assert_eq!(listed(&["health=none"]).unwrap().len(), 2);
        assert_eq!(listed(&["health=healthy"]).unwrap(), [""; 0]);
        assert_eq!(listed(&["is-task=true"]).unwrap(), [""; 0]);
        assert_eq!(listed(&["publish=80"]).unwrap(), [""; 0]);
        assert_eq!(listed(&["before=db-1"]).unwrap(), ["web-1"]);
        assert_eq!(listed(&["since=web-1"]).unwrap(), ["db-1"]);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (filter, message) in [
            ("color=red", "invalid filter 'color'"),
            ("status=lost", "invalid filter 'status=lost'"),
            ("exited=x", "invalid filter 'exited=x'"),
            (
                "name",
                "invalid argument \"name\" for \"-f, --filter\" flag: bad format of filter (expected name=value)\n\
                 See 'rctr ps --help'.",
            ),
            (
                "before=nosuch",
                "invalid filter 'before=nosuch': no such container",
            ),
            ("health=well", "invalid filter 'health=well'"),
        ] {
            assert_eq!(listed(&[filter]).unwrap_err().text(), message);
        }
    }
}
