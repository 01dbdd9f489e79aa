//! What can be wrong with a flag's value, in Docker's words where Docker has some.

use std::path::PathBuf;

mod limit;
mod mount;
mod network;

pub use limit::LimitError;
pub use mount::MountFlagError;
pub use network::NetworkFlagError;

/// A flag's value, or a combination of flags, that makes no sense.
///
/// The text is the inner part of the message: the command line puts `invalid argument … for … flag:` around
/// it where Docker does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// `-p`: nothing that names a container port.
    #[error("no port specified: {value}<empty>")]
    NoPort {
        /// What was given.
        value: String,
    },
    /// `-p`, `--expose`: the container's port is no port or range of ports.
    #[error("invalid containerPort: {value}")]
    ContainerPort {
        /// What was given.
        value: String,
    },
    /// `-p`: the host's port is no port or range of ports.
    #[error("invalid hostPort: {value}")]
    HostPort {
        /// What was given.
        value: String,
    },
    /// `-p`, `--dns`: no IP address.
    #[error("invalid IP address: {value}")]
    IpAddress {
        /// What was given.
        value: String,
    },
    /// `-p`: ranges of different lengths.
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    PortRanges {
        /// The container's range.
        container: String,
        /// The host's range.
        host: String,
    },
    /// `-p`, `--expose`: a protocol other than tcp, udp and sctp.
    #[error("invalid proto: {value}")]
    Protocol {
        /// What was given.
        value: String,
    },
    /// A size that is none.
    #[error("invalid size: '{value}'")]
    Size {
        /// What was given.
        value: String,
    },
    /// `-e`, `--env-file`: no name before the `=`, or a NUL byte.
    #[error("invalid environment variable: {value}")]
    Env {
        /// What was given.
        value: String,
    },
    /// A line of an `--env-file` or `--label-file` that is no variable or label.
    #[error("poorly formatted environment: {reason} ({} line {line})", file.display())]
    EnvFileLine {
        /// The file.
        file: PathBuf,
        /// The line's number from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that a flag names cannot be read.
    #[error("open {}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// `--label` without a name.
    #[error("invalid label '{value}': empty name")]
    LabelName {
        /// What was given.
        value: String,
    },
    /// `--label` with white space in the name.
    #[error("label '{name}' contains whitespaces")]
    LabelSpace {
        /// The name.
        name: String,
    },
    /// `--add-host` without `name:ip`.
    #[error("bad format for add-host: {value:?}")]
    AddHost {
        /// What was given.
        value: String,
    },
    /// `--add-host` with an address that is none.
    #[error("invalid IP address in add-host: {value:?}")]
    AddHostAddress {
        /// The address.
        value: String,
    },
    /// `--dns-search` that is no domain.
    #[error("{value} is not a valid domain")]
    Domain {
        /// What was given.
        value: String,
    },
    /// `--dns-option` that does not fit into a line of resolv.conf.
    #[error("invalid dns option: {value:?}")]
    DnsOption {
        /// What was given.
        value: String,
    },
    /// `--sysctl net.…` with the host's network.
    #[error("sysctl '{name}' not allowed in host network namespace")]
    SysctlHostNetwork {
        /// The parameter.
        name: String,
    },
    /// A duration that is none.
    #[error("time: {reason}")]
    Duration {
        /// Go's words for what is wrong.
        reason: String,
    },
    /// A number or duration that must not be negative.
    #[error("{flag} cannot be negative")]
    Negative {
        /// The flag.
        flag: &'static str,
    },
    /// `--health-…` shorter than any clock.
    #[error("{field} in Healthcheck cannot be less than 1ms")]
    HealthTooShort {
        /// Docker's name for it.
        field: &'static str,
    },
    /// `--no-healthcheck` with `--health-…`.
    #[error("--no-healthcheck conflicts with --health-* options")]
    NoHealthcheckAndHealth,
    /// `--restart :3`.
    #[error("invalid restart policy format: no policy provided before colon")]
    RestartNoPolicy,
    /// `--restart on-failure:x`.
    #[error("invalid restart policy format: maximum retry count must be an integer")]
    RestartCount,
    /// `--restart on-failure:-1`.
    #[error("invalid restart policy: maximum retry count cannot be negative")]
    RestartNegative,
    /// `--restart always:3`.
    #[error("invalid restart policy: maximum retry count can only be used with 'on-failure'{}", if *negative { " and cannot be negative" } else { "" })]
    RestartCountWithout {
        /// It is negative, too.
        negative: bool,
    },
    /// `--restart` with a policy that nobody knows.
    #[error(
        "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
    )]
    RestartUnknown {
        /// What was given.
        name: String,
    },
    /// `--restart` with `--rm`.
    #[error("conflicting options: cannot specify both --restart and --rm")]
    RestartAndRemove,
    /// `--attach` to something that is no stream.
    #[error("valid streams are STDIN, STDOUT and STDERR")]
    AttachStream,
    /// `--annotation` without `=`, or without a name.
    #[error("invalid annotation {value:?}: it is written NAME=VALUE")]
    Annotation {
        /// What was given.
        value: String,
    },
    /// `--cgroupns`, `--pid`, `--uts` or `--userns` that makes no sense.
    #[error("--{flag}: invalid {kind} mode")]
    NamespaceMode {
        /// The flag.
        flag: &'static str,
        /// Docker's word for the kind of namespace.
        kind: &'static str,
    },
    /// `--ipc` that makes no sense.
    #[error("invalid IPC mode: {value}")]
    IpcMode {
        /// What was given.
        value: String,
    },
    /// A kernel parameter of a namespace that is the host's.
    #[error("sysctl '{name}' not allowed in host {namespace} namespace")]
    SysctlHostNamespace {
        /// The parameter.
        name: String,
        /// Which namespace.
        namespace: &'static str,
    },
    /// `--privileged` with `--userns`.
    #[error(
        "privileged mode is incompatible with user namespaces. You must run the container in the host namespace when running privileged mode"
    )]
    PrivilegedUserns,
    /// `--device`, or a limit on a device, that cannot be read.
    #[error("{reason}")]
    Device {
        /// Docker's words for what is wrong.
        reason: String,
    },
    /// `--device-cgroup-rule` that cannot be read.
    #[error("invalid device cgroup format '{value}'")]
    DeviceRule {
        /// What was given.
        value: String,
    },
    /// `--gpus` that cannot be read.
    #[error("{reason}")]
    Gpus {
        /// What is wrong.
        reason: String,
    },
    /// `--isolation` other than `default`.
    #[error("invalid isolation {value:?} - linux only supports 'default'")]
    Isolation {
        /// What was given.
        value: String,
    },
    /// `--log-driver` that nobody knows.
    #[error("logger: no log driver named '{name}' is registered")]
    LogDriver {
        /// What was given.
        name: String,
    },
    /// `--log-driver` that Docker has.
    #[error("log driver {name} is not supported: use fluentd, syslog or journald")]
    LogDriverElsewhere {
        /// What was given.
        name: String,
    },
    /// `--log-opt` that the driver does not have.
    #[error("unknown log opt '{key}' for {name} log driver")]
    LogOption {
        /// The option.
        key: String,
        /// The driver.
        name: String,
    },
    /// `--log-opt` with a value that cannot be.
    #[error("{reason}")]
    LogValue {
        /// What is wrong.
        reason: String,
    },
    /// `--storage-opt` other than `size=`.
    #[error("invalid storage option: {value}")]
    StorageOption {
        /// What was given.
        value: String,
    },
    /// `--disable-content-trust=false`.
    #[error("images are verified by their digests; signatures of Docker Content Trust are not")]
    ContentTrust,
    /// `--security-opt` nobody knows, or one this version does not have.
    #[error("invalid --security-opt: {value:?}")]
    SecurityOpt {
        /// What was given.
        value: String,
    },
    /// `--security-opt seccomp=FILE` whose content is no profile.
    #[error("decoding seccomp profile {} failed: {reason}", file.display())]
    SeccompProfile {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// `--sysctl` without a value, or one that is no namespace's.
    #[error("sysctl '{value}' is not allowed")]
    Sysctl {
        /// What was given.
        value: String,
    },
    /// A signal without such a name or number.
    #[error("invalid signal: {value}")]
    Signal {
        /// What was given.
        value: String,
    },
    /// A capability the kernel does not have.
    #[error("invalid capability: {value:?}")]
    Capability {
        /// What was given.
        value: String,
    },
    /// `--platform` that is no `os[/arch[/variant]]`.
    #[error("{value:?}: cannot parse platform specifier")]
    Platform {
        /// What was given.
        value: String,
    },
    /// `--name` with characters that are not allowed.
    #[error("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    Name {
        /// The name.
        name: String,
    },
    /// `--hostname` that the kernel does not take.
    #[error("invalid hostname: {value:?}")]
    Hostname {
        /// The name.
        value: String,
    },
    /// `-w` that is not absolute.
    #[error("the working directory '{path}' is invalid, it needs to be an absolute path")]
    WorkingDir {
        /// The directory.
        path: String,
    },
    /// `--pull` other than always, missing and never.
    #[error("invalid pull option: '{value}': must be one of \"always\", \"missing\" or \"never\"")]
    Pull {
        /// What was given.
        value: String,
    },
    /// A text with a NUL byte where the kernel takes none.
    #[error("{what} contains a NUL byte: {value:?}")]
    Nul {
        /// Which text.
        what: &'static str,
        /// What was given.
        value: String,
    },
    /// Two flags that exclude each other.
    #[error("conflicting options: {first} and {second}")]
    Conflict {
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// How it is to be connected makes no sense.
    #[error(transparent)]
    Network(#[from] NetworkFlagError),
    /// What is to be mounted makes no sense.
    #[error(transparent)]
    Mount(#[from] MountFlagError),
    /// A limit makes no sense.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

impl ParseError {
    /// Whether Docker's command line lets it pass and the engine refuses it: such a mistake gives another exit code
    /// than an unreadable flag.
    pub fn found_by_engine(&self) -> bool {
        use ParseError as E;
        match self {
            E::Network(error) => error.found_by_engine(),
            E::Mount(error) => error.found_by_engine(),
            E::Limit(error) => error.found_by_engine(),
            _ => matches!(
                self,
                E::Name { .. }
                    | E::Hostname { .. }
                    | E::WorkingDir { .. }
                    | E::Signal { .. }
                    | E::Capability { .. }
                    | E::Platform { .. }
                    | E::SysctlHostNetwork { .. }
                    | E::HealthTooShort { .. }
                    | E::RestartNegative
                    | E::RestartCountWithout { .. }
                    | E::RestartUnknown { .. }
                    | E::IpcMode { .. }
                    | E::SysctlHostNamespace { .. }
                    | E::PrivilegedUserns
                    | E::Isolation { .. }
                    | E::LogDriver { .. }
                    | E::LogDriverElsewhere { .. }
                    | E::LogOption { .. }
                    | E::LogValue { .. }
                    | E::StorageOption { .. }
                    | E::Conflict { .. }
            ),
        }
    }
}
