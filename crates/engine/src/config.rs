//! The configuration file and where things are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use rctr_network::Ipv6Choice;
use rctr_registry_client::HostConfigs;
use serde::Deserialize;

use crate::options::LogDriver;
use crate::{Error, Result};

/// Everything the engine needs to know of its surroundings.
#[derive(Debug, Clone)]
pub struct Config {
    /// What outlives a reboot: `/var/lib/rctr`.
    pub root: PathBuf,
    /// What does not: `/run/rctr`.
    pub state: PathBuf,
    /// The configuration file that was asked for.
    pub file: PathBuf,
    /// Its content.
    pub settings: Settings,
}

/// The configuration file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `[registry."docker.io"]` …
    #[serde(deserialize_with = "rctr_registry_client::deserialize_hosts")]
    pub registry: HostConfigs,
    /// `[network]`.
    pub network: NetworkSettings,
    /// `[cgroup]`.
    pub cgroup: CgroupSettings,
    /// `[security]`.
    pub security: SecuritySettings,
    /// `[log]`.
    pub log: LogSettings,
    /// `[cri]`.
    pub cri: CriSettings,
    /// `[runtimes.NAME]`: what `--runtime` may name besides the built-in runtime.
    pub runtimes: BTreeMap<String, RuntimeSettings>,
}

/// `[runtimes.NAME]`: a program with the command line of an OCI runtime.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeSettings {
    /// Where it is.
    pub path: PathBuf,
    /// Words before each of its commands.
    #[serde(default, alias = "runtimeArgs", alias = "options")]
    pub args: Vec<String>,
}

/// `[network]`: the default bridge.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSettings {
    /// Interface name of the bridge.
    #[serde(deserialize_with = "rctr_network::deserialize_interface_name")]
    pub bridge: String,
    /// Its IPv4 subnet; the gateway is the first address. None means the first free one from 10.88.0.0/16 on.
    #[serde(deserialize_with = "rctr_network::deserialize_subnet")]
    pub subnet: Option<Ipv4Net>,
    /// Its IPv6 subnet, or `none`.
    pub subnet_v6: Ipv6Choice,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        NetworkSettings {
            bridge: "rctr0".into(),
            subnet: None,
            subnet_v6: Ipv6Choice::default(),
        }
    }
}

/// `[cgroup]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CgroupSettings {
    /// Who makes cgroups.
    pub driver: CgroupDriver,
    /// Directory of the containers' cgroups below the hierarchy's root (cgroupfs), `rctr` if not given;
    /// or a slice (systemd), `system.slice` if not given.
    pub parent: Option<String>,
}

impl CgroupSettings {
    /// The driver in force on this machine.
    pub fn driver_in_force(&self) -> rctr_runtime::cgroup::CgroupDriver {
        match self.driver {
            CgroupDriver::Auto => rctr_runtime::cgroup::detect_driver(),
            CgroupDriver::Cgroupfs => rctr_runtime::cgroup::CgroupDriver::Cgroupfs,
            CgroupDriver::Systemd => rctr_runtime::cgroup::CgroupDriver::Systemd,
        }
    }

    /// Its name: `cgroupfs` or `systemd`, or `none` for an ordinary user without delegation.
    pub fn driver_name(&self) -> &'static str {
        match self.driver_in_force() {
            rctr_runtime::cgroup::CgroupDriver::Cgroupfs => "cgroupfs",
            rctr_runtime::cgroup::CgroupDriver::Systemd => "systemd",
            rctr_runtime::cgroup::CgroupDriver::None => "none",
        }
    }
}

/// `cgroup.driver`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    /// systemd where it is pid 1 on cgroup v2, else cgroupfs.
    #[default]
    Auto,
    /// Directories made by rctr.
    Cgroupfs,
    /// Transient scopes made by systemd.
    Systemd,
}

/// `[security]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecuritySettings {
    /// Label containers where the kernel has SELinux.
    pub selinux: bool,
}

impl Default for SecuritySettings {
    fn default() -> Self {
        SecuritySettings { selinux: true }
    }
}

