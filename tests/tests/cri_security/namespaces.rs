//! Whose processes are seen, and user namespaces.

use std::path::Path;

use rctr_cri::api;
use rctr_tests::cri::{Cri, Pod, image, mount, refused, secured, shell};
use tonic::Code;

use super::sleeper;

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

/// A pod's user namespace: its mapping, alone and among the options of namespaces.
fn of_users() -> (api::IdMapping, api::UserNamespace, api::NamespaceOption) {
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
    (map, user, namespaces)
}

#[test]
fn user_namespaces_map_owners() {
    let cri = Cri::new();
    cri.pull("busybox");
    let (map, user, namespaces) = of_users();
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

/// `hostUsers: false` with `privileged: true`: all capabilities, over nothing of the host's.
#[test]
fn a_privileged_container_may_have_a_user_namespace() {
    let cri = Cri::new();
    cri.pull("busybox");
    let (_, _, namespaces) = of_users();
    let mut config = cri.pod_config("usernspriv");
    config.linux.as_mut().expect("linux").security_context =
        Some(api::LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces.clone()),
            privileged: true,
            ..Default::default()
        });
    let pod = cri.run_pod(&config);
    let mut container = shell("c", "sleep 1000");
    container.linux = Some(secured(|context| {
        context.privileged = true;
        context.namespace_options = Some(namespaces);
    }));
    let id = cri.run(&pod, &config, container);
    let script = "tr -s ' ' < /proc/self/uid_map
        echo > /dev/null && head -c 1 /dev/zero | wc -c && test -c /dev/tty && echo devices
        mount -t tmpfs none /tmp && echo mounted
        (echo 1 > /proc/sys/vm/swappiness) 2>/dev/null || echo no";
    assert_eq!(
        cri.sh(&id, script),
        " 0 1000000 65536\n1\ndevices\nmounted\nno"
    );
}
