//! `rctr events`.

use std::io::{self, BufWriter, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rctr_engine::{Event, EventFilter};
use serde_json::{Map, Value as Json, json};

use super::ps_filter::split;
use crate::app::App;
use crate::cli::EventsArgs;
use crate::failure::{Failure, GENERAL, Result, TEMPLATE};
use crate::output::template::{Functions, Names, Template};
use crate::usage::require_none;

/// What the filters of events are called.
const FILTERS: [&str; 8] = [
    "container",
    "event",
    "image",
    "label",
    "network",
    "scope",
    "type",
    "volume",
];
/// Docker's filters for what there is not: its daemon, plugins and swarm.
const ABSENT: [&str; 6] = ["config", "daemon", "node", "plugin", "secret", "service"];

pub fn run(app: &App, command: &str, args: &EventsArgs) -> Result {
    require_none(command, &args.surplus)?;
    let filter = filter(command, &args.filter)?;
    let format = Format::parse(args.format.as_deref())?;
    let (since, until) = (args.since.as_deref(), args.until.as_deref());
    let mut events = app.engine()?.events(since, until, filter)?;
    let mut out = BufWriter::new(io::stdout().lock());
    while let Some(event) = events.next_event()? {
        format.write(&mut out, &event)?;
        while let Some(event) = events.ready()? {
            format.write(&mut out, &event)?;
        }
        out.flush()?;
        match events.missed() {
            0 => {}
            missed => eprintln!("WARNING: {missed} events were forgotten before they were read"),
        }
    }
    Ok(0)
}

fn filter(command: &str, filters: &[String]) -> Result<EventFilter> {
    let known: Vec<&str> = FILTERS.iter().chain(&ABSENT).copied().collect();
    let mut values = split(command, filters, &known)?;
    if let Some(name) = ABSENT.iter().find(|name| values.contains_key(**name)) {
        let message = format!("invalid filter '{name}': there is no {name} to tell of");
        return Err(Failure::new(GENERAL, message));
    }
    let mut take = |name: &str| values.remove(name).unwrap_or_default();
    Ok(EventFilter {
        types: take("type"),
        events: take("event"),
        containers: take("container"),
        images: take("image"),
        labels: take("label"),
        networks: take("network"),
        volumes: take("volume"),
        scopes: take("scope"),
    })
}

enum Format {
    Plain,
    Json,
    Template(Template),
}

impl Format {
    fn parse(text: Option<&str>) -> Result<Format> {
        match text {
            None | Some("") => Ok(Format::Plain),
            Some("json") => Ok(Format::Json),
            Some(text) => {
                let template = Template::parse(text, Functions::Values);
                let format = template.map(Format::Template);
                // A field that there is not is told before anything happens.
                format.and_then(|format| format.text(&sample()).map(|_| format))
            }
            .map_err(|message| Failure::new(TEMPLATE, message)),
        }
    }

    fn text(&self, event: &Event) -> std::result::Result<String, String> {
        match self {
            Format::Plain => Ok(plain(event, TimeZone::system())),
            Format::Json => Ok(Json::Object(message(event, false)).to_string()),
            Format::Template(template) => template.render_with(
                &Json::Object(message(event, true)),
                Json::Object(message(event, false)),
                Names::Type("events.Message"),
            ),
        }
    }

    fn write(&self, out: &mut impl Write, event: &Event) -> Result<()> {
        let text = self
            .text(event)
            .map_err(|message| Failure::new(GENERAL, message))?;
        writeln!(out, "{text}")?;
        Ok(())
    }
}

/// An event to try a template on.
fn sample() -> Event {
    Event {
        seq: 0,
        time: 0,
        kind: "container".to_owned(),
        action: "start".to_owned(),
        actor: "0".repeat(64),
        attributes: [("image".to_owned(), "none".to_owned())].into(),
    }
}

fn plain(event: &Event, zone: TimeZone) -> String {
    let time = Timestamp::from_nanosecond(event.time.into()).unwrap_or_default();
    let time = time.to_zoned(zone);
    let zone = match time.offset().is_zero() {
        true => "Z".to_owned(),
        false => time.strftime("%:z").to_string(),
    };
    let mut line = format!(
        "{}{zone} {} {} {}",
        time.strftime("%Y-%m-%dT%H:%M:%S.%9f"),
        event.kind,
        event.action,
        event.actor
    );
    if !event.attributes.is_empty() {
        let pairs = event.attributes.iter();
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        line += &format!(" ({})", pairs.join(", "));
    }
    line
}

/// The event as the Docker Engine API has it; `whole` with the fields that are left out when they are empty.
fn message(event: &Event, whole: bool) -> Map<String, Json> {
    // Of the old form, which only containers and images have.
    let (status, id) = match event.kind.as_str() {
        "container" | "image" => (event.action.as_str(), event.actor.as_str()),
        _ => ("", ""),
    };
    let from = match event.kind.as_str() {
        "container" => event.attributes.get("image").map_or("", String::as_str),
        _ => "",
    };
    let names = match whole {
        true => ["Status", "ID", "From", "Scope", "Time", "TimeNano"],
        false => ["status", "id", "from", "scope", "time", "timeNano"],
    };
    let mut map = Map::new();
    let mut set = |name: &str, value: Json| map.insert(name.to_owned(), value);
    for (name, value) in [(names[0], status), (names[1], id), (names[2], from)] {
        if whole || !value.is_empty() {
            set(name, value.into());
        }
    }
    set("Type", event.kind.as_str().into());
    set("Action", event.action.as_str().into());
    set(
        "Actor",
        json!({"ID": event.actor, "Attributes": event.attributes}),
    );
    set(names[3], "local".into());
    set(names[4], (event.time / 1_000_000_000).into());
    set(names[5], event.time.into());
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let attributes = [("name", "web"), ("image", "nginx"), ("exitCode", "0")];
        Event {
            seq: 7,
            time: 1_700_000_000_000_000_250,
            kind: "container".into(),
            action: "die".into(),
            actor: "0123".into(),
            attributes: attributes.map(|(n, v)| (n.into(), v.into())).into(),
        }
    }

    fn shown(format: &str, event: &Event) -> String {
        let mut out = Vec::new();
        let written = Format::parse(Some(format)).and_then(|f| f.write(&mut out, event));
        match written {
            Ok(()) => String::from_utf8(out).unwrap(),
            Err(failure) => failure.text(),
        }
    }

    #[test]
    fn lines_like_docker_s() {
        let utc = plain(&event(), TimeZone::UTC);
        let rest = "container die 0123 (exitCode=0, image=nginx, name=web)";
        assert_eq!(utc, format!("2023-11-14T22:13:20.000000250Z {rest}"));
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let local = plain(&event(), zone);
        assert_eq!(local, format!("2023-11-14T23:13:20.000000250+01:00 {rest}"));
        let prune = Event {
            kind: "image".into(),
            action: "prune".into(),
            actor: String::new(),
            attributes: [("reclaimed".into(), "5".into())].into(),
            ..event()
        };
        let line = plain(&prune, TimeZone::UTC);
        assert!(line.ends_with("Z image prune  (reclaimed=5)"), "{line}");
    }

    #[test]
    fn json_and_templates() {
        assert_eq!(shown("{{json .}}", &event()), shown("json", &event()));
        assert_eq!(
            shown("json", &event()),
            "{\"status\":\"die\",\"id\":\"0123\",\"from\":\"nginx\",\"Type\":\"container\",\"Action\":\"die\",\
             \"Actor\":{\"ID\":\"0123\",\"Attributes\":{\"exitCode\":\"0\",\"image\":\"nginx\",\"name\":\"web\"}},\
             \"scope\":\"local\",\"time\":1700000000,\"timeNano\":1700000000000000250}\n"
        );
        let format = "{{.Time}} {{.Actor.Attributes.name}} {{.Status}} {{.Actor.Attributes.no}}";
        assert_eq!(shown(format, &event()), "1700000000 web die <no value>\n");
        let bad = Format::parse(Some("{{.Nope}}")).err().unwrap();
        assert_eq!(bad.code(), TEMPLATE);
        assert!(bad.text().contains("can't evaluate field Nope"));
    }

    #[test]
    fn filters() {
        let filter = |text: &str| super::filter("events", &[text.to_owned()]);
        assert_eq!(filter("type=image").unwrap().types, ["image"]);
        for bad in ["daemon=x", "colour=red", "type"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
