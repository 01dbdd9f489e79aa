//! Lists of containers and images: Docker's tables, templates and JSON from the same rows.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write, stdout};

use serde_json::{Map, Value as Json};

use super::table::write_aligned;
use super::template::{Functions, LABELS_KEY, Names, Template};
use crate::failure::{Failure, GENERAL, Result};

/// One thing that a row says.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// In templates and JSON.
    pub name: &'static str,
    /// At the head of a table.
    pub header: &'static str,
}

/// What is listed: which columns there are, and the name of Docker's type for messages.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub columns: &'static [Column],
    pub type_name: &'static str,
}

/// One container or image.
#[derive(Debug, Clone)]
pub struct Row {
    /// One for each column.
    pub cells: Vec<String>,
    pub labels: BTreeMap<String, String>,
}

/// How it is to be shown.
#[derive(Debug, Clone)]
pub enum Layout<'a> {
    /// Only the column of that name.
    Only(&'static str),
    /// The columns of these names as a table.
    Table(&'a [&'static str]),
    /// A table of what a template gives.
    TableTemplate(&'a str),
    /// One JSON object a line.
    Json,
    /// One template a line.
    Template(&'a str),
}

/// The templates behind `--format raw`.
#[derive(Debug, Clone, Copy)]
pub struct Raw {
    pub whole: &'static str,
    pub quiet: &'static str,
}

impl<'a> Layout<'a> {
    /// Reads `--quiet` and `--format`; `default` are the columns of the usual table.
    pub fn new(
        quiet: bool,
        format: Option<&'a str>,
        default: &'a [&'static str],
        raw: Raw,
    ) -> Layout<'a> {
        match format {
            Some("raw") if quiet => Layout::Template(raw.quiet),
            Some("raw") => Layout::Template(raw.whole),
            _ if quiet => Layout::Only("ID"),
            None | Some("" | "table") => Layout::Table(default),
            Some("json") => Layout::Json,
            Some(format) => match format.strip_prefix("table") {
                Some(template) => Layout::TableTemplate(template.trim_matches(' ')),
                None => Layout::Template(format.trim_matches(' ')),
            },
        }
    }

    /// Whether it shows a column; one that is dear to fill need not be filled otherwise.
    pub fn shows(&self, name: &str) -> bool {
        match self {
            Layout::Only(column) => *column == name,
            Layout::Table(columns) => columns.contains(&name),
            Layout::Json => false,
            Layout::TableTemplate(template) | Layout::Template(template) => {
                template.contains(&format!(".{name}"))
            }
        }
    }
}

/// Writes the rows to standard output.
pub fn print(kind: Kind, rows: &[Row], layout: &Layout<'_>) -> Result {
    write(&mut BufWriter::new(stdout().lock()), kind, rows, layout)?;
    Ok(0)
}

/// Writes the rows.
pub fn write(out: &mut impl Write, kind: Kind, rows: &[Row], layout: &Layout<'_>) -> Result<()> {
    match layout {
        Layout::Only(name) => {
            let columns = [position(kind, name)];
            for row in rows {
                writeln!(out, "{}", pick(row, &columns))?;
            }
        }
        Layout::Table(names) => {
            let columns: Vec<usize> = names.iter().map(|name| position(kind, name)).collect();
            let head: Vec<&str> = columns.iter().map(|i| kind.columns[*i].header).collect();
            let mut text = head.join("\t") + "\n";
            for row in rows {
                text += &pick(row, &columns);
                text.push('\n');
            }
            write_aligned(out, &text)?;
        }
        Layout::Json => {
            for row in rows {
                writeln!(out, "{}", Json::Object(object(kind, row)))?;
            }
        }
        Layout::TableTemplate(template) => {
            let template = unescape(template);
            let headers = parse(&template, Functions::Headers)?;
            let mut text = render(&headers, kind, header_object(kind))? + "\n";
            text += &render_rows(&template, kind, rows)?;
            write_aligned(out, &text)?;
        }
        Layout::Template(template) => {
            let text = render_rows(&unescape(template), kind, rows)?;
            out.write_all(text.as_bytes())?;
        }
    }
    out.flush()?;
    Ok(())
}

fn render_rows(template: &str, kind: Kind, rows: &[Row]) -> Result<String> {
    let template = parse(template, Functions::Values)?;
    let mut text = String::new();
    for row in rows {
        let mut object = object(kind, row);
        let labels = row
            .labels
            .iter()
            .map(|(name, value)| (name.clone(), Json::from(value.as_str())));
        object.insert(LABELS_KEY.to_owned(), Json::Object(labels.collect()));
        text += &render(&template, kind, object)?;
        text.push('\n');
    }
    Ok(text)
}

