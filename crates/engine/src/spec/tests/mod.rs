//! What a configuration must say, read back as JSON as a runtime would.

mod limits;
mod mounts;
mod pods;

use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::*;
use crate::model::{EndpointState, ResolvedMount, ResolvedProcess, State};
use crate::options::{ExecOptions, MountSpec, NetworkMode, RunOptions, SecurityOptions};
use rctr_runtime::cgroup::Hierarchies;

/// A full host with cgroup v2.
pub(crate) fn facts() -> HostFacts {
    let mut facts = HostFacts::gather();
    facts.hierarchies = Some(Hierarchies::V2 {
        root: "/sys/fs/cgroup".into(),
    });
    facts.limits = facts::Limits {
        memory: true,
        swap: true,
        cpu: true,
        cpuset: true,
        pids: true,
        swappiness: false,
        oom_kill_disable: false,
        cpu_realtime: false,
    };
    facts.block_io = OnceLock::from(facts::BlockIoLimits {
        weight: true,
        weight_device: false,
        throttle: true,
    });
    facts.capabilities = rctr_runtime::defaults::capabilities();
    for name in ["NET_ADMIN", "SYS_ADMIN", "SYS_RESOURCE", "SYS_PTRACE"] {
        facts.capabilities.insert(name.parse().unwrap());
    }
    facts.oom_score_adj = 0;
    facts.cpu_count = 4;
    facts.cpus = "0-3".into();
    facts.mems = "0".into();
    facts.apparmor = false;
    facts.selinux = false;
    facts
}

/// A container on the bridge.
pub(crate) fn container() -> Container {
    Container {
        id: "0123456789abcdef".repeat(4),
        name: "test".into(),
        image_id: String::new(),
        image_name: "test".into(),
        manifest_digest: None,
        platform: "linux/amd64".into(),
        layers: Vec::new(),
        options: RunOptions::default(),
        process: ResolvedProcess {
            path: "/bin/app".into(),
            args: vec!["-x".into()],
            env: vec!["A=1".into(), "PATH=/bin".into()],
            working_dir: "/srv".into(),
            ..Default::default()
        },
        mounts: Vec::new(),
        created: String::new(),
        state: State::created(),
        networks: vec![EndpointState {
            network: "bridge".into(),
            network_id: String::new(),
            driver: Default::default(),
            endpoint_id: String::new(),
            ifname: "eth0".into(),
            leads_out: true,
            gw_priority: 0,
            link_local: Vec::new(),
            sysctls: Vec::new(),
            host_ifname: "veth0".into(),
            mac: "02:42:0a:58:00:02".into(),
            address: "10.88.0.2".parse().unwrap(),
            prefix_len: 16,
            gateway: "10.88.0.1".parse().unwrap(),
            v6: Some(("fd00::2".parse().unwrap(), 64, "fd00::1".parse().unwrap())),
            ports: Vec::new(),
        }],
        connections: None,
        restart_count: 0,
        restarts: Default::default(),
        pod: None,
        selinux: None,
        cgroup_driver: "cgroupfs".into(),
        cgroup_path: "/rctr/0123".into(),
    }
}

fn identity() -> Identity {
    Identity {
        uid: 0,
        gid: 0,
        groups: vec![0, 10],
        home: "/root".into(),
    }
}

fn files() -> EtcFiles {
    let file = |name: &str| Path::new("/c").join(name);
    EtcFiles {
        name: "0123456789ab".into(),
        hostname: file("hostname"),
        hosts: file("hosts"),
        resolv_conf: file("resolv.conf"),
    }
}

struct Built {
    json: Value,
    warnings: Vec<String>,
}

fn try_make(container: &Container, user: &Identity, facts: &HostFacts) -> Result<Built, SpecError> {
    let netns = (container.options.network != NetworkMode::Host).then(|| "/proc/self/fd/6".into());
    let input = SpecInput {
        container,
        user,
        files: &files(),
        netns,
        joined: Default::default(),
        monitor: "/usr/libexec/m".into(),
        facts,
        pod: None,
    };
    let output = build(&input)?;
    Ok(Built {
        json: serde_json::to_value(&output.spec).unwrap(),
        warnings: output.warnings,
    })
}

fn make(change: impl FnOnce(&mut Container)) -> Built {
    let mut container = container();
    change(&mut container);
    try_make(&container, &identity(), &facts()).unwrap()
}

fn fail(change: impl FnOnce(&mut Container)) -> String {
    let mut container = container();
    change(&mut container);
    match try_make(&container, &identity(), &facts()) {
        Err(e) => e.to_string(),
        Ok(_) => panic!("should have failed"),
    }
}

impl Built {
    fn at(&self, pointer: &str) -> &Value {
        self.json.pointer(pointer).unwrap_or(&Value::Null)
    }

