//! `rctr volume …`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal, Write};

use rctr_engine::options::resolve_labels;
use rctr_engine::{Error, Volume, VolumeRequest};
use regex::Regex;

use super::export::write_to;
use super::inspect;
use super::prune::confirm;
use super::ps_filter::{has_label, split};
use crate::app::App;
use crate::cli::{
    VolumeCommand, VolumeCreateArgs, VolumeExportArgs, VolumeImportArgs, VolumeInspectArgs,
    VolumeLsArgs, VolumePruneArgs, VolumeRmArgs, VolumeUpdateArgs,
};
use crate::failure::{Failure, GENERAL, Result, for_each};
use crate::output::listing::{Column, Kind, Layout, Raw, Row, print};
use crate::output::size;
use crate::usage::{require_names, require_none, require_one, wrong_count};

pub const KIND: Kind = Kind {
    columns: &[
        Column {
            name: "Driver",
            header: "DRIVER",
        },
        Column {
            name: "Name",
            header: "VOLUME NAME",
        },
        Column {
            name: "Availability",
            header: "AVAILABILITY",
        },
        Column {
            name: "Group",
            header: "GROUP",
        },
        Column {
            name: "Labels",
            header: "LABELS",
        },
        Column {
            name: "Links",
            header: "LINKS",
        },
        Column {
            name: "Mountpoint",
            header: "MOUNTPOINT",
        },
        Column {
            name: "Scope",
            header: "SCOPE",
        },
        Column {
            name: "Size",
            header: "SIZE",
        },
        Column {
            name: "Status",
            header: "STATUS",
        },
    ],
    type_name: "*formatter.volumeContext",
};

const RAW: Raw = Raw {
    whole: "name: {{.Name}}\ndriver: {{.Driver}}\n",
    quiet: "name: {{.Name}}",
};

pub fn run(app: &App, command: VolumeCommand) -> Result {
    match command {
        VolumeCommand::Create(args) => create(app, &args),
        VolumeCommand::Export(args) => export(app, &args),
        VolumeCommand::Import(args) => import(app, &args),
        VolumeCommand::Inspect(args) => inspect(app, &args),
        VolumeCommand::Ls(args) => list(app, &args),
        VolumeCommand::Prune(args) => prune(app, &args),
        VolumeCommand::Rm(args) => remove(app, &args),
        VolumeCommand::Update(args) => update(app, &args),
    }
}

fn create(app: &App, args: &VolumeCreateArgs) -> Result {
    let given = match &args.words[..] {
        [] => None,
        [name] => Some(name.clone()),
        _ => return Err(wrong_count("volume create", "requires at most 1 argument")),
    };
    if args.name.is_some() && given.is_some() {
        let message = "conflicting options: cannot specify a volume-name through both --name and as a positional arg";
        return Err(Failure::new(GENERAL, message));
    }
    let labels = resolve_labels(&args.label, &[])
        .map_err(|e| Failure::new(GENERAL, crate::failure::chain(&e)))?;
    let option = |text: &String| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (text.clone(), String::new()),
    };
    let request = VolumeRequest {
        name: given
            .or_else(|| args.name.clone())
            .filter(|name| !name.is_empty()),
        driver: args.driver.clone(),
        labels,
        options: args.opt.iter().map(option).collect(),
    };
    let name = app.engine()?.create_volume(&request)?;
    writeln!(io::stdout(), "{name}")?;
    Ok(0)
}

fn export(app: &App, args: &VolumeExportArgs) -> Result {
    let name = require_one("volume export", &args.names)?;
    let engine = app.engine()?;
    write_to(args.output.as_deref(), "volume", |to| {
        engine.export_volume(name, to).map_err(Failure::from)
    })?;
    Ok(0)
}

fn import(app: &App, args: &VolumeImportArgs) -> Result {
    let (name, file) = match &args.words[..] {
        [name] => (name, "-"),
        [name, file] => (name, file.as_str()),
        _ => {
            let what = "requires at least 1 and at most 2 arguments";
            return Err(wrong_count("volume import", what));
        }
    };
    let engine = app.engine()?;
    if file != "-" {
        let open = File::open(file);
        let open = open.map_err(|e| Failure::new(GENERAL, format!("open {file}: {e}")))?;
        engine.import_volume(name, open)?;
    } else if io::stdin().is_terminal() {
        return Err(Failure::new(
            GENERAL,
            "requested import from stdin, but stdin is empty",
        ));
    } else {
        engine.import_volume(name, io::stdin())?;
    }
    Ok(0)
}

