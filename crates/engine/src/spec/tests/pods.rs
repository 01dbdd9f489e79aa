//! What a pod makes of its container's configuration.

use super::*;
use crate::pod::{
    NamespaceScope, Pod, PodContainerOptions, PodDevice, PodNamespaces, PodOptions, PodState,
    Propagation,
};

fn in_pod() -> InPod {
    let pin = |name: &str| Some(format!("/pins/{name}").into());
    InPod {
        pod: Pod {
            id: "p".into(),
            options: PodOptions::default(),
            created: String::new(),
            state: PodState::Ready,
            network: None,
            cgroup: None,
            cgroup_made: false,
            namespaces: PodNamespaces {
                net: pin("net"),
                ipc: pin("ipc"),
                uts: pin("uts"),
                user: None,
                shm: pin("shm"),
            },
            selinux: None,
        },
        options: PodContainerOptions::default(),
        pid: None,
        mounts: Vec::new(),
    }
}

fn make_in(change: impl FnOnce(&mut InPod)) -> Built {
    let mut in_pod = in_pod();
    change(&mut in_pod);
    let mut container = container();
    container.options.network = NetworkMode::None;
    let output = build(&SpecInput {
        container: &container,
        user: &identity(),
        files: &files(),
        netns: None,
        joined: Default::default(),
        monitor: "/m".into(),
        facts: &facts(),
        pod: Some(&in_pod),
    })
    .unwrap();
    Built {
        json: serde_json::to_value(&output.spec).unwrap(),
        warnings: output.warnings,
    }
}

fn shown(target: &str) -> InPodMount {
    InPodMount {
        target: target.into(),
        source: "/source".into(),
        read_only: false,
        recursive_read_only: false,
        propagation: Propagation::Private,
        mappings: None,
    }
}

fn namespaces(built: &Built) -> Vec<(String, Option<String>)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = built.at("/linux/namespaces").as_array().unwrap().iter();
    let mut all: Vec<_> = list
        .map(|n| (text(&n["type"]).unwrap(), text(&n["path"])))
        .collect();
    all.sort();
    all
}

#[test]
fn namespaces_are_the_pods_and_nothing_is_set_in_them() {
    let built = make_in(|_| {});
    let pin = |name: &str| Some(format!("/pins/{name}"));
    let named = |list: &[(&str, Option<String>)]| -> Vec<(String, Option<String>)> {
        list.iter()
            .map(|(n, p)| ((*n).to_owned(), p.clone()))
            .collect()
    };
    assert_eq!(
        namespaces(&built),
        named(&[
            ("cgroup", None),
            ("ipc", pin("ipc")),
            ("mount", None),
            ("network", pin("net")),
            ("pid", None),
            ("uts", pin("uts")),
        ])
    );
    assert_eq!(built.at("/hostname"), &Value::Null);
    assert_eq!(built.at("/linux/sysctl"), &Value::Null);
    let shm = built.mount("/dev/shm").unwrap();
    assert_eq!(
        (&shm["source"], &shm["type"]),
        (&json!("/pins/shm"), &json!("bind"))
    );
}

#[test]
fn a_pod_of_the_host_has_the_hosts_name_and_memory() {
    let built = make_in(|c| {
        c.pod.namespaces = PodNamespaces::default();
        c.pod.options.ipc = NamespaceScope::Node;
        c.pid = Some(None);
    });
    let kinds: Vec<_> = namespaces(&built)
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(kinds, ["cgroup", "mount"]);
    assert_eq!(built.at("/hostname"), &Value::Null);
    assert_eq!(built.mount("/dev/shm").unwrap()["source"], "/dev/shm");
}

#[test]
fn parents_are_mounted_first_files_under_etc_among_them() {
    let built = make_in(|c| {
        c.mounts = vec![
            shown("/etc/hosts"),
            shown("/a/b/c"),
            shown("/etc"),
            shown("/a"),
        ];
    });
    let mounts = built.at("/mounts").as_array().unwrap().iter();
    let ours = [
        "/a",
        "/etc",
        "/etc/resolv.conf",
        "/etc/hostname",
        "/etc/hosts",
        "/a/b/c",
    ];
    let found: Vec<_> = mounts
        .filter_map(|m| m["destination"].as_str())
        .filter(|target| ours.contains(target))
        .collect();
    assert_eq!(found[..2], ["/etc", "/a"]);
    assert_eq!(found.last(), Some(&"/a/b/c"));
    assert!(found.contains(&"/etc/resolv.conf"));
    // The kubelet's own file takes the place of the pod's.
    assert_eq!(
        found
            .iter()
            .filter(|target| **target == "/etc/hosts")
            .count(),
        1
    );
    assert_eq!(built.mount("/etc/hosts").unwrap()["source"], "/source");
}

#[test]
fn words_of_mounts() {
    let built = make_in(|c| {
        c.mounts = vec![
            InPodMount {
                propagation: Propagation::HostToContainer,
                ..shown("/slave")
            },
            InPodMount {
                propagation: Propagation::Bidirectional,
                ..shown("/peer")
            },
            InPodMount {
                read_only: true,
                ..shown("/ro")
            },
            InPodMount {
                read_only: true,
                recursive_read_only: true,
                ..shown("/rro")
            },
        ];
    });
    assert_eq!(built.mount_options("/slave"), ["rbind", "rslave", "rw"]);
    assert_eq!(built.mount_options("/peer"), ["rbind", "rshared", "rw"]);
    assert_eq!(built.mount_options("/ro"), ["rbind", "rprivate", "ro"]);
    assert_eq!(
        built.mount_options("/rro"),
        ["rbind", "rprivate", "ro", "rro"]
    );
}

#[test]
fn hidden_paths_are_the_usual_ones_unless_others_are_named() {
    let usual = make_in(|_| {});
    assert!(usual.set("/linux/maskedPaths").contains(&"/proc/kcore"));
    let own = make_in(|c| {
        c.options.security.masked_paths = vec!["/proc/uptime".into()];
        c.options.security.readonly_paths = vec!["/proc/sys".into()];
    });
    assert_eq!(own.set("/linux/maskedPaths"), ["/proc/uptime"]);
    assert_eq!(own.set("/linux/readonlyPaths"), ["/proc/sys"]);
    let unmasked = make_in(|c| c.pod.options.user = Some(Default::default()));
    assert!(unmasked.set("/linux/maskedPaths").is_empty());
}

#[test]
fn ambient_capabilities_are_in_all_sets() {
    let built = make_in(|c| c.options.security.ambient = vec!["NET_ADMIN".into()]);
    for set in [
        "bounding",
        "permitted",
        "effective",
        "inheritable",
        "ambient",
    ] {
        let pointer = format!("/process/capabilities/{set}");
        assert!(built.set(&pointer).contains(&"CAP_NET_ADMIN"), "{set}");
    }
}

#[test]
fn devices_are_passed_on_under_other_names_with_their_rules() {
    let built = make_in(|c| {
        c.options.devices = vec![PodDevice {
            host: "/dev/null".into(),
            container: "/dev/sink".into(),
            permissions: "r".into(),
        }];
    });
    let device = built.at("/linux/devices/0");
    assert_eq!(
        (&device["path"], &device["major"], &device["minor"]),
        (&json!("/dev/sink"), &json!(1), &json!(3))
    );
    let rules = built.at("/linux/resources/devices").as_array().unwrap();
    let last = rules.last().unwrap();
    assert_eq!(
        (&last["allow"], &last["access"]),
        (&json!(true), &json!("r"))
    );
}
