//! Containers of pods: their states, what they are given, and how they end.

use std::path::Path;
use std::time::{Duration, Instant};

use rctr_cri::api;
use rctr_tests::cri::{Cri, container, map, refused, shell};
use rctr_tests::{Mounted, wait_for};
use tonic::Code;

/// A pod with busybox at hand.
struct Pod {
    cri: Cri,
    config: api::PodSandboxConfig,
    id: String,
}

impl Pod {
    fn new(name: &str) -> Self {
        let cri = Cri::new();
        cri.pull("busybox");
        let config = cri.pod_config(name);
        let id = cri.run_pod(&config);
        Self { cri, config, id }
    }

    fn create(&self, config: api::ContainerConfig) -> String {
        self.cri.create(&self.id, &self.config, config)
    }

    fn run(&self, config: api::ContainerConfig) -> String {
        self.cri.run(&self.id, &self.config, config)
    }

    /// Runs a script to its end: what it wrote to its log, without the log's own words.
    fn output(&self, config: api::ContainerConfig) -> String {
        let id = self.run(config);
        let ended = self.cri.wait_exit(&id);
        let log = std::fs::read_to_string(&ended.log_path).expect("a log");
        let text = |line: &str| line.splitn(4, ' ').nth(3).map(str::to_owned);
        log.lines().filter_map(text).collect::<Vec<_>>().join("\n")
    }
}

fn mount(inside: &str, host: &Path) -> api::Mount {
    api::Mount {
        container_path: inside.into(),
        host_path: host.to_string_lossy().into_owned(),
        ..Default::default()
    }
}

fn limits(change: impl FnOnce(&mut api::LinuxContainerResources)) -> api::LinuxContainerConfig {
    let mut resources = api::LinuxContainerResources::default();
    change(&mut resources);
    api::LinuxContainerConfig {
        resources: Some(resources),
        ..Default::default()
    }
}

fn secured(
    change: impl FnOnce(&mut api::LinuxContainerSecurityContext),
) -> api::LinuxContainerConfig {
    let mut context = api::LinuxContainerSecurityContext::default();
    change(&mut context);
    api::LinuxContainerConfig {
        security_context: Some(context),
        ..Default::default()
    }
}

#[test]
fn a_container_is_told_as_it_was_asked_for() {
    let pod = Pod::new("told");
    let mut config = shell("main", "sleep 1000");
    config.annotations = map(&[("a/b", "c")]);
    let data = pod.cri.env().path("data");
    std::fs::create_dir(&data).expect("a directory");
    config.mounts.push(api::Mount {
        readonly: true,
        ..mount("/data", &data)
    });
    let id = pod.run(config.clone());
    let status = pod.cri.status(&id);
    assert_eq!(status.id, id);
    assert_eq!(status.metadata, config.metadata);
    assert_eq!(status.labels, config.labels);
    assert_eq!(status.annotations, config.annotations);
    assert_eq!(status.mounts, config.mounts);
    assert_eq!(status.stop_signal(), api::Signal::Sigterm);
    let listed = pod.cri.containers(None);
    assert_eq!(listed.len(), 1);
    let listed = &listed[0];
    assert_eq!((&listed.id, &listed.pod_sandbox_id), (&id, &pod.id));
    assert_eq!(listed.state(), api::ContainerState::ContainerRunning);
    assert_eq!(listed.image_ref, status.image_ref);
    assert_eq!(listed.created_at, status.created_at);
    assert_eq!(pod.cri.status(&id[..13]).id, id, "a prefix does");
}

