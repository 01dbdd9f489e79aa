//! What `builder du` tells of one thing in the cache, and which are meant.

use std::io::Write;

use jiff::Timestamp;
use rctr_builder::CacheMountUsage;
use rctr_engine::CacheUsage;

use crate::commands::prune::time;
use crate::failure::{Failure, GENERAL, Result};
use crate::output::{duration, size};

/// Characters of an id that are shown, as many as BuildKit's have.
const SHOWN: usize = 25;

/// One thing in the cache: the result of a step, or a cache mount.
#[derive(Debug, Clone)]
pub struct Record {
    pub id: String,
    parent: Option<String>,
    /// Seconds since 1970.
    created: i64,
    pub last_used: i64,
    use_count: Option<u64>,
    pub size: u64,
    /// A directory that commands change.
    pub mutable: bool,
    shared: bool,
    in_use: bool,
    description: String,
    kind: String,
}

impl From<&CacheUsage> for Record {
    fn from(usage: &CacheUsage) -> Record {
        let entry = &usage.entry;
        Record {
            id: entry.key.clone(),
            parent: usage.parent.as_ref().map(ToString::to_string),
            created: entry.created,
            last_used: entry.last_used,
            use_count: Some(entry.use_count),
            size: usage.size,
            mutable: false,
            shared: usage.shared,
            in_use: usage.in_use,
            description: entry.description.clone(),
            kind: entry.kind.clone(),
        }
    }
}

impl From<&CacheMountUsage> for Record {
    fn from(mount: &CacheMountUsage) -> Record {
        Record {
            id: mount.key.clone(),
            parent: None,
            created: mount.created,
            last_used: mount.last_used,
            use_count: None,
            size: mount.size,
            mutable: true,
            shared: false,
            in_use: mount.in_use,
            description: format!("cache mount {}", mount.id),
            kind: "exec.cachemount".to_owned(),
        }
    }
}

/// An id as tables show it.
pub fn short(id: &str) -> String {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.chars().take(SHOWN).collect()
}

impl Record {
    /// What made it: a step of this kind.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Seconds since 1970.
    pub fn created(&self) -> i64 {
        self.created
    }

    /// How often it was used, where that is counted.
    pub fn use_count(&self) -> Option<u64> {
        self.use_count
    }

    /// An image has it, too.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// A line of the table.
    pub fn line(&self) -> String {
        format!(
            "{}{}\t{}\t{}{}\t{}\n",
            short(&self.id),
            if self.mutable { "*" } else { "" },
            !self.in_use,
            size::human4(self.size),
            if self.shared { "*" } else { "" },
            self.last_accessed(),
        )
    }

    /// All that is known.
    pub fn verbose(&self, out: &mut impl Write) -> Result<()> {
        let mut line = |name: &str, value: &str| writeln!(out, "{name}:\t{value}");
        line("ID", &short(&self.id))?;
        if let Some(parent) = &self.parent {
            line("Parent", &short(parent))?;
        }
        line("Created at", &duration::local(&written(self.created)))?;
        line("Mutable", &self.mutable.to_string())?;
        line("Reclaimable", &(!self.in_use).to_string())?;
        line("Shared", &self.shared.to_string())?;
        line("Size", &size::human4(self.size))?;
        if !self.description.is_empty() {
            line("Description", &self.description)?;
        }
        if let Some(count) = self.use_count {
            line("Usage count", &count.to_string())?;
        }
        line("Last used", &self.last_accessed())?;
        line("Type", &self.kind)?;
        writeln!(out)?;
        Ok(())
    }

    fn last_accessed(&self) -> String {
        let since = duration::since(&written(self.last_used), Timestamp::now());
        format!("{since} ago")
    }
}

fn written(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds);
    time.unwrap_or_default().to_string()
}

/// `--filter` of `builder du` and `builder prune`: all of them must match.
#[derive(Debug, Default)]
pub struct Filter(Vec<Condition>);

#[derive(Debug)]
enum Condition {
    Id(String),
    Kind(String),
    Description(String),
    UnusedSince(i64),
    Shared(bool),
    Mutable(bool),
    InUse(bool),
}

