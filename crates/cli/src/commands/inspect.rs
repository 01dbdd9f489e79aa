//! `rctr inspect`.

use std::io::{self, Write};
use std::path::PathBuf;

use rctr_engine::inspect::{
    ContainerInspect, ContainerPaths, ImageFacts, ImageInspect, NetworkInspect,
};
use rctr_engine::{Engine, Error, familiar_name};
use serde::Serialize;
use serde_json::Value as Json;

use super::volume;
use crate::app::App;
use crate::cli::{ContainerInspectArgs, ImageInspectArgs, InspectArgs, NetworkInspectArgs};
use crate::failure::{Failure, GENERAL, Result, TEMPLATE};
use crate::output::template::{Functions, Names, Template};
use crate::usage::require_names;

/// What may be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Container,
    Image,
    Network,
    Volume,
}

/// `inspect`.
pub fn any(app: &App, args: &InspectArgs) -> Result {
    let kind = match args.kind.as_deref() {
        None | Some("") => Kind::Any,
        Some("container") => Kind::Container,
        Some("image") => Kind::Image,
        Some("network") => Kind::Network,
        Some("volume") => Kind::Volume,
        Some(other) => {
            let kinds = "\"container\", \"image\", \"network\", \"volume\"";
            let message = format!("unknown type: {other:?}: must be one of {kinds}");
            return Err(Failure::new(GENERAL, message));
        }
    };
    run(
        app,
        "inspect",
        kind,
        args.size,
        args.format.format.as_deref(),
        &args.names,
    )
}

/// `container inspect`.
pub fn containers(app: &App, args: &ContainerInspectArgs) -> Result {
    run(
        app,
        "container inspect",
        Kind::Container,
        args.size,
        args.format.format.as_deref(),
        &args.names,
    )
}

/// `network inspect`.
pub fn networks(app: &App, args: &NetworkInspectArgs) -> Result {
    run(
        app,
        "network inspect",
        Kind::Network,
        false,
        args.format.format.as_deref(),
        &args.names,
    )
}

/// `image inspect`.
pub fn images(app: &App, args: &ImageInspectArgs) -> Result {
    run(
        app,
        "image inspect",
        Kind::Image,
        false,
        args.format.format.as_deref(),
        &args.names,
    )
}

fn run(
    app: &App,
    command: &str,
    kind: Kind,
    size: bool,
    format: Option<&str>,
    names: &[String],
) -> Result {
    require_names(command, names)?;
    let shape = Shape::new(format)?;
    let engine = app.engine()?;
    show(&shape, names, |name| look_up(&engine, kind, size, name))
}

/// Shows what `look_up` finds by names, in the same way for everything that can be inspected.
pub fn documents(
    command: &str,
    format: Option<&str>,
    names: &[String],
    look_up: impl FnMut(&str) -> Result<Json>,
) -> Result {
    require_names(command, names)?;
    show(&Shape::new(format)?, names, look_up)
}

fn show(shape: &Shape, names: &[String], mut look_up: impl FnMut(&str) -> Result<Json>) -> Result {
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        match look_up(name) {
            Ok(document) => found.push(document),
            Err(failure) => failures.push(failure),
        }
    }
    failures.extend(shape.write(&mut io::stdout().lock(), &found)?);
    for failure in &failures {
        failure.report();
    }
    if failures.is_empty() {
        Ok(0)
    } else {
        Err(Failure::silent(GENERAL))
    }
}

/// How the documents are shown.
enum Shape {
    Indented,
    Compact,
    Template(Template),
}

impl Shape {
    fn new(format: Option<&str>) -> Result<Shape> {
        match format {
            None | Some("") => Ok(Shape::Indented),
            Some("json") => Ok(Shape::Compact),
            Some(source) => Template::parse(source, Functions::Values)
                .map(Shape::Template)
                .map_err(|message| Failure::new(TEMPLATE, message)),
        }
    }

    /// Writes what can be written; gives what could not.
    fn write(&self, out: &mut impl Write, documents: &[Json]) -> Result<Option<Failure>> {
        let mut failure = None;
        match self {
            // At once: whoever has found what they looked for reads no further.
            Shape::Indented => out.write_all((indented(documents) + "\n").as_bytes())?,
            Shape::Compact => out.write_all(format!("{}\n", Json::from(documents)).as_bytes())?,
            Shape::Template(template) => {
                let mut text = String::new();
                for document in documents {
                    match template.render(document, Names::Document) {
                        Ok(line) => text += &(line + "\n"),
                        Err(message) => failure = Some(Failure::new(GENERAL, message)),
                    }
                }
                // As Docker: nothing found is an empty line.
                out.write_all(if text.is_empty() {
                    b"\n"
                } else {
                    text.as_bytes()
                })?;
            }
        }
        Ok(failure)
    }
}

fn indented(documents: &[Json]) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // JSON in memory cannot fail to be written to memory.
    let _ = documents.serialize(&mut serializer);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The first thing of that name, in Docker's order.
fn look_up(engine: &Engine, kind: Kind, size: bool, name: &str) -> Result<Json> {
    let order = [Kind::Container, Kind::Image, Kind::Network, Kind::Volume];
    for of in order
        .into_iter()
        .filter(|of| [*of, Kind::Any].contains(&kind))
    {
        let found = match of {
            Kind::Container => container(engine, name, size),
            Kind::Image => image(engine, name),
            Kind::Network => network(engine, name),
            Kind::Any | Kind::Volume => engine.volume(name).map(|v| volume::document(&v)),
        };
        match found {
            Err(
                Error::NoSuchContainer { .. }
                | Error::NoSuchImage { .. }
                | Error::NoSuchNetwork { .. }
                | Error::NoSuchVolume { .. },
            ) => {}
            other => return Ok(other?),
        }
    }
    Err(match kind {
        Kind::Any => not_found("object", name),
        Kind::Container => not_found("container", name),
        Kind::Image => not_found("image", name),
        Kind::Network => Failure::new(GENERAL, format!("network {name} not found")),
        Kind::Volume => Failure::new(GENERAL, format!("get {name}: no such volume")),
    })
}