fn inspect(app: &App, args: &VolumeInspectArgs) -> Result {
    let engine = app.engine()?;
    let format = args.format.format.as_deref();
    inspect::documents("volume inspect", format, &args.names, |name| {
        Ok(document(&engine.volume(name)?))
    })
}

/// A volume as `inspect` shows it.
pub fn document(volume: &Volume) -> serde_json::Value {
    // Text and maps of text cannot fail to become JSON.
    serde_json::to_value(volume).unwrap_or_default()
}

fn list(app: &App, args: &VolumeLsArgs) -> Result {
    require_none("volume ls", &args.surplus)?;
    let filter = Filter::parse("volume ls", &args.filter)?;
    let format = args.format.as_deref();
    let layout = match (args.quiet, format) {
        (true, None | Some("")) => Layout::Only("Name"),
        _ => Layout::new(false, format, &["Driver", "Name"], RAW),
    };
    let volumes = app.engine()?.volumes()?;
    let rows = volumes.iter().filter(|volume| filter.matches(volume));
    let rows: Vec<Row> = rows.map(|volume| row(volume, None)).collect();
    print(KIND, &rows, &layout)
}

/// In the order of [`KIND`]'s columns; links and size are known to `system df` alone.
pub fn row(volume: &Volume, used: Option<(usize, u64)>) -> Row {
    let labels = volume.labels.clone().unwrap_or_default();
    let shown: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let not_known = || "N/A".to_owned();
    Row {
        cells: vec![
            volume.driver.to_owned(),
            volume.name.clone(),
            not_known(),
            not_known(),
            shown.join(","),
            used.map_or_else(not_known, |(links, _)| links.to_string()),
            volume.mountpoint.display().to_string(),
            volume.scope.to_owned(),
            used.map_or_else(not_known, |(_, bytes)| size::human4(bytes)),
            not_known(),
        ],
        labels,
    }
}

fn remove(app: &App, args: &VolumeRmArgs) -> Result {
    require_names("volume rm", &args.names)?;
    let engine = app.engine()?;
    for_each(&args.names, |name| {
        match engine.remove_volume(name) {
            Err(Error::NoSuchVolume { .. }) if args.force => {}
            other => other?,
        }
        Ok(writeln!(io::stdout(), "{name}")?)
    })
}

fn prune(app: &App, args: &VolumePruneArgs) -> Result {
    require_none("volume prune", &args.surplus)?;
    let mut values = split("volume prune", &args.filter, &["all", "label", "label!"])?;
    let all = args.all
        || values
            .remove("all")
            .is_some_and(|values| values.iter().any(|v| ["1", "true"].contains(&v.as_str())));
    let warning = match all {
        true => "WARNING! This will remove all local volumes not used by at least one container.",
        false => {
            "WARNING! This will remove anonymous local volumes not used by at least one container."
        }
    };
    confirm(args.force, warning)?;
    let mut take = |name: &str| values.remove(name).unwrap_or_default();
    let (labels, others) = (take("label"), take("label!"));
    let chosen = |volume: &Volume| {
        let has = |label: &String| {
            volume
                .labels
                .as_ref()
                .is_some_and(|labels| has_label(labels, label))
        };
        (all || volume.anonymous) && labels.iter().all(has) && !others.iter().any(has)
    };
    let pruned = app.engine()?.prune_volumes(&chosen)?;
    let mut out = io::stdout().lock();
    if !pruned.removed.is_empty() {
        writeln!(out, "Deleted Volumes:")?;
        for name in &pruned.removed {
            writeln!(out, "{name}")?;
        }
        writeln!(out)?;
    }
    writeln!(out, "Total reclaimed space: {}", size::human4(pruned.bytes))?;
    Ok(0)
}

fn update(app: &App, args: &VolumeUpdateArgs) -> Result {
    let name = require_one("volume update", &args.names)?;
    app.engine()?.volume(name)?;
    Err(Failure::new(GENERAL, "can only update cluster volumes"))
}

/// `volume ls --filter`: values of one name are alternatives, but labels, which all have to match.
struct Filter {
    dangling: Option<bool>,
    drivers: Vec<String>,
    labels: Vec<String>,
    names: Vec<(String, Option<Regex>)>,
}