impl Filter {
    pub fn parse(command: &str, filters: &[String]) -> Result<Filter> {
        let conditions = filters.iter().map(|filter| condition(command, filter));
        conditions.collect::<Result<_>>().map(Filter)
    }

    pub fn matches(&self, record: &Record) -> bool {
        self.0.iter().all(|condition| match condition {
            Condition::Id(id) => {
                let hex = |id: &str| id.strip_prefix("sha256:").unwrap_or(id).to_owned();
                hex(&record.id).starts_with(&hex(id))
            }
            Condition::Kind(kind) => record.kind == *kind,
            Condition::Description(part) => record.description.contains(part),
            Condition::UnusedSince(time) => record.last_used < *time,
            Condition::Shared(shared) => record.shared == *shared,
            Condition::Mutable(mutable) => record.mutable == *mutable,
            Condition::InUse(in_use) => record.in_use == *in_use,
        })
    }
}

fn condition(command: &str, filter: &str) -> Result<Condition> {
    let bad = |reason: &str| {
        Failure::new(
            GENERAL,
            format!("{command}: invalid filter {filter:?}: {reason}"),
        )
    };
    if let Some((name, part)) = filter.split_once("~=") {
        return match name {
            "description" => Ok(Condition::Description(part.to_owned())),
            _ => Err(bad("~= is for description")),
        };
    }
    let (name, value) = filter.split_once('=').unwrap_or((filter, "true"));
    let truth = || match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(bad("true or false is wanted")),
    };
    Ok(match name {
        "id" => Condition::Id(value.to_owned()),
        "type" => Condition::Kind(value.to_owned()),
        "description" => Condition::Description(value.to_owned()),
        "until" | "unused-for" => Condition::UnusedSince(time(value)?),
        "shared" => Condition::Shared(truth()?),
        "private" => Condition::Shared(!truth()?),
        "mutable" => Condition::Mutable(truth()?),
        "immutable" => Condition::Mutable(!truth()?),
        "inuse" => Condition::InUse(truth()?),
        _ => {
            return Err(bad(
                "known are id, type, description, until, shared, private, mutable, immutable and inuse",
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            id: format!("sha256:{}", "ab".repeat(32)),
            parent: None,
            created: 1_700_000_000,
            last_used: 1_700_000_000,
            use_count: Some(2),
            size: 8_200,
            mutable: false,
            shared: true,
            in_use: false,
            description: "[2/3] RUN make".into(),
            kind: "regular".into(),
        }
    }

    #[test]
    fn a_line_and_all_of_it() {
        let line = record().line();
        assert!(
            line.starts_with("ababababababababababababa\ttrue\t8.2kB*\t"),
            "{line}"
        );
        let mount = Record {
            mutable: true,
            shared: false,
            ..record()
        };
        assert!(
            mount.line().contains("a*\ttrue\t8.2kB\t"),
            "{}",
            mount.line()
        );
        let mut out = Vec::new();
        record().verbose(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("Description:\t[2/3] RUN make\nUsage count:\t2\n"),
            "{text}"
        );
        assert!(text.ends_with("Type:\tregular\n\n"), "{text}");
    }

    #[test]
    fn filters() {
        let passes = |filters: &[&str]| {
            let filters: Vec<String> = filters.iter().map(|f| (*f).to_owned()).collect();
            Filter::parse("builder du", &filters).map(|filter| filter.matches(&record()))
        };
        for (filters, expected) in [
            (&[][..], true),
            (&["id=abab"], true),
            (&["id=sha256:abab"], true),
            (&["id=cd"], false),
            (&["type=regular", "shared"], true),
            (&["type=regular", "private=true"], false),
            (&["description~=make"], true),
            (&["until=24h"], true),
            (&["unused-for=2020-01-01"], false),
            (&["immutable=true", "inuse=0"], true),
        ] {
            assert_eq!(passes(filters).unwrap(), expected, "{filters:?}");
        }
        for bad in ["colour=red", "until=soon", "shared=maybe", "id~=a"] {
            assert!(passes(&[bad]).is_err(), "{bad}");
        }
    }
}