/// `[log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// The driver of containers that name none.
    #[serde(deserialize_with = "log_driver")]
    pub driver: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
    /// Size at which a log file is rotated: bytes, or text such as `10m`.
    #[serde(deserialize_with = "crate::options::deserialize_size")]
    pub max_size: u64,
    /// How many files are kept, the current one included.
    pub max_file: u32,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings {
            driver: "json-file".into(),
            options: BTreeMap::new(),
            max_size: 10_000_000,
            max_file: 3,
        }
    }
}

fn log_driver<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    match LogDriver::named(&name) {
        Ok(_) => Ok(name),
        Err(e) => Err(serde::de::Error::custom(e)),
    }
}

/// `[cri]`: what `rctr cri` serves a kubelet.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CriSettings {
    /// The unix socket, unless systemd hands one over; `unix://` may stand before it.
    #[serde(deserialize_with = "socket_path")]
    pub socket: PathBuf,
    /// Where exec, attach and port-forward are streamed; port 0 is any free one. The kubelet dials it, so loopback does.
    pub stream_address: SocketAddr,
    /// Where Prometheus metrics (`/metrics`) and health (`/healthz`) are told; nowhere if not given.
    pub metrics_address: Option<SocketAddr>,
    /// Directory of CNI network configurations; while it has none, the bridge of `[network]` serves the pods.
    pub cni_conf_dir: PathBuf,
    /// Directories of CNI plugins, searched in this order.
    pub cni_bin_dirs: Vec<PathBuf>,
    /// Kernel parameters that every pod with a network of its own gets unless it says otherwise.
    pub default_sysctls: BTreeMap<String, String>,
    /// `[cri.handlers.NAME]`: what a RuntimeClass may name besides the built-in runtime.
    pub handlers: BTreeMap<String, CriHandler>,
}

/// `[cri.handlers.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CriHandler {
    /// A program with the command line of an OCI runtime; none means the built-in one.
    pub path: Option<PathBuf>,
    /// Words before each of its commands.
    pub args: Vec<String>,
}

impl Default for CriSettings {
    fn default() -> Self {
        CriSettings {
            socket: "/run/rctr/cri.sock".into(),
            stream_address: SocketAddr::from(([127, 0, 0, 1], 0)),
            metrics_address: None,
            cni_conf_dir: "/etc/cni/net.d".into(),
            cni_bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            default_sysctls: BTreeMap::new(),
            handlers: BTreeMap::new(),
        }
    }
}

fn socket_path<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let text = String::deserialize(deserializer)?;
    let path = text.strip_prefix("unix://").unwrap_or(&text);
    match path.starts_with('/') {
        true => Ok(path.into()),
        false => Err(serde::de::Error::custom(format!(
            "{text:?} is no socket: write unix:///PATH"
        ))),
    }
}

impl Config {
    /// Reads the file; a missing file is an empty one unless `explicit` says that the user named it.
    ///
    /// # Errors
    /// [`Error::Config`] names the file, and for a wrong key or value its line.
    pub fn load(root: &Path, state: &Path, file: &Path, explicit: bool) -> Result<Config> {
        let fail = |reason: String| Error::Config {
            file: file.into(),
            reason,
        };
        let settings = match std::fs::read_to_string(file) {
            Ok(text) => toml::from_str(&text).map_err(|e| fail(with_line(&text, &e)))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !explicit => Settings::default(),
            Err(e) => return Err(fail(e.to_string())),
        };
        let absolute = |path: &Path| std::path::absolute(path).map_err(|e| fail(e.to_string()));
        Ok(Config {
            root: absolute(root)?,
            state: absolute(state)?,
            file: file.into(),
            settings,
        })
    }
}