#[test]
fn lists_are_filtered() {
    let pod = Pod::new("filters");
    let created = pod.create(shell("one", "true"));
    let running = pod.run(shell("two", "sleep 1000"));
    let ended = pod.run(shell("three", "true"));
    pod.cri.wait_exit(&ended);
    let found = |filter: api::ContainerFilter| -> Vec<String> {
        let found = pod.cri.containers(Some(filter)).into_iter();
        found.map(|container| container.id).collect()
    };
    let none = api::ContainerFilter::default;
    assert_eq!(found(none()).len(), 3);
    for (state, id) in [
        (api::ContainerState::ContainerCreated, &created),
        (api::ContainerState::ContainerRunning, &running),
        (api::ContainerState::ContainerExited, &ended),
    ] {
        let state = Some(api::ContainerStateValue {
            state: state.into(),
        });
        assert_eq!(
            found(api::ContainerFilter { state, ..none() }),
            std::slice::from_ref(id)
        );
    }
    let by_pod = |id: &str| api::ContainerFilter {
        pod_sandbox_id: id.into(),
        ..none()
    };
    assert_eq!(found(by_pod(&pod.id)).len(), 3);
    assert!(found(by_pod("nosuch")).is_empty());
    let by_label = api::ContainerFilter {
        label_selector: map(&[("container", "two")]),
        ..none()
    };
    assert_eq!(found(by_label), std::slice::from_ref(&running));
    let by_id = api::ContainerFilter {
        id: running[..12].into(),
        ..none()
    };
    assert_eq!(found(by_id), [running]);
}

#[test]
fn ends_have_their_code_and_reason() {
    let pod = Pod::new("ends");
    let end = |name: &str, script: &str| {
        let id = pod.run(shell(name, script));
        let ended = pod.cri.wait_exit(&id);
        (ended.exit_code, ended.reason)
    };
    assert_eq!(end("good", "exit 0"), (0, "Completed".into()));
    assert_eq!(end("bad", "exit 42"), (42, "Error".into()));
    let id = pod.run(shell("killed", "sleep 1000"));
    pod.cri.stop(&id, 0);
    let ended = pod.cri.status(&id);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "Error"));
}

#[test]
fn want_of_memory_is_told() {
    let pod = Pod::new("oom");
    let mut config = shell("greedy", "exec tail /dev/zero");
    config.linux = Some(limits(|l| {
        l.memory_limit_in_bytes = 20 << 20;
        l.memory_swap_limit_in_bytes = 20 << 20;
    }));
    let id = pod.run(config);
    let ended = pod.cri.wait_exit(&id);
    assert_eq!((ended.exit_code, ended.reason.as_str()), (137, "OOMKilled"));
}

#[test]
fn a_start_that_fails_says_why() {
    let pod = Pod::new("nostart");
    let id = pod.create(container("c", "busybox", &["/nosuch-command"]));
    let said = pod.cri.try_start(&id).expect_err("no such command");
    assert!(said.message().contains("/nosuch-command"), "{said:?}");
    let status = pod.cri.status(&id);
    assert_eq!(status.state(), api::ContainerState::ContainerExited);
    assert_eq!(status.reason, "StartError");
    assert!(status.exit_code != 0 && status.message.contains("/nosuch-command"));
    pod.cri.remove(&id);
}

#[test]
fn a_container_is_started_once() {
    let pod = Pod::new("once");
    let id = pod.run(shell("c", "sleep 0.2"));
    pod.cri.start_container(&id);
    pod.cri.wait_exit(&id);
    refused(pod.cri.try_start(&id), Code::FailedPrecondition);
}

#[test]
fn a_container_asked_for_again_is_the_one_there_is() {
    let pod = Pod::new("again");
    let id = pod.create(shell("c", "sleep 1000"));
    assert_eq!(pod.create(shell("c", "sleep 1000")), id);
    let other = pod
        .cri
        .try_create(&pod.id, &pod.config, shell("c", "sleep 2000"));
    refused(other, Code::AlreadyExists);
    pod.cri.remove(&id);
    assert_ne!(pod.create(shell("c", "sleep 1000")), id);
}

#[test]
fn command_and_arguments_as_kubernetes_has_them() {
    let pod = Pod::new("words");
    pod.cri.pull("entrypoint");
    let told = |name: &str, command: &[&str], args: &[&str]| {
        let mut config = container(name, "entrypoint", command);
        config.args = args.iter().map(|a| (*a).to_owned()).collect();
        let id = pod.create(config);
        let request = api::ContainerStatusRequest {
            container_id: id,
            verbose: true,
        };
        let answer = pod
            .cri
            .runtime(async |c| c.container_status(request).await)
            .expect("ContainerStatus");
        let info: serde_json::Value = serde_json::from_str(&answer.info["info"]).expect("JSON");
        let process = &info["process"];
        let mut words = vec![process["path"].as_str().expect("a path").to_owned()];
        let args = process["args"].as_array().expect("words").iter();
        words.extend(args.map(|word| word.as_str().expect("a word").to_owned()));
        words
    };
    let whole = told("image", &[], &[]);
    assert!(whole.len() >= 2, "{whole:?}");
    let args = told("args", &[], &["x"]);
    assert_eq!(args.last().map(String::as_str), Some("x"));
    assert_eq!(args[0], whole[0], "the entry point stays");
    assert_eq!(
        told("command", &["y"], &[]),
        ["y"],
        "and the image's words go"
    );
    assert_eq!(told("both", &["y"], &["z"]), ["y", "z"]);
}

