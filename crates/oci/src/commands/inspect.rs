//! `state`, `list`, `ps`, `features`.

use std::process::Command;

use rctr_runtime::oci::{self, Container, SPEC_VERSION};
use serde_json::{Value, json};

use super::{load, root};
use crate::cli::{Format, Global, List, Ps};
use crate::failure::Failure;

pub fn state(global: &Global, id: &str) -> Result<u8, Failure> {
    print(&describe(&load(global, id)?))?;
    Ok(0)
}

fn status(container: &Container) -> String {
    match container.is_paused() {
        true => "paused".to_owned(),
        false => container.status().to_string(),
    }
}

/// The specification's state, with runc's additions.
fn describe(container: &Container) -> Value {
    let state = container.state();
    let mut json = json!({
        "ociVersion": state.version(),
        "id": state.id(),
        "pid": container.pid(),
        "status": status(container),
        "bundle": state.bundle(),
        "rootfs": container.rootfs(),
        "created": container.created(),
    });
    if state
        .annotations()
        .as_ref()
        .is_some_and(|all| !all.is_empty())
    {
        json["annotations"] = json!(state.annotations());
    }
    json["owner"] = name_of(container.owner()).into();
    json
}

fn name_of(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| uid.to_string())
}

fn print(json: &Value) -> Result<(), Failure> {
    let text = format!("{json:#}\n");
    write(&text)
}

fn write(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(Failure::file(
        "write",
        std::path::Path::new("standard output"),
    ))
}

pub fn list(global: &Global, args: &List) -> Result<u8, Failure> {
    let root = root(global);
    let names = oci::list(&root)?;
    // One may be deleted in this moment.
    let containers = names
        .iter()
        .filter_map(|id| Container::load(&root, id).ok());
    if args.quiet {
        write(&names.iter().map(|id| format!("{id}\n")).collect::<String>())?;
        return Ok(0);
    }
    let all: Vec<Value> = containers.map(|container| describe(&container)).collect();
    if args.format == Format::Json {
        write(&match all.is_empty() {
            true => "null".to_owned(),
            false => format!("{}", Value::from(all)),
        })?;
        return Ok(0);
    }
    let keys = ["id", "pid", "status", "bundle", "created", "owner"];
    let mut rows = vec![keys.map(str::to_uppercase)];
    rows.extend(all.iter().map(|one| {
        keys.map(|key| match &one[key] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..keys.len())
        .map(|column| width(column).unwrap_or(0).max(9) + 3)
        .collect();
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(&widths);
        let text: String = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", text.trim_end())
    };
    write(&rows.iter().map(line).collect::<String>())?;
    Ok(0)
}

pub fn ps(global: &Global, args: &Ps) -> Result<u8, Failure> {
    let pids = load(global, &args.id.id)?.processes()?;
    if args.format == Format::Json {
        write(&json!(pids).to_string())?;
        return Ok(0);
    }
    let options = match args.options.is_empty() {
        true => vec!["-ef".to_owned()],
        false => args.options.clone(),
    };
    let output = Command::new("ps").args(&options).output();
    let output = output.map_err(Failure::file("run", std::path::Path::new("ps")))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure::Usage(format!("ps {}: {words}", options.join(" "))));
    }
    write(&only(&String::from_utf8_lossy(&output.stdout), &pids)?)?;
    Ok(0)
}

/// The heading and the lines of these processes.
fn only(table: &str, pids: &[i32]) -> Result<String, Failure> {
    let heading = table.lines().next().unwrap_or_default();
    let column = heading.split_whitespace().position(|word| word == "PID");
    let column =
        column.ok_or_else(|| Failure::Usage("couldn't find PID field in ps output".into()))?;
    let ours = |line: &&str| {
        let pid = line
            .split_whitespace()
            .nth(column)
            .and_then(|word| word.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    let lines = std::iter::once(heading).chain(table.lines().skip(1).filter(ours));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

pub fn features() -> Result<u8, Failure> {
    let capabilities: Vec<String> = (0..=40).filter_map(capability).collect();
    print(&json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": MOUNT_OPTIONS,
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities,
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": false},
            "seccomp": {
                "enabled": true,
                "actions": [
                    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
                ],
                "operators": [
                    "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
                ],
                "archs": [
                    "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32",
                    "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC", "SCMP_ARCH_PPC64",
                    "SCMP_ARCH_PPC64LE", "SCMP_ARCH_RISCV64", "SCMP_ARCH_S390", "SCMP_ARCH_S390X", "SCMP_ARCH_X32",
                    "SCMP_ARCH_X86", "SCMP_ARCH_X86_64",
                ],
                "knownFlags": [
                    "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC",
                ],
                "supportedFlags": [
                    "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC",
                ],
            },
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": false},
            "mountExtensions": {"idmap": {"enabled": true}},
            "netDevices": {"enabled": true},
        },
        "annotations": {"io.rctr.version": env!("CARGO_PKG_VERSION")},
        // It names a file of the host's, which CRIU reads.
        "potentiallyUnsafeConfigAnnotations": ["org.criu.config"],
    }))?;
    Ok(0)
}

fn capability(number: u32) -> Option<String> {
    use oci_spec::runtime::Capability;
    // In the kernel's order, which has no numbers in the specification.
    const NAMES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP \
        LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE \
        SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME \
        SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG \
        WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE";
    let name = NAMES.split_whitespace().nth(number as usize)?;
    let known: Option<Capability> = name.parse().ok();
    known.map(|_| format!("CAP_{name}"))
}

const MOUNT_OPTIONS: &[&str] = &[
    "acl",
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noacl",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ps_shows_the_container_s_lines_alone() {
        let table = "UID  PID PPID\nroot 7   1\nroot 70  7\n";
        assert_eq!(only(table, &[7]).unwrap(), "UID  PID PPID\nroot 7   1\n");
        assert!(only("a b\n", &[1]).is_err());
    }

    #[test]
    fn all_of_the_kernel_s_capabilities_are_known() {
        let known = (0..=40).filter_map(capability);
        assert_eq!(known.count(), 41);
        assert_eq!(capability(21).as_deref(), Some("CAP_SYS_ADMIN"));
    }
}