impl Filter {
    fn parse(command: &str, filters: &[String]) -> Result<Filter> {
        let known = ["dangling", "driver", "label", "name"];
        let mut values: BTreeMap<String, Vec<String>> = split(command, filters, &known)?;
        let mut take = |name: &str| values.remove(name).unwrap_or_default();
        let mut dangling = None;
        for value in take("dangling") {
            dangling = Some(match value.as_str() {
                "1" | "true" | "True" | "TRUE" | "t" | "T" => true,
                "0" | "false" | "False" | "FALSE" | "f" | "F" => false,
                _ => {
                    let message = format!("invalid filter 'dangling={value}'");
                    return Err(Failure::new(GENERAL, message));
                }
            });
        }
        let pattern = |text: String| {
            let pattern = Regex::new(&text).ok();
            (text, pattern)
        };
        Ok(Filter {
            dangling,
            drivers: take("driver"),
            labels: take("label"),
            names: take("name").into_iter().map(pattern).collect(),
        })
    }

    fn matches(&self, volume: &Volume) -> bool {
        let any =
            |list: &[String], is: &dyn Fn(&String) -> bool| list.is_empty() || list.iter().any(is);
        let named = |(text, pattern): &(String, Option<Regex>)| {
            *text == volume.name || pattern.as_ref().is_some_and(|p| p.is_match(&volume.name))
        };
        let labels = volume.labels.as_ref();
        self.dangling
            .is_none_or(|dangling| dangling == volume.users.is_empty())
            && any(&self.drivers, &|driver| driver == volume.driver)
            && (self.names.is_empty() || self.names.iter().any(named))
            && self
                .labels
                .iter()
                .all(|label| labels.is_some_and(|labels| has_label(labels, label)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::listing::write;

    fn volume(name: &str, users: &[&str]) -> Volume {
        Volume {
            created_at: "2026-01-01T00:00:00Z".to_owned(),
            driver: "local",
            labels: Some(BTreeMap::from([("tier".to_owned(), "db".to_owned())])),
            mountpoint: format!("/v/{name}/_data").into(),
            name: name.to_owned(),
            options: None,
            scope: "local",
            anonymous: false,
            users: users.iter().map(|u| (*u).to_owned()).collect(),
            created: 0,
        }
    }

    #[test]
    fn filters_of_one_name_are_alternatives_and_labels_are_not() {
        let volumes = [volume("data", &[]), volume("logs", &["c"])];
        let listed = |filters: &[&str]| {
            let filters: Vec<String> = filters.iter().map(|f| (*f).to_owned()).collect();
            let filter = Filter::parse("volume ls", &filters).map_err(|e| e.text())?;
            let names = volumes.iter().filter(|v| filter.matches(v));
            Ok::<_, String>(names.map(|v| v.name.as_str()).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(
            listed(&["name=at", "name=^logs$"]).as_deref(),
            Ok("data logs")
        );
        assert_eq!(listed(&["dangling=true"]).as_deref(), Ok("data"));
        assert_eq!(listed(&["dangling=0"]).as_deref(), Ok("logs"));
        assert_eq!(listed(&["driver=nfs"]).as_deref(), Ok(""));
        assert_eq!(listed(&["label=tier", "label=tier=web"]).as_deref(), Ok(""));
        assert!(
            listed(&["colour=red"])
                .unwrap_err()
                .contains("invalid filter 'colour'")
        );
    }

    #[test]
    fn tables_and_objects_are_docker_s() {
        let rows = [row(&volume("data", &[]), None)];
        let shown = |layout: Layout<'_>| {
            let mut out = Vec::new();
            write(&mut out, KIND, &rows, &layout).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            shown(Layout::Table(&["Driver", "Name"])),
            "DRIVER    VOLUME NAME\nlocal     data\n"
        );
        assert_eq!(
            shown(Layout::Json),
            "{\"Availability\":\"N/A\",\"Driver\":\"local\",\"Group\":\"N/A\",\"Labels\":\"tier=db\",\"Links\":\"N/A\",\
             \"Mountpoint\":\"/v/data/_data\",\"Name\":\"data\",\"Scope\":\"local\",\"Size\":\"N/A\",\"Status\":\"N/A\"}\n"
        );
        assert_eq!(
            document(&volume("data", &[])).to_string(),
            "{\"CreatedAt\":\"2026-01-01T00:00:00Z\",\"Driver\":\"local\",\"Labels\":{\"tier\":\"db\"},\
             \"Mountpoint\":\"/v/data/_data\",\"Name\":\"data\",\"Options\":null,\"Scope\":\"local\"}"
        );
    }
}