#[test]
fn environment_and_directory() {
    let pod = Pod::new("env");
    let mut config = shell(
        "c",
        "echo \"$SECRET\"; pwd; printf %s \"$BYTES\" | od -An -tx1",
    );
    config.envs = vec![
        api::KeyValue {
            key: "SECRET".into(),
            value: "s3cret $NOT expanded".into(),
        },
        api::KeyValue {
            key: "BYTES".into(),
            value: "ä\n".into(),
        },
    ];
    config.working_dir = "/var/spool".into();
    let output = pod.output(config);
    assert_eq!(output, "s3cret $NOT expanded\n/var/spool\n c3 a4 0a");
}

#[test]
fn directories_are_shared_inside_a_pod() {
    let pod = Pod::new("volumes");
    let volume = pod.cri.env().path("empty-dir");
    std::fs::create_dir(&volume).expect("a directory");
    let with = |name: &str, read_only: bool| {
        let mut config = shell(name, "sleep 1000");
        config.mounts.push(api::Mount {
            readonly: read_only,
            ..mount("/cache", &volume)
        });
        config
    };
    let writer = pod.run(with("writer", false));
    let reader = pod.run(with("reader", true));
    pod.cri.sh(&writer, "echo shared > /cache/file");
    assert_eq!(pod.cri.sh(&reader, "cat /cache/file"), "shared");
    let refused = pod
        .cri
        .try_exec(&reader, &["touch", "/cache/other"], 5)
        .expect("ExecSync");
    assert_ne!(refused.exit_code, 0);
}

#[test]
fn configuration_files_follow_their_links() {
    let pod = Pod::new("configmap");
    let volume = pod.cri.env().path("config-map");
    let version = |name: &str, text: &str| {
        std::fs::create_dir_all(volume.join(name)).expect("a directory");
        std::fs::write(volume.join(name).join("app.conf"), text).expect("a file");
    };
    version("..1", "one");
    std::os::unix::fs::symlink("..1", volume.join("..data")).expect("a link");
    std::os::unix::fs::symlink("..data/app.conf", volume.join("app.conf")).expect("a link");
    let mut config = shell("c", "sleep 1000");
    config.mounts.push(api::Mount {
        readonly: true,
        ..mount("/etc/app", &volume)
    });
    // What subPath does: the kubelet names the file behind the links.
    config
        .mounts
        .push(mount("/etc/one.conf", &volume.join("app.conf")));
    let id = pod.run(config);
    assert_eq!(
        pod.cri.sh(&id, "cat /etc/app/app.conf /etc/one.conf"),
        "oneone"
    );
    version("..2", "two");
    std::os::unix::fs::symlink("..2", volume.join("..new")).expect("a link");
    std::fs::rename(volume.join("..new"), volume.join("..data")).expect("renamed");
    assert_eq!(pod.cri.sh(&id, "cat /etc/app/app.conf"), "two");
}

#[test]
fn mounts_that_make_no_sense_are_refused() {
    let pod = Pod::new("badmounts");
    let refuse = |mount: api::Mount| {
        let mut config = shell("c", "true");
        config.mounts.push(mount);
        let outcome = pod.cri.try_create(&pod.id, &pod.config, config);
        refused(outcome, Code::InvalidArgument)
    };
    refuse(api::Mount {
        container_path: "/x".into(),
        ..Default::default()
    });
    let said = refuse(api::Mount {
        recursive_read_only: true,
        ..mount("/x", Path::new("/tmp"))
    });
    assert!(said.contains("/x"), "{said}");
    assert!(
        pod.cri.containers(None).is_empty(),
        "no name stays reserved"
    );
}

