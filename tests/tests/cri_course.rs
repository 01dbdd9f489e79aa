//! Manifests like those of a Kubernetes course, as the calls that a kubelet makes of them.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rctr_cri::api;
use rctr_tests::cri::{Cri, Pod, container, mount, run_alone, shell};
use rctr_tests::{http_get, wait_for};

#[test]
fn containers_of_a_pod_share_its_network_and_names() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("shared");
    let pod = cri.run_pod(&config);
    let web = "echo from one > /tmp/index.html; exec httpd -f -p 8080 -h /tmp";
    let first = cri.run(&pod, &config, shell("first", web));
    wait_for("the first server", || {
        cri.try_exec(&first, &["wget", "-qO-", "http://127.0.0.1:8080/"], 5)
            .is_ok_and(|done| done.exit_code == 0)
    });
    let second = cri.run(&pod, &config, shell("second", "exec httpd -f -p 8080"));
    let ended = cri.wait_exit(&second);
    assert_ne!(ended.exit_code, 0, "the port is taken");
    let log = std::fs::read_to_string(&ended.log_path).expect("a log");
    assert!(log.contains("Address already in use"), "{log}");

    assert_eq!(cri.sh(&first, "hostname"), "shared");
    let ip = cri.pod_status(&pod).network.expect("network").ip;
    assert!(cri.sh(&first, "ip -4 addr show eth0").contains(&ip));
    let page = || {
        let page = http_get((ip.as_str(), 8080), "/").expect("reachable from the host");
        page.body.trim().to_owned()
    };
    assert_eq!(page(), "from one");
    let hosts = cri.sh(&first, "cat /etc/hosts");
    assert!(hosts.contains(&ip) && hosts.contains("shared"), "{hosts}");

    // It is restarted, and fails again, until the first one makes way.
    let server = "echo from two > /tmp/index.html; exec httpd -f -p 8080 -h /tmp";
    let attempt = |attempt: u32| {
        let mut config_again = shell("second", server);
        config_again.metadata.as_mut().expect("metadata").attempt = attempt;
        cri.run(&pod, &config, config_again)
    };
    let again = attempt(1);
    assert_ne!(cri.wait_exit(&again).exit_code, 0);
    cri.stop(&first, 0);
    let third = attempt(2);
    wait_for("the second server", || {
        http_get((ip.as_str(), 8080), "/").is_ok_and(|page| page.body.trim() == "from two")
    });
    assert_eq!(
        cri.status(&third).state(),
        api::ContainerState::ContainerRunning
    );
}

#[test]
fn replicas_start_at_once() {
    let cri = Cri::new();
    cri.pull("busybox");
    let configs: Vec<_> = (0..4)
        .map(|n| cri.pod_config(&format!("replica{n}")))
        .collect();
    let started = configs.iter().map(|config| {
        let client = cri.runtime_client();
        run_alone(
            client,
            config.clone(),
            container("main", "busybox", &["sleep", "1000"]),
        )
    });
    for outcome in cri.wait(futures_util::future::join_all(started)) {
        outcome.expect("a replica");
    }
    let running = cri.containers(Some(api::ContainerFilter {
        state: Some(api::ContainerStateValue {
            state: api::ContainerState::ContainerRunning.into(),
        }),
        ..Default::default()
    }));
    assert_eq!(running.len(), 4);
    let mut ips: Vec<_> = cri
        .pods(None)
        .iter()
        .map(|pod| cri.pod_status(&pod.id).network.expect("network").ip)
        .collect();
    ips.sort();
    ips.dedup();
    assert_eq!(ips.len(), 4);
}

#[test]
fn an_empty_directory_is_shared_inside_a_pod_and_not_between_pods() {
    let pod = Pod::new("first");
    let with = |name: &str, volume: &Path| api::ContainerConfig {
        mounts: vec![mount("/cache", volume)],
        ..shell(name, "sleep 1000")
    };
    let volume = pod.dir("first-volume");
    let writer = pod.run(with("writer", &volume));
    let reader = pod.run(with("reader", &volume));
    pod.cri.sh(&writer, "echo shared > /cache/file");
    assert_eq!(pod.cri.sh(&reader, "cat /cache/file"), "shared");
    // What is not on a volume is each container's own.
    pod.cri.sh(&writer, "echo own > /tmp/file");
    assert_eq!(pod.cri.sh(&reader, "ls /tmp"), "");

    let config = pod.cri.pod_config("second");
    let second = pod.cri.run_pod(&config);
    let other = with("writer", &pod.dir("second-volume"));
    let other = pod.cri.run(&second, &config, other);
    assert_eq!(pod.cri.sh(&other, "ls /cache"), "");
    // A container that is made anew finds the volume as it was.
    pod.cri.stop(&writer, 0);
    pod.cri.remove(&writer);
    let mut again = with("writer", &volume);
    again.metadata.as_mut().expect("metadata").attempt = 1;
    assert_eq!(pod.cri.sh(&pod.run(again), "cat /cache/file"), "shared");
}

