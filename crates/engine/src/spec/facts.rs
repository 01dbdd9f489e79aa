//! What the host can do.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use oci_spec::runtime::Capability;
use rctr_runtime::apparmor;
use rctr_runtime::cgroup::Hierarchies;
use rctr_runtime::rootless::in_initial_namespace;
use rctr_runtime::selinux;
use rustix::process::Resource;

use super::caps::Set;
use crate::rootless;

/// What of the host decides how a container can be configured.
#[derive(Debug, Clone)]
pub(crate) struct HostFacts {
    /// Where cgroups are mounted, if they are.
    pub(crate) hierarchies: Option<Hierarchies>,
    /// Which limits can be kept.
    pub(crate) limits: Limits,
    /// Of them, those on block devices: looked for when first asked, which most containers never do.
    pub(crate) block_io: OnceLock<BlockIoLimits>,
    /// Capabilities this process holds, and so the most it can give.
    pub(crate) capabilities: Set,
    /// This process's own value: without CAP_SYS_RESOURCE nobody gets a lower one.
    pub(crate) oom_score_adj: i32,
    /// Hard resource limits by `--ulimit` name; `u64::MAX` is unlimited.
    pub(crate) hard_limits: BTreeMap<&'static str, u64>,
    /// How many processors there are.
    pub(crate) cpu_count: usize,
    /// Which, as a list: `0-3`.
    pub(crate) cpus: String,
    /// Which memory nodes there are.
    pub(crate) mems: String,
    /// Whether AppArmor profiles are enforced.
    pub(crate) apparmor: bool,
    /// Whether SELinux labels processes and files.
    pub(crate) selinux: bool,
}

/// The limits that the kernel's cgroup controllers can keep here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) memory: bool,
    pub(crate) swap: bool,
    pub(crate) cpu: bool,
    pub(crate) cpuset: bool,
    pub(crate) pids: bool,
    /// How readily memory of a single cgroup is swapped.
    pub(crate) swappiness: bool,
    /// That processes wait for memory instead of being killed.
    pub(crate) oom_kill_disable: bool,
    /// Time of real-time processes.
    pub(crate) cpu_realtime: bool,
}

/// The limits on block devices that can be kept here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BlockIoLimits {
    pub(crate) weight: bool,
    pub(crate) weight_device: bool,
    pub(crate) throttle: bool,
}

const RESOURCES: [(&str, Resource); 15] = [
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

impl HostFacts {
    /// Looks at the host. What cannot be read counts as not there.
    pub(crate) fn gather() -> HostFacts {
        let hierarchies = Hierarchies::detect().ok();
        let cpuset = hierarchies.as_ref().and_then(|h| h.mount_of("cpuset"));
        let list = |names: [&str; 2], fallback: &str| {
            let of_cgroup = names
                .iter()
                .filter_map(|n| Some(read(&cpuset?.join(n))))
                .find(|l| !l.is_empty());
            of_cgroup.unwrap_or_else(|| read(Path::new(fallback)))
        };
        let hard_limit = |resource| {
            rustix::process::getrlimit(resource)
                .maximum
                .unwrap_or(u64::MAX)
        };
        HostFacts {
            limits: Limits::of(rootless::controlled(hierarchies.as_ref()).as_ref()),
            block_io: OnceLock::new(),
            capabilities: own_capabilities(&read(Path::new("/proc/self/status"))),
            oom_score_adj: read(Path::new("/proc/self/oom_score_adj"))
                .parse()
                .unwrap_or(0),
            hard_limits: RESOURCES
                .iter()
                .map(|(name, resource)| (*name, hard_limit(*resource)))
                .collect(),
            cpu_count: std::thread::available_parallelism().map_or(1, usize::from),
            cpus: list(
                ["cpuset.cpus.effective", "cpuset.effective_cpus"],
                "/sys/devices/system/cpu/online",
            ),
            mems: list(
                ["cpuset.mems.effective", "cpuset.effective_mems"],
                "/sys/devices/system/node/online",
            ),
            apparmor: apparmor::is_enabled(),
            selinux: selinux::is_enabled(),
            hierarchies,
        }
    }

    /// Whether processes can get higher limits than this one has, and less danger of being killed for want of memory:
    /// the capability of a user namespace's root does not do for that.
    pub(crate) fn may_raise_limits(&self) -> bool {
        in_initial_namespace() && self.capabilities.contains(&Capability::SysResource)
    }

    /// Which limits on block devices can be kept.
    pub(crate) fn block_io(&self) -> &BlockIoLimits {
        self.block_io.get_or_init(|| {
            BlockIoLimits::of(rootless::controlled(self.hierarchies.as_ref()).as_ref())
        })
    }

    /// Whether there is one cgroup hierarchy for all.
    pub(crate) fn cgroup_v2(&self) -> bool {
        matches!(self.hierarchies, Some(Hierarchies::V2 { .. }))
    }

    /// What protects containers here, in the words of `docker info`.
    pub(crate) fn security_options(&self) -> Vec<String> {
        let options = [
            self.apparmor.then_some("name=apparmor"),
            Some("name=seccomp,profile=builtin"),
            self.selinux.then_some("name=selinux"),
            Some("name=cgroupns"),
            rctr_runtime::rootless::session().map(|_| "name=rootless"),
        ];
        options.into_iter().flatten().map(str::to_owned).collect()
    }

    fn unconfined(&self) -> Option<String> {
        let missing = self.apparmor && !apparmor::has_parser();
        missing.then(|| {
            "WARNING: No apparmor_parser: containers that name no profile run unconfined".into()
        })
    }

    /// Limits that cannot be kept here, in the words of `docker info`, and what else protects less than it could.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let limits = &self.limits;
        let table = [
            (limits.memory, "memory limit"),
            (limits.swap, "swap limit"),
            (limits.cpu, "cpu cfs quota"),
            (limits.cpu, "cpu shares"),
            (limits.cpuset, "cpuset"),
            (limits.pids, "pids limit"),
        ];
        table
            .iter()
            .filter(|(there, _)| !there)
            .map(|(_, what)| format!("WARNING: No {what} support"))
            .chain(self.unconfined())
            .collect()
    }
}

