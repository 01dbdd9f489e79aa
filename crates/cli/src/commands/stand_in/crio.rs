//! `crio`: the service, with the configuration that minikube edits.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rctr_engine::Engine;
use rctr_engine::config::{CgroupDriver, Config};
use serde::Deserialize;

use super::refused;
use crate::app::App;
use crate::commands::cri;
use crate::failure::{Failure, GENERAL, Result};

const SOCKET: &str = "/var/run/crio/crio.sock";
const CONF_DIR: &str = "/etc/crio/crio.conf.d";

/// The file as minikube edits it: of what it writes there, a pause image and a cgroup for conmon are not needed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conf {
    crio: Tables,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tables {
    runtime: Runtime,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Runtime {
    cgroup_manager: Option<CgroupDriver>,
    default_sysctls: Vec<String>,
}

pub fn run(app: &App, args: &[&str]) -> Result {
    match args {
        ["--version" | "-v" | "version"] => {
            writeln!(io::stdout(), "crio version {}", env!("CARGO_PKG_VERSION"))?;
            Ok(0)
        }
        ["config"] => {
            let config = configured(app.config()?, Path::new(CONF_DIR))?;
            let driver = config.settings.cgroup.driver_name();
            writeln!(
                io::stdout(),
                "[crio.runtime]\ncgroup_manager = \"{driver}\""
            )?;
            Ok(0)
        }
        [] | ["serve"] => {
            let config = configured(app.config()?, Path::new(CONF_DIR))?;
            cri::serve(Engine::open(config)?, Some(PathBuf::from(SOCKET)))
        }
        _ => Err(refused(
            "crio",
            "only --version, config and serve can be had from rctr",
        )),
    }
}

/// The configuration with what the files of the directory say over it, in the order of their names.
fn configured(mut config: Config, directory: &Path) -> Result<Config> {
    let bad = |path: &Path, reason: String| {
        Failure::new(GENERAL, format!("{}: {reason}", path.display()))
    };
    let entries = match std::fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(config),
        other => other.map_err(|e| bad(directory, e.to_string()))?,
    };
    let mut files = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(|e| bad(directory, e.to_string()))?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "conf"));
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|e| bad(&file, e.to_string()))?;
        let conf: Conf = toml::from_str(&text).map_err(|e| bad(&file, e.to_string()))?;
        let runtime = conf.crio.runtime;
        if let Some(driver) = runtime.cgroup_manager {
            config.settings.cgroup.driver = driver;
        }
        let pairs = runtime
            .default_sysctls
            .iter()
            .map(|pair| match pair.split_once('=') {
                Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
                None => Err(bad(
                    &file,
                    format!("{pair:?} in default_sysctls has no value"),
                )),
            });
        config
            .settings
            .cri
            .default_sysctls
            .extend(pairs.collect::<Result<BTreeMap<_, _>>>()?);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_minikube_has_edited_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[crio.image]\npause_image = \"registry.k8s.io/pause:3.10\"\n\n[crio.runtime]\ncgroup_manager = \"cgroupfs\"\n\
            conmon_cgroup = \"pod\"\ndefault_sysctls = [\n  \"net.ipv4.ip_unprivileged_port_start=0\",\n]\n";
        std::fs::write(dir.path().join("02-crio.conf"), text).unwrap();
        std::fs::write(dir.path().join("README"), "not a configuration").unwrap();
        let none = dir.path().join("none.toml");
        let config = || Config::load(dir.path(), dir.path(), &none, false).unwrap();
        let read = configured(config(), dir.path()).unwrap();
        assert_eq!(read.settings.cgroup.driver, CgroupDriver::Cgroupfs);
        assert_eq!(
            read.settings.cri.default_sysctls["net.ipv4.ip_unprivileged_port_start"],
            "0"
        );

        std::fs::write(
            dir.path().join("03-bad.conf"),
            "[crio.runtime]\ncgroup_manager = \"none\"\n",
        )
        .unwrap();
        let error = configured(config(), dir.path()).unwrap_err();
        assert!(format!("{error:?}").contains("03-bad.conf"), "{error:?}");
    }
}
