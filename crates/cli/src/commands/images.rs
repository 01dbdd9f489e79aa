//! `rctr images`.

use jiff::Timestamp;
use rctr_engine::{Engine, ImageSummary, familiar_name};

use super::images_tree;
use super::ps_filter::{has_label, split};
use crate::app::App;
use crate::cli::ImagesArgs;
use crate::failure::{Failure, GENERAL, Result};
use crate::output::listing::{Column, Kind, Layout, Raw, Row, print};
use crate::output::{duration, short_id, size};
use crate::usage::wrong_count;

pub const KIND: Kind = Kind {
    columns: &[
        Column {
            name: "Repository",
            header: "REPOSITORY",
        },
        Column {
            name: "Tag",
            header: "TAG",
        },
        Column {
            name: "Digest",
            header: "DIGEST",
        },
        Column {
            name: "ID",
            header: "IMAGE ID",
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
            name: "Size",
            header: "SIZE",
        },
        Column {
            name: "Containers",
            header: "CONTAINERS",
        },
        Column {
            name: "VirtualSize",
            header: "SIZE",
        },
        Column {
            name: "SharedSize",
            header: "SHARED SIZE",
        },
        Column {
            name: "UniqueSize",
            header: "UNIQUE SIZE",
        },
    ],
    type_name: "*formatter.imageContext",
};

const TABLE: [&str; 5] = ["Repository", "Tag", "ID", "CreatedSince", "Size"];
const TABLE_WITH_DIGESTS: [&str; 6] = ["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"];
const NONE: &str = "<none>";

/// What `--format raw` stands for.
const RAW: Raw = Raw {
    whole: "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\n\
            virtual_size: {{.Size}}\n",
    quiet: "image_id: {{.ID}}",
};

pub fn run(app: &App, command: &str, args: &ImagesArgs) -> Result {
    let pattern = match &args.names[..] {
        [] => None,
        [pattern] if pattern.is_empty() => None,
        [pattern] => Some(pattern.as_str()),
        _ => return Err(wrong_count(command, "requires at most 1 argument")),
    };
    if args.tree && (args.quiet || args.digests || args.list.format.is_some() || args.list.no_trunc)
    {
        let message = "--tree cannot be used with --quiet, --digests, --format or --no-trunc";
        return Err(Failure::new(GENERAL, message));
    }
    let table: &[&'static str] = if args.digests {
        &TABLE_WITH_DIGESTS
    } else {
        &TABLE
    };
    let layout = Layout::new(args.quiet, args.list.format.as_deref(), table, RAW);
    let digests = args.digests || layout.shows("Digest");
    let engine = app.engine()?;
    let mut images = engine.images()?;
    let filter = Filter::parse(command, &args.list.filter, pattern, &engine)?;
    images.retain(|image| filter.matches(image));
    if args.tree {
        images_tree::write(&mut std::io::stdout().lock(), &engine, &images)?;
        return Ok(0);
    }
    let view = View {
        truncate: !args.list.no_trunc,
        digests,
        now: Timestamp::now(),
    };
    let mut rows = Vec::new();
    for image in &images {
        rows.extend(filter.names(image).iter().map(|name| view.row(image, name)));
    }
    print(KIND, &rows, &layout)
}

/// One name of an image, `<none>` for what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    repository: String,
    tag: String,
    digest: String,
}

impl Name {
    fn none() -> Name {
        Name {
            repository: NONE.to_owned(),
            tag: NONE.to_owned(),
            digest: NONE.to_owned(),
        }
    }

