//! Network configurations: the files of a directory, and what they say.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// What this runtime speaks, best first.
const VERSIONS: [&str; 7] = [
    "1.1.0", "1.0.0", "0.4.0", "0.3.1", "0.3.0", "0.2.0", "0.1.0",
];

/// A configuration file may not be larger than this, in bytes.
const LIMIT: u64 = 1 << 20;

/// A network: plugins that are run one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkList {
    /// The network's name.
    pub name: String,
    /// The version of the specification that is spoken with its plugins.
    pub version: String,
    /// The plugins' configurations as written.
    pub plugins: Vec<Map<String, Value>>,
    /// Attachments are not to be checked.
    pub disable_check: bool,
    /// Attachments are not to be collected.
    pub disable_gc: bool,
    /// Where it was read from.
    pub file: PathBuf,
}

impl NetworkList {
    /// The network of a directory: the first file by name that ends in `.conflist`, `.conf` or `.json` and is valid,
    /// as other runtimes choose it. `None` if there is no such file.
    ///
    /// # Errors
    /// [`Error::CniConfig`] if there are files and none can be used: what is wrong with the first.
    pub fn load(directory: &Path) -> Result<Option<NetworkList>> {
        let bad = |e: io::Error| Error::CniConfig {
            path: directory.into(),
            reason: e.to_string(),
        };
        let entries = match fs::read_dir(directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(bad)?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(bad)?.path();
            let ending = path.extension().and_then(|e| e.to_str());
            if matches!(ending, Some("conflist" | "conf" | "json")) {
                files.push(path);
            }
        }
        files.sort();
        let mut first_error = None;
        for file in files {
            match NetworkList::read(&file) {
                Ok(list) => return Ok(Some(list)),
                Err(error) => {
                    tracing::warn!(%error, "a network configuration is passed over");
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(None), Err)
    }

    fn read(file: &Path) -> Result<NetworkList> {
        let bad = |reason: String| Error::CniConfig {
            path: file.into(),
            reason,
        };
        let size = fs::metadata(file).map_err(|e| bad(e.to_string()))?.len();
        if size > LIMIT {
            return Err(bad(format!("it has {size} bytes, {LIMIT} are allowed")));
        }
        let text = fs::read(file).map_err(|e| bad(e.to_string()))?;
        let value = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
        NetworkList::parse(value, file)
    }

    /// A configuration list, or one plugin's configuration as older files have it.
    pub(super) fn parse(value: Value, file: &Path) -> Result<NetworkList> {
        let bad = |reason: &str| Error::CniConfig {
            path: file.into(),
            reason: reason.into(),
        };
        let Value::Object(mut config) = value else {
            return Err(bad("it is no JSON object"));
        };
        let version = choose_version(&config).map_err(|reason| bad(&reason))?;
        let name = config
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if !is_name(&name) {
            return Err(bad("it has no valid name"));
        }
        let says = |config: &Map<String, Value>, key: &str| match config.get(key) {
            // The specification's own examples write it as a string.
            Some(Value::String(text)) => text == "true",
            other => other == Some(&Value::Bool(true)),
        };
        let (disable_check, disable_gc) =
            (says(&config, "disableCheck"), says(&config, "disableGC"));
        let plugins = match config.remove("plugins") {
            Some(Value::Array(plugins)) => plugins
                .into_iter()
                .map(|plugin| match plugin {
                    Value::Object(plugin) => Ok(plugin),
                    _ => Err(bad("a plugin is no JSON object")),
                })
                .collect::<Result<Vec<_>>>()?,
            Some(_) => return Err(bad("plugins is no list")),
            None => vec![config],
        };
        let list = NetworkList {
            name,
            version,
            plugins,
            disable_check,
            disable_gc,
            file: file.into(),
        };
        if list.plugins.is_empty() {
            return Err(bad("it has no plugins"));
        }
        for plugin in &list.plugins {
            list.plugin_type(plugin)?;
        }
        Ok(list)
    }

    /// The file name of a plugin's program.
    pub(super) fn plugin_type<'a>(&self, plugin: &'a Map<String, Value>) -> Result<&'a str> {
        let name = plugin
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(Error::CniConfig {
                path: self.file.clone(),
                reason: format!("{name:?} is not the type of a plugin"),
            });
        }
        Ok(name)
    }

    /// Whether version `major.minor` or a later one is spoken.
    pub(super) fn at_least(&self, major: u32, minor: u32) -> bool {
        parse_version(&self.version) >= Some((major, minor))
    }
}

/// The best version that both the file and this runtime know.
fn choose_version(config: &Map<String, Value>) -> Result<String, String> {
    let mut offered: Vec<&str> = match config.get("cniVersions") {
        Some(Value::Array(versions)) => versions.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    match config.get("cniVersion") {
        Some(Value::String(version)) => offered.push(version),
        // The oldest, as the specification has it.
        None if offered.is_empty() => offered.push("0.1.0"),
        _ => {}
    }
    let best = VERSIONS.iter().find(|known| offered.contains(known));
    best.map(|version| (*version).to_owned()).ok_or_else(|| {
        format!(
            "CNI version {} is not supported, {} is",
            offered.join(", "),
            VERSIONS.join(", ")
        )
    })
}

fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// The specification's rule for the names of networks and containers.
fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}
