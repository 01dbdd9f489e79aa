use super::Event;

/// Which events are wanted: of every kind of condition one has to hold, except labels, which all have to be there. What
/// is empty lets everything pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// `container`, `image`, `volume`, `network`, `builder`.
    pub types: Vec<String>,
    /// `start`, `die`, `health_status`, …; those with a colon in them match by what is before it too.
    pub events: Vec<String>,
    /// Names or ids of containers, or beginnings of them.
    pub containers: Vec<String>,
    /// Names, with or without tag, or ids of images: of what happens to them and to their containers.
    pub images: Vec<String>,
    /// `name` or `name=value`.
    pub labels: Vec<String>,
    /// Names of networks, or beginnings of names or ids.
    pub networks: Vec<String>,
    /// Names of volumes, or beginnings of them.
    pub volumes: Vec<String>,
    /// `local`; there are no others.
    pub scopes: Vec<String>,
}

impl EventFilter {
    /// Whether an event is wanted.
    pub fn matches(&self, event: &Event) -> bool {
        any(&self.types, |wanted| *wanted == event.kind)
            && self.matches_action(&event.action)
            && any(&self.containers, |wanted| names(event, wanted))
            && any(&self.networks, |wanted| names(event, wanted))
            && any(&self.volumes, |wanted| names(event, wanted))
            && self.matches_image(event)
            && any(&self.scopes, |wanted| wanted == "local")
            && self
                .labels
                .iter()
                .all(|wanted| match wanted.split_once('=') {
                    Some((name, value)) => event.attributes.get(name).is_some_and(|v| v == value),
                    None => event.attributes.contains_key(wanted),
                })
    }

    fn matches_action(&self, action: &str) -> bool {
        let with_colon = ["health_status", "exec_create", "exec_start"];
        let loose = self.events.iter().any(|e| with_colon.contains(&e.as_str()));
        any(&self.events, |wanted| match loose {
            true => action.starts_with(wanted.as_str()),
            false => action == wanted,
        })
    }

    fn matches_image(&self, event: &Event) -> bool {
        let attribute = match event.kind.as_str() {
            "image" => "name",
            _ => "image",
        };
        let name = event.attributes.get(attribute).map_or("", String::as_str);
        any(&self.images, |wanted| {
            [&event.actor, name]
                .iter()
                .any(|have| wanted == have || wanted == without_tag(have))
        })
    }
}

fn any(wanted: &[String], holds: impl FnMut(&String) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(holds)
}

fn names(event: &Event, wanted: &str) -> bool {
    let name = event.attributes.get("name");
    event.actor.starts_with(wanted) || name.is_some_and(|name| name.starts_with(wanted))
}

pub(super) fn without_tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, action: &str, actor: &str, attributes: &[(&str, &str)]) -> Event {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Event {
            seq: 1,
            time: 0,
            kind: kind.into(),
            action: action.into(),
            actor: actor.into(),
            attributes: attributes.iter().map(pair).collect(),
        }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn conditions() {
        let attributes = [("image", "nginx:1.27"), ("name", "web"), ("tier", "front")];
        let start = event("container", "start", "0123abcd", &attributes);
        let exec = event("container", "exec_start: ls -l", "0123abcd", &attributes);
        let tag = event("image", "tag", "sha256:5", &[("name", "nginx:1.27")]);
        type Set = fn(&mut EventFilter, Vec<String>);
        let cases: [(Set, &[&str], [bool; 3]); 14] = [
            (|f, v| f.types = v, &["container"], [true, true, false]),
            (
                |f, v| f.types = v,
                &["image", "volume"],
                [false, false, true],
            ),
            (|f, v| f.events = v, &["start", "tag"], [true, false, true]),
            (|f, v| f.events = v, &["exec_start"], [false, true, false]),
            (
                |f, v| f.events = v,
                &["exec_start: ls -l"],
                [false, true, false],
            ),
            (|f, v| f.containers = v, &["web"], [true, true, false]),
            (|f, v| f.containers = v, &["0123"], [true, true, false]),
            (|f, v| f.containers = v, &["other"], [false, false, false]),
            (|f, v| f.images = v, &["nginx"], [true, true, true]),
            (|f, v| f.images = v, &["nginx:1.27"], [true, true, true]),
            (|f, v| f.images = v, &["nginx:1"], [false, false, false]),
            (|f, v| f.labels = v, &["tier"], [true, true, false]),
            (
                |f, v| f.labels = v,
                &["tier=front", "tier=x"],
                [false, false, false],
            ),
            (|f, v| f.scopes = v, &["swarm"], [false, false, false]),
        ];
        for (set, wanted, expected) in cases {
            let mut filter = EventFilter::default();
            set(&mut filter, words(wanted));
            let found = [&start, &exec, &tag].map(|event| filter.matches(event));
            assert_eq!(found, expected, "{filter:?}");
        }
        assert!(EventFilter::default().matches(&tag));
    }

    #[test]
    fn tags_are_what_follows_the_last_colon_of_a_name() {
        assert_eq!(without_tag("nginx:1.27"), "nginx");
        assert_eq!(without_tag("localhost:5000/nginx"), "localhost:5000/nginx");
        assert_eq!(without_tag("nginx"), "nginx");
    }
}
