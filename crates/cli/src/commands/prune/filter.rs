//! `--filter` of the commands that remove what nobody uses.

use std::collections::BTreeMap;

use rctr_engine::{ImageSummary, parse_time};

use super::super::ps_filter::{has_label, split};
use crate::cli::ImagePruneArgs;
use crate::failure::{Failure, GENERAL, Result};

/// What `until`, `label` and `label!` let pass.
#[derive(Debug, Default)]
pub struct Filter {
    /// Made before this, in seconds since 1970.
    pub until: Option<i64>,
    labels: Vec<String>,
    other_labels: Vec<String>,
}

impl Filter {
    /// Reads the filters of a command.
    pub fn parse(command: &str, filters: &[String]) -> Result<Filter> {
        let known = ["label", "label!", "until"];
        Filter::of(&mut split(command, filters, &known)?)
    }

    fn of(values: &mut BTreeMap<String, Vec<String>>) -> Result<Filter> {
        let mut take = |name: &str| values.remove(name).unwrap_or_default();
        let until = match &take("until")[..] {
            [] => None,
            [text] => Some(time(text)?),
            _ => {
                let message = "more than one until filter specified";
                return Err(Failure::new(GENERAL, message));
            }
        };
        Ok(Filter {
            until,
            labels: take("label"),
            other_labels: take("label!"),
        })
    }

    /// Whether it asks for labels, which not everything has.
    pub fn asks_for_labels(&self) -> bool {
        !self.labels.is_empty() || !self.other_labels.is_empty()
    }

    /// Whether something that was made at that time (RFC 3339) and has these labels passes.
    pub fn matches(&self, created: &str, labels: &BTreeMap<String, String>) -> bool {
        let made = || {
            let time = created.parse::<jiff::Timestamp>();
            time.map_or(0, jiff::Timestamp::as_second)
        };
        self.until.is_none_or(|until| made() < until) && self.matches_labels(labels)
    }

    /// The same without looking at the time.
    pub fn matches_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|label| has_label(labels, label))
            && !self.other_labels.iter().any(|l| has_label(labels, l))
    }
}

/// Which images are to go.
#[derive(Debug)]
pub struct ImageFilter {
    /// Also those with a name.
    pub all: bool,
    filter: Filter,
}

impl ImageFilter {
    /// `--all` and `--filter`.
    pub fn parse(args: &ImagePruneArgs) -> Result<ImageFilter> {
        let known = ["dangling", "label", "label!", "until"];
        let mut values = split("image prune", &args.filter, &known)?;
        let mut all = args.all;
        for value in values.remove("dangling").unwrap_or_default() {
            all |= match value.as_str() {
                "true" | "1" => false,
                "false" | "0" => true,
                other => {
                    let message = format!("invalid filter 'dangling={other}'");
                    return Err(Failure::new(GENERAL, message));
                }
            };
        }
        let filter = Filter::of(&mut values)?;
        Ok(ImageFilter { all, filter })
    }

    pub fn matches(&self, image: &ImageSummary) -> bool {
        (self.all || image.dangling()) && self.filter.matches(&image.created, &image.labels)
    }
}

/// The time of an `until` filter.
pub fn time(text: &str) -> Result<i64> {
    parse_time(text).ok_or_else(|| {
        let way = "use 2006-01-02T15:04:05, seconds since 1970 or a duration such as 24h";
        Failure::new(GENERAL, format!("invalid filter 'until={text}': {way}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(all: bool, filters: &[&str]) -> Result<ImageFilter> {
        ImageFilter::parse(&ImagePruneArgs {
            all,
            filter: filters.iter().map(|f| (*f).to_owned()).collect(),
            force: true,
            surplus: Vec::new(),
        })
    }

    #[test]
    fn filters() {
        let mut image = ImageSummary {
            id: "sha256:0".into(),
            tags: Vec::new(),
            digests: Vec::new(),
            created: "2026-01-01T00:00:00Z".into(),
            size: 1,
            labels: [("keep".to_owned(), "1".to_owned())].into(),
            user: String::new(),
        };
        for (all, filters, dangling, tagged) in [
            (false, &[][..], true, false),
            (true, &[], true, true),
            (false, &["dangling=false"], true, true),
            (true, &["until=2025-01-01"], false, false),
            (true, &["until=2026-06-01"], true, true),
            (true, &["label=keep"], true, true),
            (true, &["label!=keep=1"], false, false),
            (true, &["label=other"], false, false),
        ] {
            let filter = filter(all, filters).unwrap();
            image.tags.clear();
            assert_eq!(filter.matches(&image), dangling, "{all} {filters:?}");
            image.tags.push("docker.io/library/a:1".into());
            assert_eq!(filter.matches(&image), tagged, "{all} {filters:?}");
        }
        for bad in [
            &["until=soon"][..],
            &["until=1h", "until=2h"],
            &["dangling=x"],
            &["colour=red"],
        ] {
            assert!(filter(false, bad).is_err(), "{bad:?}");
        }
    }
}
