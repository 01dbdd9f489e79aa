//! What can be wrong with a flag's value, in Docker's words where Docker has some.

use std::path::PathBuf;

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
    /// `--cpus`: not a number.
    #[error("failed to parse {value} as a rational number")]
    Cpus {
        /// What was given.
        value: String,
    },
    /// `--cpus`: more than nine decimals.
    #[error("value is too precise: {value}")]
    CpusPrecision {
        /// What was given.
        value: String,
    },
    /// `--cpus`: negative or beyond any machine.
    #[error("invalid number of CPUs: {value}")]
    CpusRange {
        /// What was given.
        value: String,
    },
    /// `--cpuset-cpus`, `--cpuset-mems`: no list of numbers and ranges.
    #[error("invalid value {value} for cpuset {kind}")]
    Cpuset {
        /// `cpus` or `mems`.
        kind: &'static str,
        /// What was given.
        value: String,
    },
    /// `--ulimit` without `=`, or with values that are no numbers.
    #[error("invalid ulimit argument: {value}")]
    Ulimit {
        /// What was given.
        value: String,
    },
    /// `--ulimit` of a limit the kernel does not have.
    #[error("invalid ulimit type: {name}")]
    UlimitName {
        /// What was given.
        name: String,
    },
    /// `--ulimit` with a soft limit above the hard one.
    #[error("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")]
    UlimitOrder {
        /// Soft limit.
        soft: i64,
        /// Hard limit.
        hard: i64,
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
    /// A part of the long form of `--network` that is no `KEY=VALUE`.
    #[error("invalid field {field}")]
    NetworkField {
        /// The part.
        field: String,
    },
    /// A key of the long form of `--network` that is not known.
    #[error("invalid field key {key}")]
    NetworkKey {
        /// The key.
        key: String,
    },
    /// The long form of `--network` without `name=`.
    #[error("network name/id is not specified")]
    NetworkUnnamed,
    /// An option of a network's driver that is no `KEY=VALUE`.
    #[error("invalid key value pair format in driver options: {value:?}")]
    NetworkDriverOption {
        /// What was given.
        value: String,
    },
    /// `gw-priority=` that is no number.
    #[error("invalid gw-priority: {value:?}")]
    GatewayPriority {
        /// What was given.
        value: String,
    },
    /// The same network twice.
    #[error("network {name:?} is specified multiple times")]
    NetworkTwice {
        /// The network.
        name: String,
    },
    /// `--network` of host, none or another container beside others.
    #[error(
        "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
    )]
    NetworkModesMixed,
    /// The same thing by a flag and in the long form of `--network`.
    #[error("conflicting options: cannot specify both {flag} and per-network {what}")]
    NetworkBoth {
        /// The flag.
        flag: &'static str,
        /// What it sets.
        what: &'static str,
    },
    /// An address for a container without a network that users make.
    #[error("user specified IP address is supported on user defined networks only")]
    AddressOnDefault,
    /// An alias for a container without a network that users make.
    #[error("network-scoped aliases are only supported for user-defined networks")]
    AliasOnDefault,
    /// `--ip` or `--ip6` that is none.
    #[error("failed to parse IP: {value:?}")]
    Ip {
        /// What was given.
        value: String,
    },
    /// `--link-local-ip` that is one of another kind.
    #[error("{address} is no link-local address")]
    NotLinkLocal {
        /// What was given.
        address: std::net::IpAddr,
    },
    /// `--mac-address` that is none.
    #[error("{value} is not a valid mac address")]
    Mac {
        /// What was given.
        value: String,
    },
    /// `--network container:` without a name.
    #[error("invalid container format container:<name|id>")]
    NetworkContainer,
    /// `-v` that cannot be split into source, target and options.
    #[error("invalid volume specification: '{value}'")]
    Volume {
        /// What was given.
        value: String,
    },
    /// `-v` with `::` or a colon at an end.
    #[error("invalid spec: {value}: empty section between colons")]
    VolumeEmptySection {
        /// What was given.
        value: String,
    },
    /// `-v` with an option that is unknown or contradicts another.
    #[error("invalid mode: {mode}")]
    VolumeMode {
        /// The options.
        mode: String,
    },
    /// A volume's name with characters that are not allowed.
    #[error(
        "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
         allowed. If you intended to pass a host directory, use absolute path"
    )]
    VolumeName {
        /// The name.
        name: String,
    },
    /// A volume's name of one character.
    #[error("volume name is too short, names should be at least two alphanumeric characters")]
    VolumeNameShort,
    /// A mount's target that is not absolute.
    #[error("invalid mount path: '{path}' mount path must be absolute")]
    MountPath {
        /// The target.
        path: String,
    },
    /// A mount over the root directory.
    #[error("invalid specification: destination can't be '/'")]
    MountRoot,
    /// `--mount`: a field without the value it needs.
    #[error("invalid field '{field}' must be a key=value pair")]
    MountField {
        /// The field.
        field: String,
    },
    /// `--mount`: a key nobody knows, or one this version does not have.
    #[error("unexpected key '{key}' in '{field}'")]
    MountKey {
        /// The key.
        key: String,
        /// The whole field.
        field: String,
    },
    /// `--mount`: a key with a value it does not take.
    #[error("invalid value for {key}: {value}")]
    MountValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// `--mount` of a kind nobody knows.
    #[error("invalid mount config for type \"{value}\": mount type unknown")]
    MountType {
        /// The kind.
        value: String,
    },
    /// `--mount` without a key it needs.
    #[error("{key} is required")]
    MountMissing {
        /// `type` or `target`.
        key: &'static str,
    },
    /// `--mount`: a key that does not belong to the kind of mount.
    #[error("cannot mix '{key}-*' options with mount type '{kind}'")]
    MountMix {
        /// The key.
        key: String,
        /// The kind.
        kind: &'static str,
    },
    /// `--mount` with fields that do not go together.
    #[error("invalid mount config for type \"{kind}\": {reason}")]
    MountConfig {
        /// The kind of mount.
        kind: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// `--mount bind-recursive=…` with a word it does not take.
    #[error(
        "invalid value for {key}: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
    )]
    BindRecursion {
        /// The key.
        key: String,
        /// What was given.
        value: String,
    },
    /// `--mount bind-recursive=…` without what it needs.
    #[error(
        "option 'bind-recursive={recursion}' requires '{required}' to be specified in conjunction"
    )]
    BindRecursionNeeds {
        /// The word given.
        recursion: &'static str,
        /// What is missing.
        required: &'static str,
    },
    /// An empty `--mount`.
    #[error("value is empty")]
    MountEmpty,
    /// `--volumes-from` of nobody.
    #[error("malformed volumes-from: \"{value}\"")]
    VolumesFrom {
        /// What was given.
        value: String,
    },
    /// `--volumes-from` with options other than `ro` and `rw`.
    #[error("invalid mode: {mode}")]
    VolumesFromMode {
        /// What was given.
        mode: String,
    },
    /// A volume's driver that is none.
    #[error("error looking up volume plugin {name}: plugin \"{name}\" not found")]
    VolumeDriver {
        /// What was given.
        name: String,
    },
    /// An option that the local driver does not take.
    #[error("invalid option: \"{name}\"")]
    VolumeOption {
        /// Its name.
        name: String,
    },
    /// An option of the local driver without another one that it needs.
    #[error("missing required option: \"{name}\"")]
    VolumeOptionMissing {
        /// The other one.
        name: &'static str,
    },
    /// The option `size` of the local driver.
    #[error("quota size requested but no quota support")]
    VolumeQuota,
    /// `--mount type=bind` without an absolute source.
    #[error(
        "invalid mount config for type \"bind\": invalid mount path: '{source_path}' mount path must be absolute"
    )]
    BindSource {
        /// The source.
        source_path: String,
    },
    /// `--tmpfs` with an option tmpfs does not have.
    #[error("invalid tmpfs option {option:?}")]
    TmpfsOption {
        /// The option.
        option: String,
    },
    /// Two mounts at one place.
    #[error("Duplicate mount point: {target}")]
    DuplicateMount {
        /// The place in the container.
        target: String,
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
    /// `--blkio-weight` out of range.
    #[error("Range of blkio weight is from 10 to 1000")]
    BlkioWeight,
    /// `--memory-swappiness` out of range.
    #[error("Invalid value: {value}, valid memory swappiness range is 0-100")]
    Swappiness {
        /// What was given.
        value: i64,
    },
    /// `--cpus` with `--cpu-period` or `--cpu-quota`.
    #[error("Conflicting options: Nano CPUs and CPU {other} cannot both be set")]
    NanoCpus {
        /// `Period` or `Quota`.
        other: &'static str,
    },
    /// `--cpu-period` out of range.
    #[error("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")]
    CpuPeriod,
    /// `--cpu-quota` too small.
    #[error("CPU cfs quota can not be less than 1ms (i.e. 1000)")]
    CpuQuota,
    /// `--cpu-rt-runtime` above `--cpu-rt-period`.
    #[error("cpu real-time runtime cannot be higher than cpu real-time period")]
    CpuRealtime,
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
    /// `-m` below what a container can start in.
    #[error("Minimum memory limit allowed is 6MB")]
    MemoryMinimum,
    /// `--memory-swap` below `-m`.
    #[error("Minimum memoryswap limit should be larger than memory limit, see usage")]
    SwapBelowMemory,
    /// `--memory-swap` without `-m`.
    #[error("You should always set the Memory limit when using Memoryswap limit, see usage")]
    SwapWithoutMemory,
    /// `--memory-reservation` above `-m`.
    #[error("Minimum memory limit can not be less than memory reservation limit, see usage")]
    ReservationAboveMemory,
    /// `--memory-reservation` below the minimum.
    #[error("Minimum memory reservation allowed is 6MB")]
    ReservationMinimum,
    /// `--oom-score-adj` out of range.
    #[error("Invalid value {value}, range for oom score adj is [-1000, 1000]")]
    OomScoreAdj {
        /// What was given.
        value: i32,
    },
    /// A number beyond what its flag takes.
    #[error("{flag} {value} is out of range")]
    OutOfRange {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: i64,
    },
    /// Two flags that exclude each other.
    #[error("conflicting options: {first} and {second}")]
    Conflict {
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
}

impl ParseError {
    /// Whether Docker's command line lets it pass and the engine refuses it: such a mistake gives another exit code
    /// than an unreadable flag.
    pub fn found_by_engine(&self) -> bool {
        use ParseError as E;
        matches!(
            self,
            E::Name { .. }
                | E::Hostname { .. }
                | E::WorkingDir { .. }
                | E::Signal { .. }
                | E::Capability { .. }
                | E::Platform { .. }
                | E::AddressOnDefault
                | E::AliasOnDefault
                | E::NetworkContainer
                | E::SysctlHostNetwork { .. }
                | E::CpusRange { .. }
                | E::Cpuset { .. }
                | E::MemoryMinimum
                | E::SwapBelowMemory
                | E::SwapWithoutMemory
                | E::ReservationAboveMemory
                | E::ReservationMinimum
                | E::OomScoreAdj { .. }
                | E::OutOfRange { .. }
                | E::HealthTooShort { .. }
                | E::RestartNegative
                | E::RestartCountWithout { .. }
                | E::RestartUnknown { .. }
                | E::IpcMode { .. }
                | E::SysctlHostNamespace { .. }
                | E::PrivilegedUserns
                | E::BlkioWeight
                | E::Swappiness { .. }
                | E::NanoCpus { .. }
                | E::CpuPeriod
                | E::CpuQuota
                | E::CpuRealtime
                | E::Isolation { .. }
                | E::LogDriver { .. }
                | E::LogDriverElsewhere { .. }
                | E::LogOption { .. }
                | E::LogValue { .. }
                | E::StorageOption { .. }
                | E::Conflict { .. }
                | E::Volume { .. }
                | E::VolumeMode { .. }
                | E::VolumeName { .. }
                | E::VolumeNameShort
                | E::MountPath { .. }
                | E::MountRoot
                | E::MountType { .. }
                | E::MountConfig { .. }
                | E::VolumesFrom { .. }
                | E::VolumesFromMode { .. }
                | E::VolumeDriver { .. }
                | E::VolumeOption { .. }
                | E::VolumeOptionMissing { .. }
                | E::VolumeQuota
                | E::BindSource { .. }
                | E::TmpfsOption { .. }
                | E::DuplicateMount { .. }
        )
    }
}
