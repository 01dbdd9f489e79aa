//! Security contexts: users and groups, capabilities, profiles, what is hidden, whose processes are seen, user namespaces.

use std::path::Path;

use rctr_cri::api;
use rctr_tests::cri::{Cri, Pod, image, mount, refused, secured, shell};
use tonic::Code;

/// A container that stays, in a security context.
fn sleeper(
    name: &str,
    change: impl FnOnce(&mut api::LinuxContainerSecurityContext),
) -> api::ContainerConfig {
    api::ContainerConfig {
        linux: Some(secured(change)),
        ..shell(name, "sleep 1000")
    }
}

#[test]
fn users_and_groups() {
    let pod = Pod::new("users");
    let id = |change: &dyn Fn(&mut api::LinuxContainerSecurityContext), name: &str| {
        let mut config = shell(name, "id -u; id -g; id -G");
        config.linux = Some(secured(change));
        pod.output(config).replace('\n', " | ")
    };
    let number = |value| Some(api::Int64Value { value });
    let plain = id(&|_| {}, "root");
    assert!(plain.starts_with("0 | 0 | 0"), "{plain}");
    let user = id(
        &|c| {
            c.run_as_user = number(1000);
            c.run_as_group = number(2000);
            c.supplemental_groups = vec![3000, 4000];
        },
        "user",
    );
    assert_eq!(user, "1000 | 2000 | 2000 3000 4000");
    let named = id(&|c| c.run_as_username = "www-data".into(), "named");
    assert_eq!(named, "33 | 33 | 33");
    let mut config = shell("nouser", "true");
    config.linux = Some(secured(|c| c.run_as_group = number(1)));
    refused(
        pod.cri.try_create(&pod.id, &pod.config, config),
        Code::InvalidArgument,
    );
}

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
fn groups_of_the_image_count_unless_the_policy_is_strict() {
    let pod = Pod::new("groups");
    let groups = |name: &str, policy: api::SupplementalGroupsPolicy| {
        let mut config = shell(name, "id -G; sleep 1000");
        config.linux = Some(secured(|c| {
            c.run_as_user = Some(api::Int64Value { value: 0 });
            c.supplemental_groups = vec![5000];
            c.supplemental_groups_policy = policy.into();
        }));
        let id = pod.run(config);
        let user = pod
            .cri
            .status(&id)
            .user
            .expect("a user")
            .linux
            .expect("linux");
        (pod.cri.sh(&id, "id -G"), user)
    };
    let (strict, user) = groups("strict", api::SupplementalGroupsPolicy::Strict);
    assert_eq!(strict, "0 5000");
    assert_eq!((user.uid, user.gid), (0, 0));
    assert_eq!(user.supplemental_groups, [0, 5000]);
    let (merged, _) = groups("merge", api::SupplementalGroupsPolicy::Merge);
    assert!(
        merged.starts_with('0') && merged.ends_with("5000"),
        "{merged}"
    );
}

#[test]
fn groups_of_the_image_count_unless_they_shall_not() {
    let pod = Pod::new("groups");
    let user = pod.cri.pull("user");
    let groups = |name: &str, policy: api::SupplementalGroupsPolicy| {
        let mut config = sleeper(name, |context| {
            context.run_as_user = Some(api::Int64Value { value: 0 });
            context.run_as_group = Some(api::Int64Value { value: 5 });
            context.supplemental_groups = vec![7777];
            context.supplemental_groups_policy = policy.into();
        });
        config.image = Some(image(&user));
        let id = pod.run(config);
        pod.cri.sh(&id, "id -G")
    };
    let strict = groups("strict", api::SupplementalGroupsPolicy::Strict);
    assert_eq!(strict, "5 7777");
    let merged = groups("merged", api::SupplementalGroupsPolicy::Merge);
    assert!(
        merged.starts_with("5 ") && merged.ends_with(" 7777"),
        "{merged}"
    );
}

