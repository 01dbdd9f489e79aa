//! `rctr stats`.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::thread::sleep;
use std::time::Duration;

use rctr_engine::model::Container;
use rctr_engine::{Engine, Error, Sample};

use crate::app::App;
use crate::cli::StatsArgs;
use crate::failure::Result;
use crate::output::listing::{Column, Kind, Layout, Raw, Row, write};
use crate::output::{short_id, size};

/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(1);

const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

const KIND: Kind = Kind {
    columns: &[
        column("Container", "CONTAINER"),
        column("ID", "CONTAINER ID"),
        column("Name", "NAME"),
        column("CPUPerc", "CPU %"),
        column("MemUsage", "MEM USAGE / LIMIT"),
        column("MemPerc", "MEM %"),
        column("NetIO", "NET I/O"),
        column("BlockIO", "BLOCK I/O"),
        column("PIDs", "PIDS"),
    ],
    type_name: "*container.statsContext",
};

const TABLE: [&str; 8] = [
    "ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs",
];

const fn column(name: &'static str, header: &'static str) -> Column {
    Column { name, header }
}

pub fn run(app: &App, args: &StatsArgs) -> Result {
    let raw = Raw {
        whole: "raw",
        quiet: "raw",
    };
    let layout = Layout::new(false, args.format.as_deref(), &TABLE, raw);
    let engine = app.engine()?;
    let mut watched = Watched::new(&engine, args)?;
    let mut before = watched.look()?;
    loop {
        // The longer between two looks, the truer the share of the processors.
        sleep(INTERVAL);
        let now = watched.look()?;
        if now.is_empty() && !args.names.is_empty() {
            return Ok(0);
        }
        let mut frame = Vec::new();
        write(&mut frame, KIND, &watched.rows(&before, &now), &layout)?;
        let mut out = io::stdout().lock();
        if args.no_stream {
            out.write_all(&frame)?;
            return Ok(0);
        }
        out.write_all(&over_the_last(&frame))?;
        out.flush()?;
        before = now;
    }
}

/// What is shown in the place of the frame before.
fn over_the_last(frame: &[u8]) -> Vec<u8> {
    let mut shown = HOME.as_bytes().to_vec();
    for line in frame.split_inclusive(|byte| *byte == b'\n') {
        shown.extend(line.strip_suffix(b"\n").unwrap_or(line));
        shown.extend([CLEAR_LINE, "\n"].concat().bytes());
    }
    shown.extend(CLEAR_BELOW.bytes());
    shown
}

/// The containers that are looked at, in order.
struct Watched<'a> {
    engine: &'a Engine,
    all: bool,
    truncate: bool,
    /// The names that were given and the ids they had; none: whatever there is.
    chosen: Vec<(String, String)>,
}

type Looked = Vec<(Container, Sample)>;

impl<'a> Watched<'a> {
    fn new(engine: &'a Engine, args: &StatsArgs) -> Result<Watched<'a>> {
        let mut chosen = Vec::new();
        for name in &args.names {
            chosen.push((name.clone(), engine.container(name)?.id));
        }
        Ok(Watched {
            engine,
            all: args.all,
            truncate: !args.no_trunc,
            chosen,
        })
    }

    fn look(&mut self) -> Result<Looked> {
        let containers = match self.chosen.is_empty() {
            true => {
                let all = self.engine.containers()?.into_iter();
                all.filter(|c| c.pod.is_none() && (self.all || c.state.status.is_live()))
                    .collect()
            }
            false => self.find_chosen()?,
        };
        let mut looked = Vec::new();
        for container in containers {
            let sample = self.engine.sample(&container)?;
            looked.push((container, sample));
        }
        Ok(looked)
    }

    /// Those of the chosen that are still there.
    fn find_chosen(&mut self) -> Result<Vec<Container>> {
        let mut found = Vec::new();
        for (name, id) in std::mem::take(&mut self.chosen) {
            match self.engine.container(&id) {
                Err(Error::NoSuchContainer { .. }) => continue,
                other => found.push(other?),
            }
            self.chosen.push((name, id));
        }
        Ok(found)
    }

    fn rows(&self, before: &Looked, now: &Looked) -> Vec<Row> {
        let before: HashMap<&str, &Sample> =
            before.iter().map(|(c, s)| (c.id.as_str(), s)).collect();
        let row = |(container, sample): &(Container, Sample)| {
            let cpu = match before.get(container.id.as_str()) {
                Some(before) => sample.cpu_percent(before),
                None => 0.0,
            };
            self.row(container, sample, cpu)
        };
        now.iter().map(row).collect()
    }

    fn row(&self, container: &Container, sample: &Sample, cpu: f64) -> Row {
        let id = match self.truncate {
            true => short_id(&container.id),
            false => &container.id,
        };
        let given = self.chosen.iter().find(|(_, of)| *of == container.id);
        let pair = |a: u64, b: u64, of: fn(u64) -> String| format!("{} / {}", of(a), of(b));
        Row {
            cells: vec![
                given.map_or(id, |(name, _)| name).to_owned(),
                id.to_owned(),
                container.name.clone(),
                format!("{cpu:.2}%"),
                pair(sample.memory, sample.memory_limit, size::binary),
                format!("{:.2}%", sample.memory_percent()),
                pair(sample.received, sample.sent, size::human3),
                pair(sample.read, sample.written, size::human3),
                sample.pids.to_string(),
            ],
            labels: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_replaces_the_one_before() {
        let shown = String::from_utf8(over_the_last(b"A\nB\n")).unwrap();
        assert_eq!(shown, "\x1b[HA\x1b[K\nB\x1b[K\n\x1b[J");
    }
}
