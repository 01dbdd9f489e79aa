//! The flags that make a container, shared by `run` and `create`, and their way into the engine's options.

use std::path::PathBuf;

use clap::Args;
use rctr_engine::options::{
    MountSpec, ParseError, PullPolicy, RunOptions, SecurityOptions, check_cpuset, parse_cpus,
    parse_dns, parse_dns_search, parse_expose, parse_memory_swap, parse_name, parse_platform,
    parse_signal, parse_size, parse_sysctl, resolve_env, resolve_labels,
};

use crate::failure::{ENGINE, Failure, Result, bad_value};

#[derive(Debug, Default, Args)]
pub struct ContainerFlags {
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_name = "HOST:IP")]
    pub add_host: Vec<String>,
    /// Add Linux capabilities
    #[arg(long, value_name = "CAP")]
    pub cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "CAP")]
    pub cap_drop: Vec<String>,
    /// Write the container ID to the file
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// CPU shares (relative weight)
    #[arg(short = 'c', long, value_name = "N")]
    pub cpu_shares: Option<u64>,
    /// Number of CPUs
    #[arg(long, value_name = "DECIMAL")]
    pub cpus: Option<String>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Set custom DNS servers
    #[arg(long, value_name = "IP")]
    pub dns: Vec<String>,
    /// Set DNS options
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "PORT")]
    pub expose: Vec<String>,
    /// Add additional groups to join
    #[arg(long, value_name = "GROUP")]
    pub group_add: Vec<String>,
    /// Container host name
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Run an init inside the container that forwards signals and reaps processes
    #[arg(long)]
    pub init: bool,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub interactive: bool,
    /// Set meta data on a container
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub label: Vec<String>,
    /// Read in a line delimited file of labels
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<PathBuf>,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES")]
    pub memory: Option<String>,
    /// Memory soft limit
    #[arg(long, value_name = "BYTES")]
    pub memory_reservation: Option<String>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "BYTES")]
    pub memory_swap: Option<String>,
    /// Attach a filesystem mount to the container
    #[arg(long, value_name = "MOUNT")]
    pub mount: Vec<String>,
    /// Assign a name to the container
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Connect a container to a network: bridge, none, host, container:NAME
    #[arg(long, alias = "net", value_name = "NETWORK")]
    pub network: Option<String>,
    /// Tune host's OOM preferences (-1000 to 1000)
    #[arg(long, value_name = "N")]
    pub oom_score_adj: Option<i32>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "N")]
    pub pids_limit: Option<i64>,
    /// Set platform if the registry has several
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// Give extended privileges to this container
    #[arg(long)]
    pub privileged: bool,
    /// Publish a container's port(s) to the host
    #[arg(short, long, value_name = "PORT")]
    pub publish: Vec<String>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// Pull image before running ("always", "missing", "never")
    #[arg(long, value_name = "POLICY")]
    pub pull: Option<String>,
    /// Suppress the pull output
    #[arg(short, long)]
    pub quiet: bool,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    pub read_only: bool,
    /// Restart policy to apply when a container exits (only "no" for now)
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<String>,
    /// Automatically remove the container and its associated anonymous volumes when it exits
    #[arg(long)]
    pub rm: bool,
    /// Security Options
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    pub shm_size: Option<String>,
    /// Signal to stop the container
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// Timeout (in seconds) to stop a container
    #[arg(long, value_name = "SECONDS")]
    pub stop_timeout: Option<i64>,
    /// Sysctl options
    #[arg(long, value_name = "NAME=VALUE")]
    pub sysctl: Vec<String>,
    /// Mount a tmpfs directory
    #[arg(long, value_name = "DIR")]
    pub tmpfs: Vec<String>,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub tty: bool,
    /// Ulimit options
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Bind mount a volume
    #[arg(short, long, value_name = "VOLUME")]
    pub volume: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
}

/// What the flags of a container mean, and what is to be said about them.
#[derive(Debug)]
pub struct Parsed {
    pub options: RunOptions,
    pub warnings: Vec<String>,
}