#[test]
fn a_deaf_process_is_killed_when_its_time_is_up() {
    let pod = Pod::new("deaf");
    let id = pod.run(shell(
        "c",
        "trap '' TERM; echo ready; while :; do sleep 0.1; done",
    ));
    pod.cri
        .wait_log(Path::new(&pod.cri.status(&id).log_path), "ready");
    let began = Instant::now();
    pod.cri.stop(&id, 1);
    assert!(began.elapsed() >= Duration::from_secs(1));
    let ended = pod.cri.status(&id);
    assert_eq!(ended.exit_code, 137);
    pod.cri.stop(&id, 1);
}

#[test]
fn the_stop_signal_is_the_containers() {
    let pod = Pod::new("signal");
    let script = "trap 'exit 5' USR1; echo ready; while :; do sleep 0.1; done";
    let mut config = shell("c", script);
    config.stop_signal = api::Signal::Sigusr1.into();
    let id = pod.run(config);
    let status = pod.cri.status(&id);
    assert_eq!(status.stop_signal(), api::Signal::Sigusr1);
    pod.cri.wait_log(Path::new(&status.log_path), "ready");
    pod.cri.stop(&id, 20);
    assert_eq!(pod.cri.status(&id).exit_code, 5);
}

#[test]
fn a_command_whose_time_is_up_is_killed_whole() {
    let pod = Pod::new("timeout");
    let id = pod.run(shell("c", "sleep 1000"));
    let began = Instant::now();
    let outcome = pod
        .cri
        .try_exec(&id, &["sh", "-c", "sleep 4321 & sleep 4322"], 1);
    refused(outcome, Code::DeadlineExceeded);
    assert!(began.elapsed() < Duration::from_secs(10));
    wait_for("all of the command to be gone", || {
        let processes = pod.cri.sh(&id, "ps -o args");
        !processes.contains("sleep 432")
    });
    assert_eq!(
        pod.cri.status(&id).state(),
        api::ContainerState::ContainerRunning
    );
}

#[test]
fn commands_run_to_their_end() {
    let pod = Pod::new("exec");
    let id = pod.run(shell("c", "sleep 1000"));
    let run = |words: &[&str]| pod.cri.try_exec(&id, words, 10).expect("ExecSync");
    assert_eq!(run(&["true"]).exit_code, 0);
    assert_eq!(run(&["sh", "-c", "exit 9"]).exit_code, 9);
    let missing = run(&["/nosuch"]);
    assert_eq!(missing.exit_code, 127);
    assert!(!missing.stderr.is_empty());
    // Nothing to read, and no terminal.
    assert_eq!(run(&["cat"]).stdout, b"");
    // What stays in the background holds nobody up.
    let began = Instant::now();
    assert_eq!(run(&["sh", "-c", "sleep 5 & echo done"]).stdout, b"done\n");
    assert!(began.elapsed() < Duration::from_secs(4));
    let flood = run(&["sh", "-c", "head -c 20000000 /dev/zero"]);
    assert_eq!(flood.exit_code, 0);
    assert!(
        (1 << 20..=16 << 20).contains(&flood.stdout.len()),
        "{}",
        flood.stdout.len()
    );
    refused(pod.cri.try_exec(&id, &[], 1), Code::InvalidArgument);
    pod.cri.stop(&id, 0);
    refused(
        pod.cri.try_exec(&id, &["true"], 1),
        Code::FailedPrecondition,
    );
}