#[test]
fn users_that_make_no_sense_are_refused() {
    let pod = Pod::new("nousers");
    let with = |change: &dyn Fn(&mut api::LinuxContainerSecurityContext)| {
        pod.refused(api::ContainerConfig {
            linux: Some(secured(change)),
            ..shell("x", "true")
        })
    };
    let both = with(&|c| {
        c.run_as_user = Some(api::Int64Value { value: 1 });
        c.run_as_username = "root".into();
    });
    assert!(both.contains("user"), "{both}");
    let unknown = with(&|c| c.run_as_username = "nobody-here".into());
    assert!(unknown.contains("nobody-here"), "{unknown}");
    with(&|c| c.run_as_username = "root:0".into());
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
fn processes_of_another_container_and_of_the_host() {
    let pod = Pod::new("scopes");
    let target = pod.run(shell("target", "exec sleep 4321"));
    let scoped = |name: &str, pid: api::NamespaceMode, target: &str| {
        sleeper(name, |context| {
            context.namespace_options = Some(api::NamespaceOption {
                pid: pid.into(),
                target_id: target.into(),
                ..Default::default()
            });
        })
    };
    let own = pod.run(scoped("own", api::NamespaceMode::Container, ""));
    let seen = |id: &str| pod.cri.sh(id, "ps -o args");
    assert!(!seen(&own).contains("sleep 4321"));
    let debugger = pod.run(scoped("debugger", api::NamespaceMode::Target, &target));
    let processes = seen(&debugger);
    assert!(processes.contains("sleep 4321"), "{processes}");
    assert!(!processes.contains("rctr"), "{processes}");
    // It goes, and its target stays.
    pod.cri.stop(&debugger, 0);
    assert_eq!(
        pod.cri.status(&target).state(),
        api::ContainerState::ContainerRunning
    );
    let of_host = pod.run(scoped("host", api::NamespaceMode::Node, ""));
    assert!(seen(&of_host).contains("sleep 4321"));
    assert!(
        pod.cri
            .sh(&of_host, "ls -d /proc/[0-9]*")
            .contains(&format!("/proc/{}", pod.cri.pid()))
    );
    pod.cri.stop(&of_host, 0);
    assert_eq!(
        pod.cri.status(&own).state(),
        api::ContainerState::ContainerRunning
    );
}

#[test]
fn user_namespaces_map_owners() {
    let cri = Cri::new();
    cri.pull("busybox");
    let map = api::IdMapping {
        host_id: 1_000_000,
        container_id: 0,
        length: 65_536,
    };
    let user = api::UserNamespace {
        mode: api::NamespaceMode::Pod.into(),
        uids: vec![map],
        gids: vec![map],
    };
    let namespaces = api::NamespaceOption {
        pid: api::NamespaceMode::Container.into(),
        userns_options: Some(user.clone()),
        ..Default::default()
    };
    let mut config = cri.pod_config("userns");
    config.linux.as_mut().expect("linux").security_context =
        Some(api::LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces.clone()),
            ..Default::default()
        });
    let pod = cri.run_pod(&config);
    let volume = cri.env().path("volume");
    std::fs::create_dir(&volume).expect("a directory");
    let mut container = shell("c", "echo logged; sleep 1000");
    container.linux = Some(secured(|c| c.namespace_options = Some(namespaces)));
    container.mounts.push(api::Mount {
        uid_mappings: vec![map],
        gid_mappings: vec![map],
        ..mount("/volume", &volume)
    });
    // A kubelet has the same mappings for images.
    let layered = cri.pull("layers128");
    let user_image = cri.pull("user");
    for (inside, of, sub_path) in [
        ("/whole", &layered, ""),
        ("/part", &user_image, "bin"),
        ("/other", &user_image, ""),
    ] {
        container.mounts.push(api::Mount {
            container_path: inside.into(),
            image: Some(image(of)),
            image_sub_path: sub_path.into(),
            readonly: true,
            uid_mappings: vec![map],
            gid_mappings: vec![map],
            ..Default::default()
        });
    }
    let id = cri.run(&pod, &config, container);
    assert_eq!(
        cri.sh(&id, "stat -c %u /whole /part/busybox /other/etc/passwd; /other/bin/busybox echo ran; cmp /part/busybox /bin/busybox && echo same"),
        "0\n0\n0\nran\nsame"
    );
    assert_eq!(
        cri.sh(&id, "id -u; cat /proc/self/uid_map | tr -s ' '"),
        "0\n 0 1000000 65536"
    );
    assert_eq!(
        cri.sh(&id, "touch /x && stat -c %u /x /bin/busybox"),
        "0\n0"
    );
    // What root writes to a volume is root's on the host, and is seen as root's inside.
    cri.sh(&id, "echo kept > /volume/file");
    let owner = std::os::unix::fs::MetadataExt::uid(
        &std::fs::metadata(volume.join("file")).expect("written"),
    );
    assert_eq!(owner, 0);
    assert_eq!(cri.sh(&id, "stat -c %u /volume/file"), "0");
    assert_eq!(
        cri.sh(
            &id,
            "cat /etc/hostname; id -u > /dev/shm/id; cat /dev/shm/id"
        ),
        "userns\n0"
    );
    // Outside it is nobody in particular.
    let outside = cri.env().processes_of(&id).into_iter().map(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("Uid:\t"));
        line.unwrap_or_default().to_owned()
    });
    assert!(
        outside
            .into_iter()
            .any(|uids| uids.starts_with("1000000\t"))
    );
    cri.wait_log(Path::new(&cri.status(&id).log_path), "logged");
    let told = cri
        .pod_status(&pod)
        .linux
        .expect("linux")
        .namespaces
        .expect("namespaces");
    assert_eq!(told.options.expect("options").userns_options, Some(user));
    cri.stop(&id, 0);
    let handlers = cri
        .runtime(async |c| c.status(api::StatusRequest::default()).await)
        .expect("Status")
        .runtime_handlers;
    let features = handlers[0].features.expect("features");
    assert!(features.user_namespaces && features.recursive_read_only_mounts);
    cri.remove_pod(&pod);
    cri.assert_no_leftovers();
}