impl Limits {
    fn of(hierarchies: Option<&Hierarchies>) -> Limits {
        let has = |name| hierarchies.is_some_and(|h| h.has_controller(name));
        let memory = has("memory");
        let swap = match hierarchies {
            Some(Hierarchies::V2 { root }) => memory && v2_swap(root),
            Some(v1) => v1
                .mount_of("memory")
                .is_some_and(|m| m.join("memory.memsw.limit_in_bytes").exists()),
            None => false,
        };
        Limits {
            memory,
            swap,
            cpu: has("cpu"),
            cpuset: has("cpuset"),
            pids: has("pids"),
            swappiness: v1_has(hierarchies, "memory", "memory.swappiness"),
            oom_kill_disable: v1_has(hierarchies, "memory", "memory.oom_control"),
            cpu_realtime: v1_has(hierarchies, "cpu", "cpu.rt_runtime_us"),
        }
    }
}

impl BlockIoLimits {
    fn of(hierarchies: Option<&Hierarchies>) -> BlockIoLimits {
        let v1 = |file| v1_has(hierarchies, "blkio", file);
        match hierarchies {
            Some(Hierarchies::V2 { root }) => {
                let io = hierarchies.is_some_and(|h| h.has_controller("io"));
                let bfq = io && any_child_has(root, "io.bfq.weight");
                BlockIoLimits {
                    weight: bfq || io && any_child_has(root, "io.weight"),
                    weight_device: bfq,
                    throttle: io,
                }
            }
            _ => BlockIoLimits {
                weight: v1("blkio.weight") || v1("blkio.bfq.weight"),
                weight_device: v1("blkio.weight_device"),
                throttle: v1("blkio.throttle.read_bps_device"),
            },
        }
    }
}

/// Whether a controller of v1 has a file; all but a few are there in the root, too.
fn v1_has(hierarchies: Option<&Hierarchies>, controller: &str, file: &str) -> bool {
    match hierarchies {
        Some(v1 @ Hierarchies::V1 { .. }) => v1
            .mount_of(controller)
            .is_some_and(|mount| mount.join(file).exists() || any_child_has(mount, file)),
        _ => false,
    }
}

/// The root cgroup has no swap files, so any other tells; without any other the kernel is taken to be a usual one.
fn v2_swap(root: &Path) -> bool {
    any_child_has(root, "memory.swap.max")
}

fn any_child_has(root: &Path, file: &str) -> bool {
    let Ok(entries) = fs::read_dir(root) else {
        return false;
    };
    let mut children = entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .peekable();
    children.peek().is_none() || children.any(|child| child.path().join(file).exists())
}

fn read(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// What the process may use and pass on, of /proc/self/status.
fn own_capabilities(status: &str) -> Set {
    use Capability::*;
    // In the kernel's numbering.
    const NUMBERED: [Capability; 41] = [
        Chown,
        DacOverride,
        DacReadSearch,
        Fowner,
        Fsetid,
        Kill,
        Setgid,
        Setuid,
        Setpcap,
        LinuxImmutable,
        NetBindService,
        NetBroadcast,
        NetAdmin,
        NetRaw,
        IpcLock,
        IpcOwner,
        SysModule,
        SysRawio,
        SysChroot,
        SysPtrace,
        SysPacct,
        SysAdmin,
        SysBoot,
        SysNice,
        SysResource,
        SysTime,
        SysTtyConfig,
        Mknod,
        Lease,
        AuditWrite,
        AuditControl,
        Setfcap,
        MacOverride,
        MacAdmin,
        Syslog,
        WakeAlarm,
        BlockSuspend,
        AuditRead,
        Perfmon,
        Bpf,
        CheckpointRestore,
    ];
    let mask = |word: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(word));
        line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .unwrap_or(0)
    };
    let own = mask("CapPrm:") & mask("CapBnd:");
    NUMBERED
        .iter()
        .enumerate()
        .filter(|(bit, _)| own & (1 << bit) != 0)
        .map(|(_, c)| *c)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_of_a_status_file() {
        let full = own_capabilities("CapPrm:\t000001ffffffffff\nCapBnd:\t000001ffffffffff\n");
        assert_eq!(full.len(), 41);
        let some =
            own_capabilities("CapPrm:\t000001fffeffffff\nCapEff:\t0\nCapBnd:\t0000000001000001\n");
        assert_eq!(some, [Capability::Chown].into());
        assert!(own_capabilities("").is_empty());
    }

    #[test]
    fn this_host_has_facts() {
        let facts = HostFacts::gather();
        assert!(
            facts.cpu_count > 0 && facts.cpus.starts_with(|c: char| c.is_ascii_digit()),
            "{facts:?}"
        );
        assert_eq!(facts.hard_limits.len(), 15);
        assert!(!facts.security_options().is_empty());
    }
}
