//! What kubelets, crictl and people's scripts take for granted since containerd does it, and the interface's words leave open.

use rctr_cri::api;
use rctr_tests::cri::{Cri, Pod, host, limits, secured, shell};

/// A container's `info` of a verbose status.
fn info(cri: &Cri, id: &str) -> serde_json::Value {
    let request = api::ContainerStatusRequest {
        container_id: id.into(),
        verbose: true,
    };
    let answer = cri.runtime(async |c| c.container_status(request).await);
    serde_json::from_str(&answer.expect("ContainerStatus").info["info"]).expect("JSON")
}

fn pod_info(cri: &Cri, id: &str) -> serde_json::Value {
    let request = api::PodSandboxStatusRequest {
        pod_sandbox_id: id.into(),
        verbose: true,
    };
    let answer = cri.runtime(async |c| c.pod_sandbox_status(request).await);
    serde_json::from_str(&answer.expect("PodSandboxStatus").info["info"]).expect("JSON")
}

#[test]
fn memory_without_a_word_of_swap_is_without_swap_and_its_limit_can_be_moved() {
    let pod = Pod::new("swap");
    let mut config = shell("c", "sleep 1000");
    config.linux = Some(limits(|l| l.memory_limit_in_bytes = 32 << 20));
    let id = pod.run(config);
    let pid = info(&pod.cri, &id)["pid"].as_i64().expect("a pid");
    let table = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups");
    let read = |file: &str| {
        table.lines().find_map(|line| {
            let (mount, path) = match line.split_once(":memory:") {
                Some((_, path)) => ("/sys/fs/cgroup/memory", path),
                None => ("/sys/fs/cgroup", line.strip_prefix("0::")?),
            };
            let text = std::fs::read_to_string(format!("{mount}{path}/{file}")).ok()?;
            Some(text.trim().to_owned())
        })
    };
    // v1 counts memory and swap together, where it counts swap at all; v2 swap alone.
    let swap_is = |v1: &str, v2: &str| {
        for (file, wanted) in [("memory.memsw.limit_in_bytes", v1), ("memory.swap.max", v2)] {
            assert_eq!(read(file).unwrap_or(wanted.into()), wanted, "{file}");
        }
    };
    let told = || {
        let resources = pod.cri.status(&id).resources.expect("resources");
        let linux = resources.linux.expect("linux");
        (
            linux.memory_limit_in_bytes,
            linux.memory_swap_limit_in_bytes,
        )
    };
    let to = |bytes| api::LinuxContainerResources {
        memory_limit_in_bytes: bytes,
        ..Default::default()
    };
    swap_is(&(32 << 20).to_string(), "0");
    assert_eq!(told(), (32 << 20, 32 << 20));
    for bytes in [64 << 20, 48 << 20] {
        pod.cri.resize(&id, to(bytes));
        swap_is(&bytes.to_string(), "0");
        assert_eq!(told(), (bytes, bytes));
    }
    pod.cri.resize(&id, to(-1));
    assert_eq!(told(), (-1, -1));
    let limit = read("memory.limit_in_bytes").or_else(|| read("memory.max"));
    let limit = limit.expect("a limit");
    assert!(
        limit == "max" || limit.parse::<u64>().is_ok_and(|l| l > 1 << 60),
        "{limit}"
    );
}

/// Docker adds last, runtimes of pods drop last: a policy that drops a capability is not undone by the pod.
#[test]
fn a_capability_that_is_added_and_dropped_is_dropped() {
    let pod = Pod::new("caps");
    let effective = |name: &str, add: &[&str], drop: &[&str]| {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let mut config = shell(name, "grep CapEff /proc/self/status | cut -f2");
        config.linux = Some(secured(|c| {
            c.capabilities = Some(api::Capability {
                add_capabilities: own(add),
                drop_capabilities: own(drop),
                ..Default::default()
            });
        }));
        u64::from_str_radix(pod.output(config).trim(), 16).expect("a mask")
    };
    let usual = effective("usual", &[], &[]);
    let (chown, net_admin) = (1, 1 << 12);
    assert_eq!(effective("one", &["NET_ADMIN"], &["cap_net_admin"]), usual);
    assert_eq!(effective("own", &["CHOWN"], &["CHOWN"]), usual & !chown);
    assert_eq!(effective("all", &["ALL"], &["ALL"]), 0);
    assert_eq!(effective("some", &["NET_ADMIN"], &["ALL"]), net_admin);
    let but = effective("but", &["ALL"], &["NET_ADMIN"]);
    assert!(but & net_admin == 0 && but & usual == usual, "{but:x}");
}

/// Debuggers and network scripts ask `crictl inspect` and `crictl inspectp` for these.
#[test]
fn the_runtime_s_configuration_is_told_to_who_wants_to_know_more() {
    let pod = Pod::new("verbose");
    let created = pod.create(shell("created", "true"));
    assert!(info(&pod.cri, &created)["runtimeSpec"].is_null());
    let id = pod.run(shell("c", "exec sleep 1000"));
    let spec = info(&pod.cri, &id)["runtimeSpec"].take();
    assert_eq!(spec["process"]["args"][2], "exec sleep 1000");
    assert!(spec["mounts"].is_array() && spec["linux"]["namespaces"].is_array());

    let told = pod_info(&pod.cri, &pod.id);
    let namespaces = told["runtimeSpec"]["linux"]["namespaces"].as_array();
    let mut namespaces = namespaces.expect("namespaces").iter();
    let network = namespaces.find(|n| n["type"] == "network");
    let path = network.expect("a network")["path"].as_str();
    let path = path.expect("a path");
    assert_eq!(told["netns"], path);
    let address = pod.cri.pod_status(&pod.id).network.expect("a network").ip;
    let seen = host(&format!("nsenter --net={path} ip -o addr"));
    assert!(seen.contains(&address), "{seen}");
}

#[test]
fn the_root_is_an_overlay_and_only_root_writes_to_directories_of_devices() {
    let pod = Pod::new("devices");
    let mut config = shell("c", "sleep 1000");
    config.devices = vec![api::Device {
        host_path: "/dev/null".into(),
        container_path: "/dev/deep/er/null".into(),
        permissions: "rwm".into(),
    }];
    let id = pod.run(config);
    let written = "find /dev -type d -perm -2 ! -perm -1000";
    assert_eq!(pod.cri.sh(&id, written), "");
    assert_eq!(
        pod.cri
            .sh(&id, "echo > /dev/deep/er/null && stat -c %a /dev/deep/er"),
        "755"
    );
    let root = "awk '$2 == \"/\" { print $1, $3 }' /proc/mounts";
    assert_eq!(pod.cri.sh(&id, root), "overlay overlay");
    let mut config = shell("all", "sleep 1000");
    config.linux = Some(secured(|context| context.privileged = true));
    let id = pod.run(config);
    assert_eq!(pod.cri.sh(&id, written), "");
}
