//! `rctr history`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rctr_engine::HistoryLine;

use crate::app::App;
use crate::cli::HistoryArgs;
use crate::failure::Result;
use crate::flags::platform;
use crate::output::listing::{Column, Kind, Layout, Raw, Row, print};
use crate::output::{duration, ellipsis, short_id, size};
use crate::usage::require_one;

const KIND: Kind = Kind {
    columns: &[
        Column {
            name: "ID",
            header: "IMAGE",
        },
        Column {
            name: "CreatedSince",
            header: "CREATED",
        },
        Column {
            name: "CreatedAt",
            header: "CREATED AT",
        },
        Column {
            name: "CreatedBy",
            header: "CREATED BY",
        },
        Column {
            name: "Size",
            header: "SIZE",
        },
        Column {
            name: "Comment",
            header: "COMMENT",
        },
    ],
    type_name: "*formatter.historyContext",
};

const TABLE: [&str; 5] = ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"];
const MISSING: &str = "<missing>";
/// Characters of an instruction that a table shows.
const WIDTH: usize = 45;

/// Docker has nothing behind `--format raw` here.
const RAW: Raw = Raw {
    whole: "raw",
    quiet: "raw",
};

pub fn run(app: &App, command: &str, args: &HistoryArgs) -> Result {
    let name = require_one(command, &args.names)?;
    let layout = Layout::new(args.quiet, args.format.as_deref(), &TABLE, RAW);
    let view = View {
        truncate: !args.no_trunc,
        human: args.human,
        now: Timestamp::now(),
    };
    let platform = platform(command, args.platform.as_deref())?;
    let lines = app.engine()?.history(name, platform.as_deref())?;
    let rows: Vec<Row> = lines.iter().map(|line| view.row(line)).collect();
    print(KIND, &rows, &layout)
}

struct View {
    truncate: bool,
    human: bool,
    now: Timestamp,
}

impl View {
    fn row(&self, line: &HistoryLine) -> Row {
        let id = match &line.id {
            Some(id) if self.truncate => short_id(id),
            Some(id) => id,
            None => MISSING,
        };
        let by = line.created_by.replace(['\t', '\n'], " ");
        let by = match self.truncate {
            true => ellipsis(&by, WIDTH),
            false => by,
        };
        let at = seconds_only(&line.created);
        let since = match self.human {
            true if at == NOT_KNOWN => NOT_KNOWN.to_owned(),
            true => format!("{} ago", duration::since(&line.created, self.now)),
            false => at.clone(),
        };
        let size = match self.human {
            true => size::human3(line.size),
            false => line.size.to_string(),
        };
        Row {
            cells: vec![id.to_owned(), since, at, by, size, line.comment.clone()],
            labels: BTreeMap::new(),
        }
    }
}

const NOT_KNOWN: &str = "N/A";

/// RFC 3339 without fractions, in the local zone; what is no time, or the very first, is not known.
fn seconds_only(time: &str) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) if time.as_second() > 0 => {
            let local = time.to_zoned(jiff::tz::TimeZone::system());
            local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
        }
        _ => NOT_KNOWN.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::listing::write;

    fn table(view: &View) -> String {
        let lines = [
            HistoryLine {
                id: Some(format!("sha256:{}", "ab".repeat(32))),
                created: "2026-11-19T00:00:00Z".into(),
                created_by: "RUN /bin/sh -c apt-get update && apt-get install -y curl # buildkit"
                    .into(),
                comment: "buildkit.dockerfile.v0".into(),
                size: 12_345_678,
            },
            HistoryLine {
                id: None,
                created: String::new(),
                created_by: "CMD\t[\"sh\"]".into(),
                comment: String::new(),
                size: 0,
            },
        ];
        let rows: Vec<Row> = lines.iter().map(|line| view.row(line)).collect();
        let mut out = Vec::new();
        let layout = Layout::new(false, None, &TABLE, RAW);
        write(&mut out, KIND, &rows, &layout).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_like_docker_s() {
        let mut view = View {
            truncate: true,
            human: true,
            now: "2026-11-21T12:00:00Z".parse().unwrap(),
        };
        assert_eq!(
            table(&view),
            "IMAGE          CREATED      CREATED BY                                      SIZE      COMMENT\n\
             abababababab   2 days ago   RUN /bin/sh -c apt-get update && apt-get ins…   12.3MB    buildkit.dockerfile.v0\n\
             <missing>      N/A          CMD [\"sh\"]                                      0B        \n"
        );
        (view.truncate, view.human) = (false, false);
        let whole = table(&view);
        assert!(
            whole.contains("install -y curl # buildkit   12345678"),
            "{whole}"
        );
    }
}