#[test]
fn profiles_that_the_kernel_does_not_enforce_are_refused() {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if enabled.is_ok_and(|answer| answer.starts_with('Y')) {
        eprintln!("this kernel has AppArmor");
        return;
    }
    let pod = Pod::new("profiles");
    let with = |profile: api::security_profile::ProfileType, name: &str| api::ContainerConfig {
        linux: Some(secured(|c| {
            c.apparmor = Some(api::SecurityProfile {
                profile_type: profile.into(),
                localhost_ref: name.into(),
            });
        })),
        ..shell("c", "true")
    };
    use api::security_profile::ProfileType::{Localhost, RuntimeDefault, Unconfined};
    for named in [with(Localhost, "k8s-apparmor"), with(RuntimeDefault, "")] {
        let said = pod.refused(named);
        assert!(said.contains("AppArmor is not supported"), "{said}");
    }
    assert!(pod.cri.containers(None).is_empty());
    pod.create(with(Unconfined, ""));
}

#[test]
fn system_calls_are_filtered_as_the_profile_says() {
    use api::security_profile::ProfileType::{Localhost, RuntimeDefault, Unconfined};
    let pod = Pod::new("seccomp");
    let file = pod.dir("profiles").join("no-mkdir.json");
    let profile = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    });
    std::fs::write(&file, profile.to_string()).expect("a file");
    let with = |name: &str, profile: Option<(api::security_profile::ProfileType, &Path)>| {
        sleeper(name, |context| {
            context.seccomp = profile.map(|(kind, path)| api::SecurityProfile {
                profile_type: kind.into(),
                localhost_ref: path.to_string_lossy().into_owned(),
            });
        })
    };
    let told = |config: api::ContainerConfig| {
        let script = "grep -w Seccomp: /proc/1/status | cut -f2; mkdir /d 2>/dev/null && echo made";
        let id = pod.run(config);
        let done = pod.cri.try_exec(&id, &["sh", "-c", script], 10);
        rctr_tests::cri::text(&done.expect("ExecSync").stdout)
    };
    assert_eq!(told(with("unsaid", None)), "0\nmade\n");
    let nowhere = Path::new("");
    let unconfined = with("unconfined", Some((Unconfined, nowhere)));
    assert_eq!(told(unconfined), "0\nmade\n");
    let usual = with("usual", Some((RuntimeDefault, nowhere)));
    assert_eq!(told(usual), "2\nmade\n");
    assert_eq!(told(with("own", Some((Localhost, &file)))), "2\n");
    let missing = with("missing", Some((Localhost, Path::new("/nosuch.json"))));
    let outcome = pod.cri.try_create(&pod.id, &pod.config, missing);
    let said = outcome.expect_err("no such profile");
    assert!(said.message().contains("/nosuch.json"), "{said:?}");
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
fn processes_of_another_pod_s_container_are_not_to_be_had() {
    let pod = Pod::new("mine");
    let config = pod.cri.pod_config("other");
    let other = pod.cri.run_pod(&config);
    let target = pod.cri.run(&other, &config, shell("target", "sleep 1000"));
    let id = pod.create(sleeper("debugger", |context| {
        context.namespace_options = Some(api::NamespaceOption {
            pid: api::NamespaceMode::Target.into(),
            target_id: target.clone(),
            ..Default::default()
        });
    }));
    let said = refused(pod.cri.try_start(&id), Code::InvalidArgument);
    assert!(said.contains("another pod"), "{said}");
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