fn not_found(what: &str, name: &str) -> Failure {
    Failure::new(GENERAL, format!("No such {what}: {name}"))
}

fn container(engine: &Engine, name: &str, size: bool) -> rctr_engine::Result<Json> {
    let container = engine.container(name)?;
    let size = size
        .then(|| engine.container_size(&container))
        .transpose()?;
    let config = engine.config();
    let driver = &config.settings.log.driver;
    let paths = ContainerPaths::new(&config.root, &container, engine.has_log_file(&container));
    let mut document = ContainerInspect::new(&container, &paths, driver, size);
    document.app_armor_profile = engine.apparmor_profile(&container)?;
    Ok(json(&document))
}

fn network(engine: &Engine, name: &str) -> rctr_engine::Result<Json> {
    let network = engine.network(name)?;
    let members = engine.network_members(&network)?;
    Ok(json(&NetworkInspect::new(&network, &members)))
}

fn image(engine: &Engine, name: &str) -> rctr_engine::Result<Json> {
    let image = engine.image(name)?;
    let layers: Vec<PathBuf> = image
        .layers
        .iter()
        .rev()
        .map(|chain| {
            engine
                .config()
                .root
                .join("layers")
                .join(chain.digest())
                .join("diff")
        })
        .collect();
    let familiar = |names: &[String]| names.iter().map(|name| familiar_name(name)).collect();
    Ok(json(&ImageInspect::new(ImageFacts {
        id: &image.id,
        tags: familiar(&image.tags),
        digests: familiar(&image.digests),
        config: image.raw_config(),
        size: image.size,
        layers,
        last_tag_time: None,
    })))
}

fn json(value: &impl Serialize) -> Json {
    // Our own types have string keys only and always serialise.
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::ps::tests::container;

    fn written(format: Option<&str>, documents: &[Json]) -> (String, bool) {
        let mut out = Vec::new();
        let failure = Shape::new(format)
            .unwrap()
            .write(&mut out, documents)
            .unwrap();
        (String::from_utf8(out).unwrap(), failure.is_some())
    }

    #[test]
    fn nothing_found() {
        assert_eq!(written(None, &[]), ("[]\n".to_owned(), false));
        assert_eq!(written(Some("{{.Id}}"), &[]), ("\n".to_owned(), false));
    }

    #[test]
    fn documents_are_indented_by_four() {
        let document =
            serde_json::json!({ "Id": "x", "Empty": {}, "List": [], "State": { "Pid": 1 } });
        assert_eq!(
            written(None, &[document]).0,
            "[\n    {\n        \"Id\": \"x\",\n        \"Empty\": {},\n        \"List\": [],\n        \
             \"State\": {\n            \"Pid\": 1\n        }\n    }\n]\n"
        );
    }

    #[test]
    fn a_template_that_fails_for_one_is_told() {
        let documents = [
            serde_json::json!({ "Id": "x" }),
            serde_json::json!({ "Id": "y" }),
        ];
        assert_eq!(
            written(Some("{{.Id}}"), &documents),
            ("x\ny\n".to_owned(), false)
        );
        assert_eq!(
            written(Some("{{.Nope}}"), &documents),
            ("\n".to_owned(), true)
        );
        assert_eq!(Shape::new(Some("{{.Id")).err().unwrap().code(), 64);
    }

    #[test]
    fn a_container_has_docker_s_fields() {
        let container = container("ab", "web");
        let paths = ContainerPaths::new("/var/lib/rctr".as_ref(), &container, true);
        let document = json(&ContainerInspect::new(
            &container,
            &paths,
            "json-file",
            None,
        ));
        let render = |source: &str| written(Some(source), std::slice::from_ref(&document)).0;
        assert_eq!(
            render("{{.Name}} {{.State.Status}} {{.Driver}}"),
            "/web created overlay2\n"
        );
        assert_eq!(
            render("{{.Path}} {{join .Args \" \"}}"),
            "docker-entrypoint.sh redis-server\n"
        );
        assert_eq!(render("{{.Config.Hostname}}"), "abababababab\n");
        assert_eq!(
            render("{{json .HostConfig.Binds}}{{json .HostConfig.Dns}}"),
            "null[]\n"
        );
        assert_eq!(
            render("{{.HostConfig.ShmSize}} {{.HostConfig.NetworkMode}}"),
            "67108864 bridge\n"
        );
        assert_eq!(
            render("{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}"),
            "bridge\n"
        );
        let keys: Vec<&String> = document.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            [
                "Id",
                "Created",
                "Path",
                "Args",
                "State",
                "Image",
                "ResolvConfPath",
                "HostnamePath",
                "HostsPath",
                "LogPath",
                "Name",
                "RestartCount",
                "Driver",
                "Platform",
                "MountLabel",
                "ProcessLabel",
                "AppArmorProfile",
                "ExecIDs",
                "HostConfig",
                "GraphDriver",
                "Mounts",
                "Config",
                "NetworkSettings"
            ]
        );
    }
}