    fn set(&self, pointer: &str) -> Vec<&str> {
        let mut list: Vec<&str> = self
            .at(pointer)
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        list.sort_unstable();
        list
    }

    fn mount(&self, target: &str) -> Option<&Value> {
        self.at("/mounts")
            .as_array()
            .unwrap()
            .iter()
            .find(|m| m["destination"] == target)
    }

    fn mount_options(&self, target: &str) -> Vec<&str> {
        self.mount(target).unwrap()["options"]
            .as_array()
            .unwrap()
            .iter()
            .map(|o| o.as_str().unwrap())
            .collect()
    }

    fn targets(&self) -> Vec<&str> {
        self.at("/mounts")
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["destination"].as_str().unwrap())
            .collect()
    }
}

fn with_mount(container: &mut Container, spec: MountSpec) {
    let source = spec.source.clone().unwrap_or_default().into();
    container.mounts.push(ResolvedMount {
        spec,
        volume: None,
        anonymous: false,
        source,
    });
}

#[test]
fn a_plain_container() {
    let spec = make(|_| {});
    assert_eq!(spec.at("/process/args"), &json!(["/bin/app", "-x"]));
    assert_eq!(
        spec.at("/process/env"),
        &json!(["PATH=/bin", "HOSTNAME=0123456789ab", "A=1", "HOME=/root"])
    );
    assert_eq!(spec.at("/process/cwd"), "/srv");
    assert_eq!(
        spec.at("/process/user"),
        &json!({"uid": 0, "gid": 0, "additionalGids": [0, 10]})
    );
    assert_eq!(spec.at("/process/noNewPrivileges"), &Value::Null);
    assert_eq!(spec.at("/hostname"), "0123456789ab");
    assert_eq!(spec.at("/root/readonly"), false);
    assert_eq!(spec.at("/linux/cgroupsPath"), "/rctr/0123");
    assert_eq!(spec.at("/linux/devices"), &Value::Null);
    for set in ["bounding", "effective", "permitted"] {
        assert_eq!(
            spec.set(&format!("/process/capabilities/{set}")),
            [
                "CAP_AUDIT_WRITE",
                "CAP_CHOWN",
                "CAP_DAC_OVERRIDE",
                "CAP_FOWNER",
                "CAP_FSETID",
                "CAP_KILL",
                "CAP_MKNOD",
                "CAP_NET_BIND_SERVICE",
                "CAP_NET_RAW",
                "CAP_SETFCAP",
                "CAP_SETGID",
                "CAP_SETPCAP",
                "CAP_SETUID",
                "CAP_SYS_CHROOT",
            ]
        );
    }
    assert_eq!(spec.at("/process/capabilities/inheritable"), &json!([]));
    assert!(spec.set("/linux/maskedPaths").contains(&"/proc/kcore"));
    assert!(spec.set("/linux/readonlyPaths").contains(&"/proc/sys"));
    let kinds: Vec<_> = spec
        .at("/linux/namespaces")
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["mount", "uts", "ipc", "pid", "cgroup", "network"]);
    assert_eq!(spec.at("/linux/namespaces/5/path"), "/proc/self/fd/6");
    assert_eq!(
        spec.at("/linux/sysctl/net.ipv4.ip_unprivileged_port_start"),
        "0"
    );
    assert!(spec.warnings.is_empty());
}

#[test]
fn a_user_without_privileges_holds_no_capability() {
    let user = Identity {
        uid: 1000,
        gid: 1001,
        groups: vec![1001, 29],
        home: "/home/app".into(),
    };
    let spec = try_make(&container(), &user, &facts()).unwrap();
    assert_eq!(
        spec.at("/process/user"),
        &json!({"uid": 1000, "gid": 1001, "additionalGids": [1001, 29]})
    );
    for set in ["effective", "permitted", "inheritable", "ambient"] {
        assert_eq!(
            spec.at(&format!("/process/capabilities/{set}")),
            &json!([]),
            "{set}"
        );
    }
    assert_eq!(spec.set("/process/capabilities/bounding").len(), 14);
    assert!(spec.set("/process/env").contains(&"HOME=/home/app"));
}

#[test]
fn flags_of_the_process() {
    let spec = make(|c| {
        c.options.tty = true;
        c.options.init = true;
        c.options.security = SecurityOptions::parse(&["no-new-privileges"]).unwrap();
        c.options.ulimits = vec![
            "nofile=10:20".parse().unwrap(),
            "nofile=30:40".parse().unwrap(),
            "core=-1".parse().unwrap(),
        ];
        c.process.env.push("HOME=/elsewhere".into());
    });
    assert_eq!(
        spec.at("/process/args"),
        &json!(["/sbin/docker-init", "--", "/bin/app", "-x"])
    );
    assert_eq!(
        spec.mount("/sbin/docker-init").unwrap()["source"],
        "/usr/libexec/m"
    );
    assert!(spec.mount_options("/sbin/docker-init").contains(&"ro"));
    assert_eq!(spec.at("/process/noNewPrivileges"), true);
    assert_eq!(spec.at("/process/terminal"), true);
    let env = spec.set("/process/env");
    assert!(
        env.contains(&"TERM=xterm")
            && env.contains(&"HOME=/elsewhere")
            && !env.contains(&"HOME=/root")
    );
    assert_eq!(
        spec.at("/process/rlimits"),
        &json!([
            {"type": "RLIMIT_NOFILE", "soft": 30, "hard": 40},
            {"type": "RLIMIT_CORE", "soft": u64::MAX, "hard": u64::MAX},
        ])
    );
}