impl ContainerFlags {
    /// Checks every value. `words` are image, command and arguments; `command` names the command for messages.
    pub fn into_options(self, command: &str, words: Vec<String>, detach: bool) -> Result<Parsed> {
        let check = Checker { command };
        let mut words = words.into_iter();
        let image = words
            .next()
            .ok_or_else(|| crate::usage::wrong_count(command, "requires at least 1 argument"))?;
        check.restart(self.restart.as_deref())?;
        let (mounts, warnings) = check.mounts(&self.volume, &self.mount, &self.tmpfs)?;
        let mut options = RunOptions {
            image,
            cmd: words.collect(),
            entrypoint: self.entrypoint.map(|word| {
                if word.is_empty() {
                    Vec::new()
                } else {
                    vec![word]
                }
            }),
            name: check.one("--name", given(self.name), parse_name)?,
            tty: self.tty,
            interactive: self.interactive,
            auto_remove: self.rm,
            detach,
            publish: check.each("-p, --publish", &self.publish, |text| text.parse())?,
            publish_all: self.publish_all,
            expose: check.each("--expose", &self.expose, parse_expose)?.concat(),
            env: resolve_env(&self.env, &self.env_file, host_variable)
                .map_err(|e| check.files(&e))?,
            mounts,
            working_dir: given(self.workdir),
            user: self.user,
            group_add: self.group_add,
            hostname: given(self.hostname),
            add_hosts: check.each("--add-host", &self.add_host, |text| text.parse())?,
            dns: check.each("--dns", &self.dns, parse_dns)?,
            dns_search: check.each("--dns-search", &self.dns_search, parse_dns_search)?,
            dns_options: self.dns_option,
            network: check
                .one("--network", self.network, |text| text.parse())?
                .unwrap_or_default(),
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            privileged: self.privileged,
            security: SecurityOptions::parse(&self.security_opt).map_err(|e| {
                Failure::argument(command, &self.security_opt.join(" "), "--security-opt", &e)
            })?,
            read_only: self.read_only,
            init: self.init,
            labels: resolve_labels(&self.label, &self.label_file).map_err(|e| check.files(&e))?,
            stop_timeout: self.stop_timeout,
            ulimits: check.each("--ulimit", &self.ulimit, |text| text.parse())?,
            sysctls: check
                .each("--sysctl", &self.sysctl, parse_sysctl)?
                .into_iter()
                .collect(),
            shm_size: check.one("--shm-size", self.shm_size, parse_size)?,
            platform: check.one("--platform", self.platform, parse_platform)?,
            pull: check
                .one("--pull", self.pull, |text| text.parse::<PullPolicy>())?
                .unwrap_or_default(),
            cidfile: self.cidfile,
            ..RunOptions::default()
        };
        if let Some(signal) = self.stop_signal {
            parse_signal(&signal)
                .map_err(|e| Failure::argument(command, &signal, "--stop-signal", &e))?;
            options.stop_signal = Some(signal);
        }
        let limits = &mut options.resources;
        limits.memory = check.one("-m, --memory", self.memory, parse_size)?;
        limits.memory_swap = check.one("--memory-swap", self.memory_swap, parse_memory_swap)?;
        limits.memory_reservation =
            check.one("--memory-reservation", self.memory_reservation, parse_size)?;
        limits.nano_cpus = check.one("--cpus", self.cpus, parse_cpus)?;
        limits.cpu_shares = self.cpu_shares;
        limits.cpuset_cpus = check.cpuset("cpus", "--cpuset-cpus", self.cpuset_cpus)?;
        limits.cpuset_mems = check.cpuset("mems", "--cpuset-mems", self.cpuset_mems)?;
        limits.pids_limit = self.pids_limit;
        limits.oom_score_adj = self.oom_score_adj;
        // Its warnings come again from the engine.
        options.validate().map_err(|e| check.files(&e))?;
        Ok(Parsed { options, warnings })
    }
}

/// An empty name or directory is none, as from a script's unset variable.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The host's value of a variable, for `-e NAME`; one that is not text counts as none.
pub fn host_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Applies the engine's parsers and says which flag of which command was wrong.
struct Checker<'a> {
    command: &'a str,
}

impl Checker<'_> {
    fn one<T>(
        &self,
        flag: &str,
        text: Option<String>,
        parse: impl Fn(&str) -> Parse<T>,
    ) -> Result<Option<T>> {
        text.map(|text| parse(&text).map_err(|e| Failure::argument(self.command, &text, flag, &e)))
            .transpose()
    }

    fn each<T>(
        &self,
        flag: &str,
        texts: &[String],
        parse: impl Fn(&str) -> Parse<T>,
    ) -> Result<Vec<T>> {
        texts
            .iter()
            .map(|text| parse(text).map_err(|e| Failure::argument(self.command, text, flag, &e)))
            .collect()
    }

    fn cpuset(
        &self,
        kind: &'static str,
        flag: &str,
        text: Option<String>,
    ) -> Result<Option<String>> {
        self.one(flag, text, |text| {
            check_cpuset(kind, text).map(|()| text.to_owned())
        })
    }

    fn mounts(
        &self,
        volumes: &[String],
        mounts: &[String],
        tmpfs: &[String],
    ) -> Result<(Vec<MountSpec>, Vec<String>)> {
        let (mut specs, warnings): (Vec<_>, Vec<_>) = self
            .each("-v, --volume", volumes, MountSpec::from_volume)?
            .into_iter()
            .unzip();
        specs.extend(self.each("--mount", mounts, MountSpec::from_mount)?);
        specs.extend(self.each("--tmpfs", tmpfs, MountSpec::from_tmpfs)?);
        Ok((specs, warnings.into_iter().flatten().collect()))
    }

    fn restart(&self, policy: Option<&str>) -> Result<()> {
        match policy {
            None | Some("no" | "") => Ok(()),
            Some(policy) => Err(Failure::usage(
                ENGINE,
                self.command,
                format!(
                    "invalid argument {policy:?} for \"--restart\" flag: restart policies arrive in a later release; \
                     only \"no\" is known"
                ),
            )),
        }
    }

    /// An error that names file or value itself.
    fn files(&self, error: &ParseError) -> Failure {
        Failure::usage(
            bad_value(self.command, error),
            self.command,
            crate::failure::chain(error),
        )
    }
}

