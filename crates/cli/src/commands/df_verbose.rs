//! `rctr system df --verbose`: what takes the space, one by one.

use std::io::{BufWriter, Write, stdout};

use jiff::Timestamp;
use rctr_engine::Engine;
use serde_json::{Map, Value as Json};

use super::builder::record::{self, Record};
use super::{images, ps, volume};
use crate::failure::{Failure, GENERAL, Result};
use crate::output::listing::{Column, Kind, Layout, Row, write};
use crate::output::template::{Functions, Names, Template};
use crate::output::{duration, size};

const IMAGES: [&str; 8] = [
    "Repository",
    "Tag",
    "ID",
    "CreatedSince",
    "Size",
    "SharedSize",
    "UniqueSize",
    "Containers",
];
const CONTAINERS: [&str; 8] = [
    "ID",
    "Image",
    "Command",
    "LocalVolumes",
    "Size",
    "RunningFor",
    "Status",
    "Names",
];
const VOLUMES: [&str; 3] = ["Name", "Links", "Size"];
const CACHE: Kind = Kind {
    columns: &[
        Column {
            name: "ID",
            header: "CACHE ID",
        },
        Column {
            name: "CacheType",
            header: "CACHE TYPE",
        },
        Column {
            name: "Size",
            header: "SIZE",
        },
        Column {
            name: "CreatedSince",
            header: "CREATED",
        },
        Column {
            name: "LastUsedSince",
            header: "LAST USED",
        },
        Column {
            name: "UsageCount",
            header: "USAGE",
        },
        Column {
            name: "Shared",
            header: "SHARED",
        },
    ],
    type_name: "*formatter.buildCacheContext",
};
const CACHE_TABLE: [&str; 7] = [
    "ID",
    "CacheType",
    "Size",
    "CreatedSince",
    "LastUsedSince",
    "UsageCount",
    "Shared",
];

/// Everything, in the order it is shown.
struct Found {
    images: Vec<Row>,
    containers: Vec<Row>,
    volumes: Vec<Row>,
    cache: Vec<Row>,
    cache_size: u64,
}

/// Shows it as tables, or as `format` says.
pub fn run(engine: &Engine, format: Option<&str>) -> Result {
    let found = find(engine)?;
    let mut out = BufWriter::new(stdout().lock());
    match format {
        None | Some("" | "table") => tables(&mut out, &found)?,
        Some("json") => writeln!(out, "{}", object(&found))?,
        Some(format) => {
            let failed = |message| Failure::new(GENERAL, message);
            let template = Template::parse(format, Functions::Values).map_err(failed)?;
            let text = template.render(&object(&found), Names::Document);
            writeln!(out, "{}", text.map_err(failed)?)?;
        }
    }
    out.flush()?;
    Ok(0)
}

fn tables(out: &mut impl Write, found: &Found) -> Result<()> {
    writeln!(out, "Images space usage:\n")?;
    write(out, images::KIND, &found.images, &Layout::Table(&IMAGES))?;
    writeln!(out, "\nContainers space usage:\n")?;
    let layout = Layout::Table(&CONTAINERS);
    write(out, ps::KIND, &found.containers, &layout)?;
    writeln!(out, "\nLocal Volumes space usage:\n")?;
    write(out, volume::KIND, &found.volumes, &Layout::Table(&VOLUMES))?;
    let bytes = size::human4(found.cache_size);
    writeln!(out, "\nBuild cache usage: {bytes}\n")?;
    write(out, CACHE, &found.cache, &Layout::Table(&CACHE_TABLE))
}

fn object(found: &Found) -> Json {
    let list = |kind: Kind, rows: &[Row]| -> Json {
        let rows = rows.iter().map(|row| {
            let names = kind.columns.iter().map(|column| column.name.to_owned());
            let cells = row.cells.iter().map(|cell| Json::from(cell.as_str()));
            Json::Object(names.zip(cells).collect::<Map<_, _>>())
        });
        rows.collect()
    };
    let mut object = Map::new();
    object.insert("Images".into(), list(images::KIND, &found.images));
    object.insert("Containers".into(), list(ps::KIND, &found.containers));
    object.insert("Volumes".into(), list(volume::KIND, &found.volumes));
    object.insert("BuildCache".into(), list(CACHE, &found.cache));
    Json::Object(object)
}

fn find(engine: &Engine) -> Result<Found> {
    let usage = engine.space_usage()?;
    let now = Timestamp::now();
    let mut images = Vec::new();
    for image in engine.images()? {
        let used = usage
            .images
            .iter()
            .find(|used| used.id.as_ref() == image.id);
        let (shared, containers) = used.map_or((0, 0), |used| (used.shared, used.containers));
        images.push(images::row_with_usage(&image, shared, containers));
    }
    let mut containers = Vec::new();
    for container in engine.containers()? {
        let used = usage.containers.iter().find(|used| used.id == container.id);
        let bytes = used.map_or(0, |used| used.size);
        containers.push(ps::row_with_size(engine, &container, size::human3(bytes))?);
    }
    let mut volumes = Vec::new();
    for volume in engine.volumes()? {
        let used = usage.volumes.iter().find(|used| used.name == volume.name);
        let used = used.map_or((volume.users.len(), 0), |used| (used.containers, used.size));
        volumes.push(volume::row(&volume, Some(used)));
    }
    let records = records(engine)?;
    Ok(Found {
        images,
        containers,
        volumes,
        cache_size: rctr_engine::sum(records.iter().map(|record| record.size)),
        cache: records
            .iter()
            .map(|record| cache_row(record, now))
            .collect(),
    })
}

fn records(engine: &Engine) -> Result<Vec<Record>> {
    let report = engine
        .store()
        .cache_list()
        .map_err(rctr_engine::Error::from)?;
    let mounts = rctr_builder::cache_mounts(engine.store().root())
        .map_err(|e| Failure::new(GENERAL, e.to_string()))?;
    let entries = report.entries.iter().map(Record::from);
    Ok(entries.chain(mounts.iter().map(Record::from)).collect())
}

fn cache_row(record: &Record, now: Timestamp) -> Row {
    let since = |seconds: i64| {
        let at = Timestamp::from_second(seconds)
            .unwrap_or_default()
            .to_string();
        format!("{} ago", duration::since(&at, now))
    };
    Row {
        cells: vec![
            record::short(&record.id).chars().take(12).collect(),
            record.kind().to_owned(),
            size::human4(record.size),
            since(record.created()),
            since(record.last_used),
            record.use_count().unwrap_or(0).to_string(),
            record.is_shared().to_string(),
        ],
        labels: Default::default(),
    }
}