#[test]
fn logs_are_reopened_when_they_are_rotated() {
    let pod = Pod::new("rotate");
    let id = pod.run(shell(
        "c",
        "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.05; done",
    ));
    let log = pod.cri.status(&id).log_path;
    pod.cri.wait_log(Path::new(&log), "line 2\n");
    let rotated = format!("{log}.1");
    std::fs::rename(&log, &rotated).expect("renamed");
    let container_id = id.clone();
    pod.cri
        .runtime(async |c| {
            c.reopen_container_log(api::ReopenContainerLogRequest { container_id })
                .await
        })
        .expect("ReopenContainerLog");
    let fresh = pod.cri.wait_log(Path::new(&log), "line");
    let first: u32 = fresh
        .lines()
        .next()
        .and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .expect("a number");
    let old = std::fs::read_to_string(&rotated).expect("the old log");
    assert!(
        old.contains(&format!("line {}\n", first - 1)),
        "nothing is lost"
    );
    pod.cri.stop(&id, 0);
    let container_id = id.clone();
    let outcome = pod.cri.runtime(async |c| {
        c.reopen_container_log(api::ReopenContainerLogRequest { container_id })
            .await
    });
    refused(outcome, Code::FailedPrecondition);
}

#[test]
fn long_lines_are_logged_in_parts() {
    let pod = Pod::new("long");
    let id = pod.run(shell(
        "c",
        "head -c 40000 /dev/zero | tr '\\0' x; echo; echo end",
    ));
    let ended = pod.cri.wait_exit(&id);
    let log = std::fs::read_to_string(&ended.log_path).expect("a log");
    let tags: Vec<_> = log.lines().filter_map(|l| l.split(' ').nth(2)).collect();
    assert_eq!(tags, ["P", "P", "F", "F"]);
    let parts = log.lines().filter_map(|l| l.split(' ').nth(3));
    let length: usize = parts.filter(|p| p.starts_with('x')).map(str::len).sum();
    assert_eq!(length, 40_000);
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
fn limits_are_set_told_and_changed() {
    let pod = Pod::new("limits");
    let mut config = shell("c", "sleep 1000");
    config.linux = Some(limits(|l| {
        l.cpu_period = 100_000;
        l.cpu_quota = 80_000;
        l.cpu_shares = 102;
        l.memory_limit_in_bytes = 20 << 20;
        l.memory_swap_limit_in_bytes = 20 << 20;
        l.oom_score_adj = 900;
        l.hugepage_limits = vec![api::HugepageLimit {
            page_size: "2MB".into(),
            limit: 0,
        }];
    }));
    let id = pod.run(config.clone());
    let told = || {
        let resources = pod.cri.status(&id).resources.expect("resources");
        resources.linux.expect("linux")
    };
    assert_eq!(Some(told()), config.linux.and_then(|l| l.resources));
    assert_eq!(pod.cri.sh(&id, "cat /proc/1/oom_score_adj"), "900");
    let request = api::UpdateContainerResourcesRequest {
        container_id: id.clone(),
        linux: Some(api::LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: 50_000,
            memory_limit_in_bytes: 40 << 20,
            memory_swap_limit_in_bytes: 40 << 20,
            ..Default::default()
        }),
        ..Default::default()
    };
    pod.cri
        .runtime(async |c| c.update_container_resources(request).await)
        .expect("UpdateContainerResources");
    let now = told();
    assert_eq!(
        (now.cpu_quota, now.memory_limit_in_bytes),
        (50_000, 40 << 20)
    );
    assert_eq!(now.cpu_shares, 102, "what nobody names stays");
}

#[test]
fn read_only_may_be_recursive() {
    let pod = Pod::new("rro");
    let top = pod.cri.env().path("rro");
    std::fs::create_dir_all(top.join("below")).expect("a directory");
    let _below = Mounted::tmpfs(&top.join("below"), "1m");
    let with = |name: &str, recursive: bool| {
        let mut config = shell(name, "sleep 1000");
        config.mounts.push(api::Mount {
            readonly: true,
            recursive_read_only: recursive,
            ..mount("/data", &top)
        });
        config
    };
    let shallow = pod.run(with("shallow", false));
    let deep = pod.run(with("deep", true));
    let writes = |id: &str, path: &str| {
        let done = pod.cri.try_exec(id, &["touch", path], 5).expect("ExecSync");
        done.exit_code == 0
    };
    assert!(!writes(&shallow, "/data/x") && !writes(&deep, "/data/x"));
    assert!(writes(&shallow, "/data/below/x"));
    assert!(!writes(&deep, "/data/below/y"));
    assert!(pod.cri.status(&deep).mounts[0].recursive_read_only);
    pod.cri.remove_pod(&pod.id);
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
    let id = cri.run(&pod, &config, container);
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
}