type Parse<T> = std::result::Result<T, ParseError>;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use rctr_engine::options::{MountKind, NetworkMode};

    #[derive(Parser)]
    #[command(disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        flags: ContainerFlags,
        #[arg(trailing_var_arg = true)]
        words: Vec<String>,
    }

    fn parse(words: &[&str]) -> Result<Parsed> {
        let line = Line::try_parse_from(std::iter::once(&"run").chain(words)).unwrap();
        line.flags.into_options("run", line.words, false)
    }

    fn options(words: &[&str]) -> RunOptions {
        parse(words).unwrap().options
    }

    fn refused(words: &[&str]) -> String {
        let failure = parse(words).unwrap_err();
        assert_eq!(failure.code(), 125, "{words:?}");
        failure.text().lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn nothing_but_an_image() {
        let options = options(&["busybox"]);
        assert_eq!((options.image.as_str(), options.cmd.len()), ("busybox", 0));
        assert_eq!(options.entrypoint, None);
        assert_eq!(options.network, NetworkMode::Bridge);
        assert_eq!(options.pull, PullPolicy::Missing);
    }

    #[test]
    fn values_become_what_they_mean() {
        let options = options(&[
            "-m",
            "64m",
            "--memory-swap=-1",
            "--cpus",
            "1.5",
            "--shm-size",
            "1g",
            "-p",
            "8080:80/udp",
            "--expose",
            "80-81",
            "-v",
            "data:/data:ro",
            "--tmpfs",
            "/run",
            "--network",
            "bridge",
            "--ulimit",
            "nofile=1024:2048",
            "--sysctl",
            "net.core.somaxconn=1",
            "--dns",
            "1.1.1.1",
            "--add-host",
            "a:1.2.3.4",
            "--entrypoint",
            "sh",
            "-e",
            "A=1",
            "-l",
            "x=y",
            "--pull",
            "always",
            "debian:12",
            "-c",
            "exit",
        ]);
        let limits = &options.resources;
        assert_eq!(
            (limits.memory, limits.memory_swap, limits.nano_cpus),
            (Some(64 << 20), Some(-1), Some(1_500_000_000))
        );
        assert_eq!(options.shm_size, Some(1 << 30));
        assert_eq!(options.publish[0].host_ports, Some((8080, 8080)));
        assert_eq!(options.expose, ["80/tcp", "81/tcp"]);
        assert_eq!(
            (options.mounts[0].kind, options.mounts[0].read_only),
            (MountKind::Volume, true)
        );
        assert_eq!(options.mounts[1].kind, MountKind::Tmpfs);
        assert_eq!(options.dns.len(), 1);
        assert_eq!(
            (options.ulimits[0].soft, options.ulimits[0].hard),
            (1024, 2048)
        );
        assert_eq!(options.entrypoint, Some(vec!["sh".to_owned()]));
        assert_eq!(options.cmd, ["-c", "exit"]);
        assert_eq!(options.env, ["A=1"]);
        assert_eq!(options.pull, PullPolicy::Always);
    }

    #[test]
    fn another_container_s_network() {
        let network = options(&["--network", "container:web", "x"]).network;
        assert_eq!(network, NetworkMode::Container("web".to_owned()));
    }

    #[test]
    fn an_empty_entrypoint_clears_it() {
        assert_eq!(
            options(&["--entrypoint", "", "x"]).entrypoint,
            Some(Vec::new())
        );
    }

    #[test]
    fn bad_values_name_their_flag() {
        for (words, start) in [
            (
                &["-m", "5x", "i"][..],
                "invalid argument \"5x\" for \"-m, --memory\" flag: ",
            ),
            (
                &["-p", "80:x", "i"],
                "invalid argument \"80:x\" for \"-p, --publish\" flag: ",
            ),
            (
                &["--network", "mesh", "i"],
                "invalid argument \"mesh\" for \"--network\" flag: ",
            ),
            (
                &["--pull", "often", "i"],
                "invalid argument \"often\" for \"--pull\" flag: ",
            ),
            (
                &["--restart", "always", "i"],
                "invalid argument \"always\" for \"--restart\" flag: restart policies arrive",
            ),
            (
                &["--stop-signal", "SIGFOO", "i"],
                "invalid argument \"SIGFOO\" for \"--stop-signal\" flag: ",
            ),
            (&["--env-file", "/nonexistent", "i"], "open /nonexistent: "),
        ] {
            let message = refused(words);
            assert!(message.starts_with(start), "{words:?}: {message}");
        }
        assert!(parse(&["--restart", "no", "i"]).is_ok());
        assert_eq!(parse(&["--rm"]).unwrap_err().code(), 1);
    }

    #[test]
    fn what_is_ignored_is_said() {
        let parsed = parse(&["-v", "/tmp:/mnt:z", "i"]).unwrap();
        assert_eq!(parsed.warnings.len(), 1, "{:?}", parsed.warnings);
    }
}