/// `line 3: unknown field …`: the error in one line.
fn with_line(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => format!(
            "line {}: {}",
            before.matches('\n').count() + 1,
            error.message()
        ),
        None => error.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(dir.path(), dir.path(), &file, true)
    }

    #[test]
    fn the_documented_keys_are_read() {
        let config = load(
            "[registry.\"docker.io\"]\nmirrors = [\"http://127.0.0.1:5000\"]\n\
             [network]\nbridge = \"br7\"\nsubnet = \"10.7.0.0/24\"\n[cgroup]\ndriver = \"cgroupfs\"\n\
             [log]\nmax_size = \"1m\"\nmax_file = 2\n",
        )
        .unwrap();
        assert_eq!(
            config.settings.registry["docker.io"].mirrors,
            ["http://127.0.0.1:5000"]
        );
        assert_eq!(config.settings.network.bridge, "br7");
        assert_eq!(config.settings.log.max_size, 1_048_576);
        assert!(config.settings.security.selinux, "as the kernel has it");
        let off = load("[security]\nselinux = false\n").unwrap();
        assert!(!off.settings.security.selinux);
    }

    #[test]
    fn the_table_of_the_kubelets_service() {
        let cri = load("").unwrap().settings.cri;
        assert_eq!(cri.socket, Path::new("/run/rctr/cri.sock"));
        assert!(cri.stream_address.ip().is_loopback() && cri.metrics_address.is_none());
        let text = "[cri]\nsocket = \"unix:///x/y.sock\"\nmetrics_address = \"127.0.0.1:9\"\n\
                    cni_bin_dirs = [\"/p\"]\n[cri.handlers.crun]\npath = \"/usr/bin/crun\"\n[cri.handlers.plain]\n";
        let cri = load(text).unwrap().settings.cri;
        assert_eq!(cri.socket, Path::new("/x/y.sock"));
        assert_eq!(cri.metrics_address.unwrap().port(), 9);
        assert_eq!(
            cri.handlers["crun"].path.as_deref(),
            Some(Path::new("/usr/bin/crun"))
        );
        assert_eq!(cri.handlers["plain"], CriHandler::default());
        let text = "[runtimes.crun]\npath = \"/usr/bin/crun\"\nargs = [\"--debug\"]\n";
        let runtime = load(text).unwrap().settings.runtimes["crun"].clone();
        assert_eq!(runtime.args, ["--debug"]);
        assert!(load("[runtimes.none]\n").is_err());
        refused(
            "[cri]\nsocket = \"relative\"\n",
            &["relative", "unix:///PATH"],
        );
        refused("[cri]\nstream_address = \"here\"\n", &["socket address"]);
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line() {
        let message = load("[network]\nbridge = \"b\"\ncolour = \"red\"\n")
            .unwrap_err()
            .to_string();
        assert!(
            message.contains(": line 3: unknown field `colour`") && !message.contains('\n'),
            "{message}"
        );
    }

    /// The last line of `text` is refused.
    fn refused(text: &str, words: &[&str]) {
        let message = load(text).unwrap_err().to_string();
        let line = format!(": line {}: ", text.trim_end().lines().count());
        for word in words.iter().chain(&[line.as_str()]) {
            assert!(message.contains(word), "{word:?} in {message:?}");
        }
        assert!(!message.contains('\n'), "{message}");
    }

    #[test]
    fn values_that_cannot_work_are_refused_with_their_line() {
        refused(
            "[network]\nbridge = \"sixteen-chars---\"\n",
            &["sixteen-chars---", "15"],
        );
        refused("[network]\nsubnet = \"10.1.2.3/33\"\n", &[]);
        refused(
            "[network]\nsubnet = \"10.1.2.0/31\"\n",
            &["10.1.2.0/31", "too small"],
        );
        refused("[network]\nsubnet = \"127.0.0.0/8\"\n", &["127.0.0.0/8"]);
        refused("[network]\nsubnet_v6 = \"ff02::/64\"\n", &["ff02::/64"]);
        refused(
            "[network]\nsubnet_v6 = \"off\"\n",
            &["off", "subnet", "none"],
        );
        let registry = "[registry.\"a.io\"]\n";
        refused(
            &format!("{registry}ca = \"/nosuch/ca.pem\"\n"),
            &["/nosuch/ca.pem", "No such file"],
        );
        refused(
            &format!("{registry}ca = \"/etc/passwd\"\n"),
            &["/etc/passwd", "PEM"],
        );
        refused(
            &format!("{registry}mirrors = [\"http://m\", \"ftp://x\"]"),
            &["ftp://x", "http[s]://HOST"],
        );
        refused(
            "[registry.\"https://a.io\"]\n",
            &["https://a.io", "HOST[:PORT]"],
        );
    }
}