#[test]
fn secrets_are_files_and_variables_byte_for_byte() {
    let pod = Pod::new("secrets");
    let volume = pod.dir("secret");
    let value = b"p\xe4ss\xff\x80 =\n$HOME\\";
    std::fs::create_dir(volume.join("..1")).expect("a directory");
    std::fs::write(volume.join("..1/password"), value).expect("a file");
    let mode = std::fs::Permissions::from_mode(0o400);
    std::fs::set_permissions(volume.join("..1/password"), mode).expect("its owner");
    symlink("..1", volume.join("..data")).expect("a link");
    symlink("..data/password", volume.join("password")).expect("a link");
    let variable = |key: &str, value: &[u8]| api::KeyValue {
        key: key.into(),
        value: value.into(),
    };
    let script = "printf %s \"$PASSWORD\" | cmp - /etc/secret/password && echo same; stat -Lc %a /etc/secret/password; echo \"$PLAIN\"; sleep 1000";
    let mut config = shell("c", script);
    config.envs = vec![
        variable("PASSWORD", value),
        variable("PLAIN", "plain, and ä".as_bytes()),
    ];
    config.mounts = vec![api::Mount {
        readonly: true,
        ..mount("/etc/secret", &volume)
    }];
    let id = pod.run(config.clone());
    let log = pod.cri.status(&id).log_path;
    let log = pod.cri.wait_log(Path::new(&log), "plain, and ä");
    assert!(log.contains("F same") && log.contains("F 400"), "{log}");
    // A command that is run later has them, too.
    let again = "printf %s \"$PASSWORD\" | cmp - /etc/secret/password && echo same";
    assert_eq!(pod.cri.sh(&id, again), "same");

    let mut nul = shell("nul", "true");
    nul.envs = vec![variable("X", b"a\0b")];
    let said = pod.refused(nul);
    assert!(said.contains("\"X\": a NUL byte"), "{said}");
}

#[test]
fn a_probe_that_starts_to_fail_leads_to_another_attempt() {
    let pod = Pod::new("probed");
    let config = shell("c", "touch /tmp/healthy; exec sleep 1000");
    let id = pod.run(config.clone());
    let probe = |id: &str| {
        let done = pod.cri.try_exec(id, &["cat", "/tmp/healthy"], 5);
        done.expect("ExecSync").exit_code
    };
    wait_for("the probe to succeed", || probe(&id) == 0);
    pod.cri.sh(&id, "rm /tmp/healthy");
    assert_eq!(probe(&id), 1);
    pod.cri.stop(&id, 0);
    let mut next = config;
    next.metadata.as_mut().expect("metadata").attempt = 1;
    let next = pod.run(next);
    wait_for("the probe to succeed again", || probe(&next) == 0);
    let attempts = pod.cri.containers(None).into_iter();
    let mut attempts: Vec<u32> = attempts
        .map(|c| c.metadata.expect("metadata").attempt)
        .collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [0, 1], "the dead one stays until it is removed");
}

#[test]
fn an_evicted_pod_ends_at_once_and_can_still_be_looked_at() {
    let pod = Pod::new("evicted");
    let script = "trap '' TERM; echo last words; while :; do sleep 0.1; done";
    let one = pod.run(shell("one", script));
    let two = pod.run(shell("two", script));
    let logs = [&one, &two].map(|id| pod.cri.status(id).log_path);
    for log in &logs {
        pod.cri.wait_log(Path::new(log), "last words");
    }
    for id in [&one, &two] {
        pod.cri.stop(id, 0);
    }
    pod.cri.stop_pod(&pod.id);
    for id in [&one, &two] {
        let ended = pod.cri.status(id);
        assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "Error"));
        assert!(ended.finished_at > ended.started_at);
    }
    let told = pod.cri.pod_status(&pod.id);
    assert_eq!(told.state(), api::PodSandboxState::SandboxNotready);
    // The logs are the kubelet's, as long as it wants them.
    pod.cri.remove_pod(&pod.id);
    for log in logs {
        let text = std::fs::read_to_string(log).expect("the log");
        assert!(text.contains("last words"), "{text}");
    }
}

#[test]
fn a_shell_with_a_terminal_waits_for_its_reader() {
    let pod = Pod::new("shell");
    let mut config = container("sh", "busybox", &["sh"]);
    config.stdin = true;
    config.tty = true;
    let id = pod.run(config);
    assert_eq!(
        pod.cri.sh(&id, "test -t 0 </proc/1/fd/0 && echo terminal"),
        "terminal"
    );
    assert_eq!(
        pod.cri.status(&id).state(),
        api::ContainerState::ContainerRunning
    );
    // Without one it reads the end of its input at once.
    let closed = pod.run(container("closed", "busybox", &["sh"]));
    assert_eq!(pod.cri.wait_exit(&closed).exit_code, 0);
}