    fn text(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

/// The tags of an image, and its digests where no tag of the repository has one.
fn names(image: &ImageSummary) -> Vec<Name> {
    let digests: Vec<(String, String)> = image
        .digests
        .iter()
        .filter_map(|digest| {
            Some(familiar_name(digest).split_once('@')?).map(|(r, d)| (r.to_owned(), d.to_owned()))
        })
        .collect();
    let mut names: Vec<Name> = Vec::new();
    for tag in &image.tags {
        let familiar = familiar_name(tag);
        let (repository, tag) = familiar.rsplit_once(':').unwrap_or((&familiar, NONE));
        let digest = digests
            .iter()
            .find(|(of, _)| of == repository)
            .map_or(NONE, |(_, digest)| digest);
        names.push(Name {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            digest: digest.to_owned(),
        });
    }
    for (repository, digest) in digests {
        if !names.iter().any(|name| name.repository == repository) {
            names.push(Name {
                repository,
                tag: NONE.to_owned(),
                digest,
            });
        }
    }
    if names.is_empty() {
        names.push(Name::none());
    }
    names
}

/// An image under its first name, with what it shares with others, in bytes, and how many containers use it.
pub fn row_with_usage(image: &ImageSummary, shared: u64, containers: usize) -> Row {
    let view = View {
        truncate: true,
        digests: false,
        now: Timestamp::now(),
    };
    // As Docker: of several names the first.
    let mut names = names(image).into_iter();
    let mut row = view.row(image, &names.next().unwrap_or_else(Name::none));
    for (name, text) in [
        ("Size", size::human4(image.size)),
        ("SharedSize", size::human4(shared)),
        (
            "UniqueSize",
            size::human4(image.size.saturating_sub(shared)),
        ),
        ("Containers", containers.to_string()),
    ] {
        let place = KIND.columns.iter().position(|column| column.name == name);
        if let Some(cell) = place.and_then(|place| row.cells.get_mut(place)) {
            *cell = text;
        }
    }
    row
}

/// How images are shown.
struct View {
    truncate: bool,
    digests: bool,
    now: Timestamp,
}

impl View {
    /// In the order of [`KIND`]'s columns.
    fn row(&self, image: &ImageSummary, name: &Name) -> Row {
        let id = if self.truncate {
            short_id(&image.id)
        } else {
            &image.id
        };
        let (since, at) = match image.created.as_str() {
            "" => ("N/A".to_owned(), "N/A".to_owned()),
            created => (
                format!("{} ago", duration::since(created, self.now)),
                duration::local(created),
            ),
        };
        let not_known = || "N/A".to_owned();
        Row {
            cells: vec![
                name.repository.clone(),
                name.tag.clone(),
                if self.digests {
                    name.digest.clone()
                } else {
                    NONE.to_owned()
                },
                id.to_owned(),
                since,
                at,
                size::human3(image.size),
                // As Docker: counting is left to `system df`.
                not_known(),
                size::human4(image.size),
                not_known(),
                not_known(),
            ],
            labels: image.labels.clone(),
        }
    }
}

/// `--filter`, and the name on the command line, which is a `reference` filter.
#[derive(Debug, Default)]
struct Filter {
    dangling: Option<bool>,
    labels: Vec<String>,
    references: Vec<String>,
    before: Option<String>,
    since: Option<String>,
}

impl Filter {
    fn parse(
        command: &str,
        filters: &[String],
        pattern: Option<&str>,
        engine: &Engine,
    ) -> Result<Filter> {
        Filter::parse_with(command, filters, pattern, |name| {
            let created = engine.image(name)?.config.created().clone();
            Ok(created.unwrap_or_default())
        })
    }

    fn parse_with(
        command: &str,
        filters: &[String],
        pattern: Option<&str>,
        created: impl Fn(&str) -> Result<String>,
    ) -> Result<Filter> {
        let mut values = split(
            command,
            filters,
            &["before", "dangling", "label", "reference", "since"],
        )?;
        let mut take = |name: &str| values.remove(name).unwrap_or_default();
        let mut references = take("reference");
        references.extend(pattern.map(str::to_owned));
        let dangling = match take("dangling").first().map(String::as_str) {
            None => None,
            Some("true" | "1" | "t") => Some(true),
            Some("false" | "0" | "f") => Some(false),
            Some(other) => {
                return Err(Failure::new(
                    GENERAL,
                    format!("invalid filter 'dangling={other}'"),
                ));
            }
        };
        let mut times = |name: &str| {
            take(name)
                .iter()
                .map(|image| created(image))
                .collect::<Result<Vec<_>>>()
        };
        let before = times("before")?.into_iter().min();
        let since = times("since")?.into_iter().max();
        Ok(Filter {
            dangling,
            labels: take("label"),
            references,
            before,
            since,
        })
    }

    fn matches(&self, image: &ImageSummary) -> bool {
        self.dangling
            .is_none_or(|dangling| dangling == image.tags.is_empty())
            && self
                .labels
                .iter()
                .all(|label| has_label(&image.labels, label))
            && (self.references.is_empty()
                || names(image).iter().any(|name| self.names_match(name)))
            && self
                .before
                .as_ref()
                .is_none_or(|time| image.created < *time)
            && self.since.as_ref().is_none_or(|time| image.created > *time)
    }

    /// The names that were asked for.
    fn names(&self, image: &ImageSummary) -> Vec<Name> {
        let mut names = names(image);
        if !self.references.is_empty() {
            names.retain(|name| self.names_match(name));
        }
        names
    }

    fn names_match(&self, name: &Name) -> bool {
        self.references.iter().any(|pattern| {
            let pattern = familiar_pattern(pattern);
            glob(&pattern, &name.repository) || glob(&pattern, &name.text())
        })
    }
}

/// `docker.io/library/nginx` means `nginx` also as a pattern.
fn familiar_pattern(pattern: &str) -> String {
    let rest = pattern.strip_prefix("docker.io/").unwrap_or(pattern);
    rest.strip_prefix("library/").unwrap_or(rest).to_owned()
}

/// Go's `path.Match` without its character classes' escapes: `*` and `?` do not match a slash.
fn glob(pattern: &str, text: &str) -> bool {
    let mut pattern_chars = pattern.chars();
    let Some(first) = pattern_chars.next() else {
        return text.is_empty();
    };
    let rest = pattern_chars.as_str();
    let mut text_chars = text.chars();
    match (first, text_chars.next()) {
        ('*', next) => {
            glob(rest, text) || next.is_some_and(|c| c != '/' && glob(pattern, text_chars.as_str()))
        }
        ('?', Some(c)) => c != '/' && glob(rest, text_chars.as_str()),
        ('[', Some(c)) => match rest.split_once(']') {
            Some((class, rest)) => in_class(class, c) && glob(rest, text_chars.as_str()),
            None => false,
        },
        (first, Some(c)) => first == c && glob(rest, text_chars.as_str()),
        (_, None) => false,
    }
}

fn in_class(class: &str, c: char) -> bool {
    let (class, negated) = match class.strip_prefix('^') {
        Some(class) => (class, true),
        None => (class, false),
    };
    let chars: Vec<char> = class.chars().collect();
    let mut found = false;
    let mut index = 0;
    while index < chars.len() {
        match chars.get(index + 1..index + 3) {
            Some(['-', last]) => {
                found |= (chars[index]..=*last).contains(&c);
                index += 3;
            }
            _ => {
                found |= chars[index] == c;
                index += 1;
            }
        }
    }
    found != negated
}

#[cfg(test)]
mod tests;
