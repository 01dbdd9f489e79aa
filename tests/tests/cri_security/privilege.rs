//! Capabilities and privilege, and what is read-only or hidden.

use std::path::Path;

use rctr_cri::api;
use rctr_tests::cri::{Pod, secured, shell};

use super::sleeper;

#[test]
fn capabilities_and_privilege() {
    let pod = Pod::new("caps");
    let effective = |name: &str, change: &dyn Fn(&mut api::LinuxContainerSecurityContext)| {
        let mut config = shell(name, "grep CapEff /proc/self/status | cut -f2");
        config.linux = Some(secured(change));
        u64::from_str_radix(pod.output(config).trim(), 16).expect("a mask")
    };
    let net_admin = 1 << 12;
    let usual = effective("usual", &|_| {});
    assert_eq!(usual & net_admin, 0);
    let all = vec!["ALL".to_owned()];
    let added = effective("added", &|c| {
        c.capabilities = Some(api::Capability {
            add_capabilities: vec!["NET_ADMIN".into()],
            ..Default::default()
        });
    });
    assert_eq!(added, usual | net_admin);
    let none = effective("none", &|c| {
        c.capabilities = Some(api::Capability {
            drop_capabilities: all.clone(),
            ..Default::default()
        });
    });
    assert_eq!(none, 0);
    let privileged = effective("privileged", &|c| c.privileged = true);
    assert_eq!(privileged & net_admin, net_admin);
    assert!(privileged.count_ones() > added.count_ones());
}

#[test]
fn a_root_file_system_may_be_read_only() {
    let pod = Pod::new("readonly");
    let mut config = shell(
        "c",
        "touch /x && echo written || echo refused; touch /dev/shm/y && echo shm",
    );
    config.linux = Some(secured(|c| c.readonly_rootfs = true));
    let output = pod.output(config);
    assert!(
        output.contains("refused") && output.contains("shm"),
        "{output}"
    );
}

#[test]
fn what_is_hidden_and_what_cannot_be_written() {
    let pod = Pod::new("masks");
    let usual = pod.run(sleeper("usual", |_| {}));
    assert_eq!(pod.cri.sh(&usual, "cat /proc/timer_list | wc -c"), "0");
    let own = sleeper("own", |context| {
        context.masked_paths = vec!["/proc/uptime".into()];
        context.readonly_paths = vec!["/etc".into()];
    });
    let own = pod.run(own);
    assert_eq!(pod.cri.sh(&own, "cat /proc/uptime | wc -c"), "0");
    assert_eq!(
        pod.cri.sh(&own, "touch /etc/x 2>/dev/null || echo refused"),
        "refused"
    );
    let privileged = sleeper("privileged", |c| c.privileged = true);
    let privileged = pod.run(privileged);
    assert_ne!(pod.cri.sh(&privileged, "cat /proc/timer_list | wc -c"), "0");
}

#[test]
fn new_privileges_are_not_given_where_it_says_so() {
    let pod = Pod::new("nnp");
    let told = |name: &str, without: bool| {
        let id = pod.run(sleeper(name, |context| context.no_new_privs = without));
        pod.cri.sh(&id, "grep NoNewPrivs /proc/1/status | cut -f2")
    };
    assert_eq!(told("usual", false), "0");
    assert_eq!(told("without", true), "1");
}

#[test]
fn all_capabilities_may_be_added_and_some_kept_for_other_users() {
    let pod = Pod::new("allcaps");
    let masks = |name: &str, change: &dyn Fn(&mut api::LinuxContainerSecurityContext)| {
        let script = "grep -E '^Cap(Bnd|Eff|Amb|Prm)' /proc/self/status | sort | cut -f2";
        let mut config = shell(name, script);
        config.linux = Some(secured(change));
        let output = pod.output(config);
        let mask = |line: &str| u64::from_str_radix(line.trim(), 16).expect("a mask");
        let [ambient, bounding, effective, permitted] = output
            .lines()
            .map(mask)
            .collect::<Vec<_>>()
            .try_into()
            .expect("four");
        (ambient, bounding, effective, permitted)
    };
    let own = std::fs::read_to_string("/proc/self/status").expect("a status");
    let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:\t"));
    let own = u64::from_str_radix(own.expect("a mask"), 16).expect("a mask");
    let all = masks("all", &|c| {
        c.capabilities = Some(api::Capability {
            add_capabilities: vec!["ALL".into()],
            ..Default::default()
        });
    });
    assert_eq!((all.1, all.2), (own, own), "as many as there are here");
    // Dropped after: all but those that are named.
    let one = masks("one", &|c| {
        c.capabilities = Some(api::Capability {
            add_capabilities: vec!["NET_BIND_SERVICE".into()],
            drop_capabilities: vec!["ALL".into()],
            ..Default::default()
        });
    });
    assert_eq!((one.1, one.2), (1 << 10, 1 << 10));
    let ambient = masks("ambient", &|c| {
        c.run_as_user = Some(api::Int64Value { value: 1000 });
        c.capabilities = Some(api::Capability {
            add_ambient_capabilities: vec!["NET_BIND_SERVICE".into()],
            ..Default::default()
        });
    });
    assert_eq!((ambient.0, ambient.2), (1 << 10, 1 << 10));
    let none = masks("none", &|c| {
        c.run_as_user = Some(api::Int64Value { value: 1000 })
    });
    assert_eq!((none.0, none.2), (0, 0));
}

#[test]
fn who_is_privileged_sees_the_node_s_cgroups() {
    let pod = Pod::new("cgroupns");
    let here = std::fs::read_link("/proc/self/ns/cgroup").expect("a namespace");
    for privileged in [false, true] {
        let id = pod.run(sleeper(&format!("c{privileged}"), |c| {
            c.privileged = privileged
        }));
        let seen = pod
            .cri
            .sh(&id, "readlink /proc/self/ns/cgroup; cat /proc/1/cgroup");
        let namespace = seen.lines().next().expect("a namespace");
        assert_eq!(Path::new(namespace) == here, privileged);
        assert_eq!(seen.contains(&id), privileged, "{seen}");
    }
}

#[test]
fn who_is_privileged_has_the_node_s_devices_and_kernel_settings() {
    let pod = Pod::new("devices");
    // Opened for writing, and not written.
    let script =
        "ls /dev/kmsg 2>/dev/null || echo none; grep -w Seccomp: /proc/self/status | cut -f2
        (: >> /proc/sys/vm/drop_caches) 2>/dev/null && echo rw || echo ro
        awk '$2 == \"/sys\" { print substr($4, 1, 2) }' /proc/mounts
        mkdir -p /mnt; mount -t tmpfs none /mnt 2>/dev/null && echo mounted || echo refused";
    let told = |name: &str, privileged: bool| {
        use api::security_profile::ProfileType::RuntimeDefault;
        let id = pod.run(sleeper(name, |context| {
            context.privileged = privileged;
            // As a kubelet has it with --seccomp-default.
            context.seccomp = Some(api::SecurityProfile {
                profile_type: RuntimeDefault.into(),
                localhost_ref: String::new(),
            });
        }));
        pod.cri.sh(&id, script)
    };
    // What the first one may not write to is no obstacle to the second.
    assert_eq!(told("plain", false), "none\n2\nro\nro\nrefused");
    assert_eq!(told("privileged", true), "/dev/kmsg\n0\nrw\nrw\nmounted");
}