fn parse(template: &str, functions: Functions) -> Result<Template> {
    Template::parse(template, functions).map_err(|message| Failure::new(GENERAL, message))
}

fn render(template: &Template, kind: Kind, object: Map<String, Json>) -> Result<String> {
    template
        .render(&Json::Object(object), Names::Type(kind.type_name))
        .map_err(|message| Failure::new(GENERAL, message))
}

/// `\t` and `\n` as they are typed in a shell.
fn unescape(template: &str) -> String {
    template.replace("\\t", "\t").replace("\\n", "\n")
}

fn position(kind: Kind, name: &str) -> usize {
    kind.columns
        .iter()
        .position(|column| column.name == name)
        .unwrap_or(0)
}

fn pick(row: &Row, columns: &[usize]) -> String {
    let cells: Vec<&str> = columns
        .iter()
        .filter_map(|i| row.cells.get(*i))
        .map(String::as_str)
        .collect();
    cells.join("\t")
}

/// The row as an object, keys in alphabetical order as Docker has them.
fn object(kind: Kind, row: &Row) -> Map<String, Json> {
    let mut pairs: Vec<(&str, &String)> = kind
        .columns
        .iter()
        .map(|column| column.name)
        .zip(&row.cells)
        .collect();
    pairs.sort();
    pairs
        .into_iter()
        .map(|(name, cell)| (name.to_owned(), Json::from(cell.as_str())))
        .collect()
}

fn header_object(kind: Kind) -> Map<String, Json> {
    kind.columns
        .iter()
        .map(|column| (column.name.to_owned(), Json::from(column.header)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind {
        columns: &[
            Column {
                name: "ID",
                header: "CONTAINER ID",
            },
            Column {
                name: "Names",
                header: "NAMES",
            },
            Column {
                name: "Labels",
                header: "LABELS",
            },
        ],
        type_name: "*formatter.ContainerContext",
    };

    const RAW: Raw = Raw {
        whole: "id: {{.ID}}\nnames: {{.Names}}\n",
        quiet: "id: {{.ID}}",
    };

    fn shown(quiet: bool, format: Option<&str>) -> String {
        let rows = [
            Row {
                cells: vec!["0123456789ab".into(), "web".into(), "tier=front".into()],
                labels: BTreeMap::from([("tier".into(), "front".into())]),
            },
            Row {
                cells: vec!["ba9876543210".into(), "peaceful_buck".into(), String::new()],
                labels: BTreeMap::new(),
            },
        ];
        let mut out = Vec::new();
        match write(
            &mut out,
            KIND,
            &rows,
            &Layout::new(quiet, format, &["ID", "Names"], RAW),
        ) {
            Ok(()) => String::from_utf8(out).unwrap(),
            Err(failure) => failure.text(),
        }
    }

    #[test]
    fn tables() {
        let table = "CONTAINER ID   NAMES\n0123456789ab   web\nba9876543210   peaceful_buck\n";
        assert_eq!(shown(false, None), table);
        assert_eq!(shown(false, Some("table")), table);
        assert_eq!(shown(false, Some("table {{.ID}}\\t{{.Names}}")), table);
        assert_eq!(
            shown(
                false,
                Some("table {{.Names | upper}}\\t{{.Label \"tier\"}}")
            ),
            "NAMES           tier\nWEB             front\nPEACEFUL_BUCK   \n"
        );
    }

    #[test]
    fn lines() {
        assert_eq!(shown(true, Some("json")), "0123456789ab\nba9876543210\n");
        assert_eq!(
            shown(false, Some("{{.Names}}={{.ID}}\\n")),
            "web=0123456789ab\n\npeaceful_buck=ba9876543210\n\n"
        );
        let json = "{\"ID\":\"0123456789ab\",\"Labels\":\"tier=front\",\"Names\":\"web\"}\n\
                    {\"ID\":\"ba9876543210\",\"Labels\":\"\",\"Names\":\"peaceful_buck\"}\n";
        assert_eq!(shown(false, Some("json")), json);
        assert_eq!(shown(false, Some("{{json .}}")), json);
    }

    #[test]
    fn raw() {
        assert_eq!(
            shown(false, Some("raw")),
            "id: 0123456789ab\nnames: web\n\nid: ba9876543210\nnames: peaceful_buck\n\n"
        );
        assert_eq!(
            shown(true, Some("raw")),
            "id: 0123456789ab\nid: ba9876543210\n"
        );
    }

    #[test]
    fn unknown_fields() {
        assert_eq!(
            shown(false, Some("{{.Nope}}")),
            "template parsing error: template: :1:2: executing \"\" at <.Nope>: \
             can't evaluate field Nope in type *formatter.ContainerContext"
        );
        assert!(shown(false, Some("table {{.Nope}}")).contains("can't evaluate field Nope"));
    }
}
