//! Flags that several commands share: those of `run` and `create`, which make a container, and `--platform`.

mod health;
mod options;

use std::path::PathBuf;

use clap::Args;
use rctr_engine::options::{ParseError, parse_platform};

use crate::failure::{Failure, Result};

pub use health::HealthFlags;
pub use options::{Parsed, host_variable};

/// `--disable-content-trust=false` asks for what there is not.
pub fn check_trust(command: &str, disabled: bool) -> Result<()> {
    match disabled {
        true => Ok(()),
        false => {
            let flag = "--disable-content-trust";
            let error = ParseError::ContentTrust;
            Err(Failure::argument(command, "false", flag, &error))
        }
    }
}

/// `--platform` of the commands that move images.
pub fn platform(command: &str, value: Option<&str>) -> Result<Option<String>> {
    let parse = |text| {
        parse_platform(text).map_err(|error| Failure::argument(command, text, "--platform", &error))
    };
    value.map(parse).transpose()
}

#[derive(Debug, Default, Args)]
pub struct ContainerFlags {
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_name = "HOST:IP")]
    pub add_host: Vec<String>,
    /// Add an annotation to the container (passed through to the OCI runtime)
    #[arg(long, value_name = "NAME=VALUE")]
    pub annotation: Vec<String>,
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_name = "STREAM")]
    pub attach: Vec<String>,
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable
    #[arg(long, value_name = "N")]
    pub blkio_weight: Option<u16>,
    /// Block IO weight (relative device weight)
    #[arg(long, value_name = "DEVICE:N")]
    pub blkio_weight_device: Vec<String>,
    /// Add Linux capabilities
    #[arg(long, value_name = "CAP")]
    pub cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "CAP")]
    pub cap_drop: Vec<String>,
    /// Optional parent cgroup for the container
    #[arg(long, value_name = "CGROUP")]
    pub cgroup_parent: Option<String>,
    /// Cgroup namespace to use (host|private)
    #[arg(long, value_name = "MODE")]
    pub cgroupns: Option<String>,
    /// Write the container ID to the file
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<String>,
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_quota: Option<i64>,
    /// Limit CPU real-time period in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_period: Option<u64>,
    /// Limit CPU real-time runtime in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_runtime: Option<i64>,
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
    /// Add a host device to the container (HOST[:CONTAINER][:rwm], or vendor.com/class=name)
    #[arg(long, value_name = "DEVICE")]
    pub device: Vec<String>,
    /// Add a rule to the cgroup allowed devices list
    #[arg(long, value_name = "RULE")]
    pub device_cgroup_rule: Vec<String>,
    /// Limit read rate (bytes per second) from a device
    #[arg(long, value_name = "DEVICE:BYTES")]
    pub device_read_bps: Vec<String>,
    /// Limit read rate (IO per second) from a device
    #[arg(long, value_name = "DEVICE:N")]
    pub device_read_iops: Vec<String>,
    /// Limit write rate (bytes per second) to a device
    #[arg(long, value_name = "DEVICE:BYTES")]
    pub device_write_bps: Vec<String>,
    /// Limit write rate (IO per second) to a device
    #[arg(long, value_name = "DEVICE:N")]
    pub device_write_iops: Vec<String>,
    /// Skip image verification (images are verified by their digests)
    #[arg(long, default_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub disable_content_trust: bool,
    /// Set custom DNS servers
    #[arg(long, value_name = "IP")]
    pub dns: Vec<String>,
    /// Set DNS options
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Container NIS domain name
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<String>,
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
    /// GPU devices to add to the container ('all' to pass all GPUs)
    #[arg(long, value_name = "GPUS")]
    pub gpus: Option<String>,
    /// Add additional groups to join
    #[arg(long, value_name = "GROUP")]
    pub group_add: Vec<String>,
    #[command(flatten)]
    pub health: HealthFlags,
    /// Container host name
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Run an init inside the container that forwards signals and reaps processes
    #[arg(long)]
    pub init: bool,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub interactive: bool,
    /// IPC mode to use: none, private, shareable, host, container:NAME
    #[arg(long, value_name = "MODE")]
    pub ipc: Option<String>,
    /// Container isolation technology (only "default")
    #[arg(long, value_name = "NAME")]
    pub isolation: Option<String>,
    /// Kernel memory limit (kept by no kernel any more)
    #[arg(long, value_name = "BYTES")]
    pub kernel_memory: Option<String>,
    /// Set meta data on a container
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub label: Vec<String>,
    /// Read in a line delimited file of labels
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<PathBuf>,
    /// Logging driver for the container: json-file, local, journald, syslog, fluentd, none
    #[arg(long, value_name = "NAME")]
    pub log_driver: Option<String>,
    /// Log driver options
    #[arg(long, value_name = "NAME=VALUE")]
    pub log_opt: Vec<String>,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES")]
    pub memory: Option<String>,
    /// Memory soft limit
    #[arg(long, value_name = "BYTES")]
    pub memory_reservation: Option<String>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "BYTES")]
    pub memory_swap: Option<String>,
    /// Tune container memory swappiness (0 to 100)
    #[arg(long, value_name = "N")]
    pub memory_swappiness: Option<i64>,
    /// Attach a filesystem mount to the container
    #[arg(long, value_name = "MOUNT")]
    pub mount: Vec<String>,
    /// Assign a name to the container
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Connect a container to a network: NAME, bridge, none, host, container:NAME
    #[arg(long, alias = "net", value_name = "NETWORK")]
    pub network: Vec<String>,
    /// Add network-scoped alias for the container
    #[arg(long, alias = "net-alias", value_name = "NAME")]
    pub network_alias: Vec<String>,
    /// IPv4 address
    #[arg(long, value_name = "IP")]
    pub ip: Option<String>,
    /// IPv6 address
    #[arg(long, value_name = "IP")]
    pub ip6: Option<String>,
    /// Container IPv4/IPv6 link-local addresses
    #[arg(long, value_name = "IP")]
    pub link_local_ip: Vec<String>,
    /// Container MAC address
    #[arg(long, value_name = "MAC")]
    pub mac_address: Option<String>,
    /// Disable OOM Killer
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// Disable any container-specified HEALTHCHECK
    #[arg(long)]
    pub no_healthcheck: bool,
    /// Tune host's OOM preferences (-1000 to 1000)
    #[arg(long, value_name = "N")]
    pub oom_score_adj: Option<i32>,
    /// PID namespace to use: host, container:NAME
    #[arg(long, value_name = "MODE")]
    pub pid: Option<String>,
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
    /// Restart policy to apply when a container exits: no, on-failure[:max-retries], always, unless-stopped
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<String>,
    /// Automatically remove the container and its associated anonymous volumes when it exits
    #[arg(long)]
    pub rm: bool,
    /// Runtime to use for this container, of the configuration's [runtimes.NAME]
    #[arg(long, value_name = "NAME")]
    pub runtime: Option<String>,
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
    /// Storage driver options for the container (size=BYTES)
    #[arg(long, value_name = "NAME=VALUE")]
    pub storage_opt: Vec<String>,
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
    /// User namespace to use: host, auto[:size=N], CONTAINER:HOST:COUNT[,...]
    #[arg(long, value_name = "MODE")]
    pub userns: Option<String>,
    /// UTS namespace to use: host
    #[arg(long, value_name = "MODE")]
    pub uts: Option<String>,
    /// Bind mount a volume
    #[arg(short, long, value_name = "VOLUME")]
    pub volume: Vec<String>,
    /// Optional volume driver for the container
    #[arg(long, value_name = "DRIVER")]
    pub volume_driver: Option<String>,
    /// Mount volumes from the specified container(s)
    #[arg(long, value_name = "CONTAINER[:ro|rw]")]
    pub volumes_from: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
}