#[test]
fn privileged() {
    let spec = make(|c| c.options.privileged = true);
    assert_eq!(
        spec.set("/process/capabilities/effective").len(),
        facts().capabilities.len()
    );
    assert_eq!(
        (
            spec.at("/linux/maskedPaths"),
            spec.at("/linux/readonlyPaths")
        ),
        (&json!([]), &json!([]))
    );
    assert!(
        spec.mount_options("/sys").contains(&"rw")
            && spec.mount_options("/sys/fs/cgroup").contains(&"rw")
    );
    assert_eq!(
        spec.at("/linux/resources/devices"),
        &json!([{"allow": true, "type": "a", "access": "rwm"}])
    );
    let devices = spec.at("/linux/devices").as_array().unwrap();
    assert!(
        devices
            .iter()
            .any(|d| d["path"] == "/dev/null" && d["major"] == 1 && d["minor"] == 3)
    );
    assert!(
        !devices
            .iter()
            .any(|d| d["path"].as_str().unwrap().starts_with("/dev/pts"))
    );
}

#[test]
fn the_privileged_have_files_with_a_label_and_processes_with_the_policy_s() {
    let (process, files) = ("u:r:container_t:s0:c1,c2", "u:object_r:file_t:s0:c1,c2");
    let labelled = |process: &str, privileged, selinux| {
        let mut container = container();
        container.options.privileged = privileged;
        container.selinux = Some(SelinuxLabels {
            process: process.into(),
            mount: files.into(),
        });
        let mut facts = facts();
        facts.selinux = selinux;
        try_make(&container, &identity(), &facts).unwrap()
    };
    let label = |built: &Built, pointer: &str| built.json.pointer(pointer).cloned();
    let plain = labelled(process, false, true);
    assert_eq!(label(&plain, "/process/selinuxLabel"), Some(process.into()));
    for unlabelled in [labelled(process, true, true), labelled("", false, true)] {
        assert_eq!(label(&unlabelled, "/process/selinuxLabel"), None);
        assert_eq!(label(&unlabelled, "/linux/mountLabel"), Some(files.into()));
    }
    // It has been turned off since.
    let off = labelled(process, false, false);
    assert_eq!(label(&off, "/process/selinuxLabel"), None);
    assert_eq!(label(&off, "/linux/mountLabel"), None);
}

#[test]
fn the_hosts_network() {
    let spec = make(|c| c.options.network = NetworkMode::Host);
    assert_eq!(spec.at("/linux/namespaces").as_array().unwrap().len(), 5);
    assert_eq!(spec.at("/linux/sysctl"), &json!({}));
}

#[test]
fn exec() {
    let mut c = container();
    c.options.security = SecurityOptions::parse(&["no-new-privileges"]).unwrap();
    c.options.ulimits = vec!["nofile=10:20".parse().unwrap()];
    let user = Identity {
        uid: 1000,
        gid: 1000,
        groups: vec![1000],
        home: "/home/app".into(),
    };
    let input = SpecInput {
        container: &c,
        user: &user,
        files: &files(),
        netns: None,
        joined: Default::default(),
        monitor: "/m".into(),
        facts: &facts(),
        pod: None,
    };
    let init = build(&input).unwrap().spec.process().clone().unwrap();
    let options = ExecOptions {
        cmd: vec!["sh".into()],
        tty: true,
        env: vec!["A=exec".into()],
        working_dir: Some("/tmp".into()),
        ..Default::default()
    };
    let process =
        serde_json::to_value(exec_process(&init, &c, &identity(), &options).unwrap()).unwrap();
    assert_eq!(process["args"], json!(["sh"]));
    assert_eq!(
        process["env"],
        json!([
            "PATH=/bin",
            "HOSTNAME=0123456789ab",
            "TERM=xterm",
            "A=exec",
            "HOME=/root"
        ])
    );
    assert_eq!(
        (&process["cwd"], &process["terminal"]),
        (&json!("/tmp"), &json!(true))
    );
    assert_eq!(
        process["capabilities"]["effective"]
            .as_array()
            .unwrap()
            .len(),
        14
    );
    assert_eq!(
        (&process["noNewPrivileges"], &process["rlimits"][0]["hard"]),
        (&json!(true), &json!(20))
    );
}
