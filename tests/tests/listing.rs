//! What the listing commands print: columns, templates, JSON, filters.

use rctr_tests::{Env, Output};
use serde_json::{Value as Json, json};

/// Three containers: `up` runs, `done` has exited with 3, `new` was never started.
fn three() -> Env {
    let env = Env::new();
    let flags = [
        "--name",
        "up",
        "-l",
        "role=web",
        "-p",
        "127.0.0.1::80",
        "-v",
        "data:/d",
    ];
    env.run_detached([&flags[..], &["busybox", "sleep", "1000"]].concat());
    env.rctr([
        "run", "--name", "done", "-l", "role=db", "-l", "tier=2", "busybox", "sh", "-c", "exit 3",
    ])
    .exits(3);
    env.rctr(["create", "--name", "new", "entrypoint", "a", "b"])
        .ok();
    env
}

/// The header and the rows of a table, each as its cells.
fn table(out: &Output) -> Vec<Vec<String>> {
    let cells = |line: &String| {
        let cells = line
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty());
        cells.map(str::to_owned).collect()
    };
    out.ok().lines().iter().map(cells).collect()
}

fn names(env: &Env, flags: &[&str]) -> String {
    let out = env.rctr([&["ps", "--format", "{{.Names}}"], flags].concat());
    out.ok().lines().join(" ")
}

#[test]
fn ps_has_dockers_columns() {
    let env = three();
    let rows = table(&env.rctr(["ps", "-a"]));
    assert_eq!(
        rows[0],
        [
            "CONTAINER ID",
            "IMAGE",
            "COMMAND",
            "CREATED",
            "STATUS",
            "PORTS",
            "NAMES"
        ]
    );
    let [new, done, up] = &rows[1..] else {
        panic!("three rows, newest first: {rows:?}");
    };
    assert_eq!(new[1..3], ["entrypoint", "\"/entry.sh a b\""]);
    assert_eq!(new[4..], ["Created", "new"]);
    assert!(
        done[4].starts_with("Exited (3) ") && done[5] == "done",
        "{done:?}"
    );
    assert!(up[4].starts_with("Up ") && up[6] == "up", "{up:?}");
    let port = env.inspect("up")["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"].take();
    assert_eq!(
        up[5],
        format!("127.0.0.1:{}->80/tcp", port.as_str().expect("a port"))
    );
    assert_eq!(up[0].len(), 12);
    let whole = table(&env.rctr(["ps", "--no-trunc"]));
    assert_eq!((whole.len(), whole[1][0].len()), (2, 64));
    assert_eq!(
        env.rctr(["ps", "-s"]).ok().lines()[0]
            .split_whitespace()
            .last(),
        Some("SIZE")
    );
}

#[test]
fn ps_shows_all_last_latest_and_ids() {
    let env = three();
    assert_eq!(names(&env, &[]), "up");
    assert_eq!(names(&env, &["-a"]), "new done up");
    assert_eq!(names(&env, &["-l"]), "new");
    assert_eq!(names(&env, &["-n", "2"]), "new done");
    assert_eq!(names(&env, &["--last=-1"]), "up");
    let id = env.inspect("up")["Id"].as_str().expect("an id").to_owned();
    env.rctr(["ps", "-q"]).ok().stdout_is(&id[..12]);
    env.rctr(["ps", "-q", "--no-trunc"]).ok().stdout_is(&id);
    env.rctr(["container", "ls", "-q"]).stdout();
}

#[test]
fn ps_filters() {
    let env = three();
    let id = env.inspect("done")["Id"]
        .as_str()
        .expect("an id")
        .to_owned();
    for (filters, wanted) in [
        (&["name=u"][..], "up"),
        (&["name=^/?(up|done)$"], "done up"),
        (&["name=up", "name=new"], "new up"),
        (&["label=role"], "done up"),
        (&["label=role=db"], "done"),
        (&["label=role=db", "label=tier=2"], "done"),
        (&["label=role=web", "label=tier"], ""),
        (&["status=exited"], "done"),
        (&["status=created", "status=running"], "new up"),
        (&["exited=3"], "done"),
        (&["exited=0"], ""),
        (&["ancestor=busybox"], "done up"),
        (&["ancestor=entrypoint:latest"], "new"),
        (&["before=done"], "up"),
        (&["since=done"], "new"),
        (&["volume=data"], "up"),
        (&["volume=/d"], "up"),
        (&["network=bridge", "name=up"], "up"),
        (&["publish=80"], ""),
    ] {
        let flags: Vec<_> = filters
            .iter()
            .flat_map(|filter| ["--filter", filter])
            .collect();
        assert_eq!(
            names(&env, &[&["-a"], &flags[..]].concat()),
            wanted,
            "{filters:?}"
        );
    }
    assert_eq!(
        names(&env, &["-a", "-f", &format!("id={}", &id[..6])]),
        "done"
    );
    env.rctr(["ps", "-f", "nosuch=1"])
        .exits(1)
        .stderr_has("nosuch");
    env.rctr(["ps", "-f", "status=asleep"])
        .exits(1)
        .stderr_has("asleep");
    env.rctr(["ps", "-f", "noequals"]).stderr_has("noequals");
}

#[test]
fn templates_and_json() {
    let env = three();
    let ps = |format: &str| env.rctr(["ps", "--format", format]);
    ps("{{.Names}}\\t{{.Image}}: {{.State}}")
        .ok()
        .stdout_is("up\tbusybox: running");
    let rows = table(&ps("table {{.Names}}\\t{{.Image}}\\t{{.Label \"role\"}}"));
    assert_eq!(rows, [["NAMES", "IMAGE", "role"], ["up", "busybox", "web"]]);
    let json = ps("json").json();
    assert_eq!(
        (&json["Names"], &json["State"]),
        (&"up".into(), &"running".into()),
        "{json}"
    );
    assert_eq!(ps("{{json .Names}}").ok().stdout(), "\"up\"");
    ps("{{upper .Names}} {{len .Names}} {{if eq .State \"running\"}}yes{{else}}no{{end}}")
        .ok()
        .stdout_is("UP 2 yes");
    ps("{{.NoSuch}}").exits(1).stderr_has("NoSuch");
    ps("{{.Names").exits(1).stderr_has("template");
    let inspect = |format: &str| env.rctr(["inspect", "-f", format, "up"]);
    inspect("{{.Name}} {{.Config.Image}} {{.State.Running}} {{index .Config.Labels \"role\"}}")
        .ok()
        .stdout_is("/up busybox true web");
    inspect("{{range .Mounts}}{{.Type}}:{{.Destination}}{{end}}")
        .ok()
        .stdout_is("volume:/d");
    inspect("{{range $port, $_ := .NetworkSettings.Ports}}{{$port}}{{end}}")
        .ok()
        .stdout_is("80/tcp");
    inspect("{{json .Config.Cmd}}")
        .ok()
        .stdout_is("[\"sleep\",\"1000\"]");
    inspect("{{printf \"%s-%d\" .Name .State.ExitCode}}")
        .ok()
        .stdout_is("/up-0");
    inspect("{{.State.NoSuch}}").exits(1);
}

#[test]
fn inspect_has_dockers_shape() {
    let env = three();
    let up = env.inspect("up");
    for key in [
        "Id",
        "Created",
        "Path",
        "Args",
        "State",
        "Image",
        "ResolvConfPath",
        "HostnamePath",
        "HostsPath",
        "LogPath",
        "Name",
        "RestartCount",
        "Driver",
        "Platform",
        "HostConfig",
        "Mounts",
        "Config",
        "NetworkSettings",
    ] {
        assert!(up.get(key).is_some(), "no {key}");
    }
    assert_eq!(
        (&up["Path"], &up["Args"][0]),
        (&"sleep".into(), &"1000".into())
    );
    assert!(
        up["Image"]
            .as_str()
            .is_some_and(|image| image.starts_with("sha256:"))
    );
    let network = &up["NetworkSettings"]["Networks"]["bridge"];
    let address = network["IPAddress"].as_str().expect("an address");
    assert!(
        env.slot()
            .subnet()
            .contains(&address.parse::<std::net::Ipv4Addr>().expect("IPv4"))
    );
    let done = env.inspect("done")["State"].take();
    assert_eq!(
        (&done["Status"], &done["ExitCode"], &done["Pid"]),
        (&"exited".into(), &3.into(), &0.into())
    );
    assert!(
        done["StartedAt"].as_str() < done["FinishedAt"].as_str(),
        "{done}"
    );
    env.rctr(["inspect", "nosuch"])
        .exits(1)
        .stdout_is("[]")
        .stderr_has("nosuch");
    let mixed = env.rctr(["inspect", "up", "nosuch", "busybox"]);
    mixed.exits(1).stderr_has("nosuch");
    let mixed = mixed.json();
    assert_eq!(mixed.as_array().map(Vec::len), Some(2));
    assert_eq!(mixed[1]["RepoTags"][0], "busybox:latest");
    env.rctr(["inspect", "--type", "image", "up"]).exits(1);
    env.rctr(["inspect", "--type", "container", "busybox"])
        .exits(1);
    let image = env.rctr(["image", "inspect", "entrypoint"]).ok().json()[0].take();
    assert_eq!(image["Config"]["Entrypoint"][0], "/entry.sh");
    assert_eq!(image["Architecture"], "amd64");
}

#[test]
fn sizes_are_those_of_what_was_written() {
    let env = Env::new();
    let script = "head -c 30000 /dev/zero > /big; rm /bin/vi";
    let words = [
        "run",
        "--name",
        "cc",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
    ];
    env.rctr([&words[..], &[script]].concat()).ok();
    let size = |words: &[&str]| env.rctr(words).ok().json()[0].take();
    let plain = size(&["inspect", "cc"]);
    assert!(plain.get("SizeRw").is_none(), "{plain}");
    let image = size(&["image", "inspect", "busybox"])["Size"]
        .as_i64()
        .expect("a size");
    for words in [
        &["inspect", "--size", "cc"][..],
        &["inspect", "-s", "--type", "container", "cc"],
        &["container", "inspect", "--size", "cc"],
    ] {
        let sized = size(words);
        assert_eq!(sized["SizeRw"], 30_000, "{words:?}");
        assert_eq!(sized["SizeRootFs"], image + 30_000, "{words:?}");
    }
    env.rctr(["ps", "-as", "--format", "{{.Size}}"])
        .ok()
        .stdout_has("30kB (virtual ");
    assert!(
        table(&env.rctr(["ps", "-a", "--size"]))[1]
            .iter()
            .any(|cell| cell.starts_with("30kB (virtual "))
    );
}

#[test]
fn inspect_tells_flags_as_docker_does() {
    let env = Env::new();
    let flags = [
        "--mount=type=tmpfs,dst=/t,tmpfs-size=1m",
        "--mount=type=volume,dst=/v",
        "--tmpfs=/scratch",
        "--cap-add=net_admin",
        "--ulimit=nofile=5",
        "--ulimit=core=0",
        "--env=NOT_ON_THE_HOST",
        "--name=all",
        "--user=nosuch",
    ];
    env.rctr([&["create"], &flags[..], &["busybox", "env"]].concat())
        .ok();
    let all = env.inspect("all");
    let (host, mounts) = (&all["HostConfig"], &all["Mounts"]);
    assert_eq!(host["Binds"], Json::Null);
    assert_eq!(
        host["Mounts"],
        json!([
            {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1048576}},
            {"Type": "volume", "Target": "/v"},
        ])
    );
    assert_eq!(host["Tmpfs"], json!({"/scratch": ""}));
    let shown: Vec<&Json> = mounts
        .as_array()
        .expect("a list")
        .iter()
        .map(|mount| &mount["Destination"])
        .collect();
    assert_eq!(shown, ["/t", "/v"], "a --tmpfs is no mount");
    assert_eq!(host["CapAdd"], json!(["CAP_NET_ADMIN"]));
    assert_eq!(host["Ulimits"][0]["Name"], "core");
    assert!(
        all["Config"]["Env"]
            .as_array()
            .is_some_and(|env| env.contains(&"NOT_ON_THE_HOST".into()))
    );
    let network = |container: &Json| {
        let network = &container["NetworkSettings"]["Networks"]["bridge"];
        ["NetworkID", "EndpointID"].map(|key| network[key].as_str().map_or(0, str::len))
    };
    assert_eq!(network(&all), [0, 0], "never started");
    env.rctr(["start", "all"]).exits(1);
    let failed = env.inspect("all");
    assert_eq!(failed["State"]["ExitCode"], 128);
    assert_eq!(network(&failed), [64, 0]);
    env.rctr(["run", "-d", "--name", "up", "busybox", "sleep", "1000"])
        .ok();
    assert_eq!(network(&env.inspect("up")), [64, 64]);
    env.rctr(["rm", "-f", "-v", "up", "all"]).ok();
    env.assert_no_leftovers();
}

#[test]
fn images_has_dockers_columns_filters_and_templates() {
    let env = three();
    let rows = table(&env.rctr(["images"]));
    assert_eq!(
        rows[0],
        ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]
    );
    assert_eq!(rows.len(), 3);
    let digests = table(&env.rctr(["images", "--digests", "busybox"]));
    assert_eq!(digests[0][2], "DIGEST");
    assert!(digests[1][2].starts_with("sha256:"), "{digests:?}");
    let id = env
        .rctr(["images", "-q", "--no-trunc", "busybox"])
        .ok()
        .stdout();
    assert!(id.len() == 71 && id.starts_with("sha256:"), "{id}");
    env.rctr(["image", "ls", "-q", "busybox:latest"])
        .ok()
        .stdout_is(&id[7..19]);
    env.rctr(["images", "busybox:other"])
        .ok()
        .stdout_lacks("busybox");
    env.rctr([
        "images",
        "--format",
        "{{.Repository}}:{{.Tag}}",
        "--filter",
        "label=org.example.name=entrypoint",
    ])
    .ok()
    .stdout_is("entrypoint:latest");
    env.rctr(["images", "-q", "--filter", "reference=busy*"])
        .ok()
        .stdout_is(&id[7..19]);
    env.rctr(["images", "-q", "--filter", "dangling=true"])
        .ok()
        .stdout_is("");
    // All of busybox's age, but for what is older or newer than itself.
    for filter in ["before=busybox", "since=busybox"] {
        env.rctr(["images", "-q", "--filter", filter, "busybox"])
            .ok()
            .stdout_is("");
    }
    env.rctr(["images", "-f", "since=nosuch"])
        .exits(1)
        .stderr_has("nosuch");
    assert_eq!(
        env.rctr(["images", "--format", "json", "busybox"])
            .ok()
            .json()["Tag"],
        "latest"
    );
    env.rctr(["images", "-f", "nosuch=1"])
        .exits(1)
        .stderr_has("nosuch");
}

#[test]
fn info_version_and_df() {
    let env = three();
    env.rctr(["info"])
        .ok()
        .stdout_has(" Containers: 3\n  Running: 1\n  Paused: 0\n  Stopped: 2\n Images: 2")
        .stdout_has(" Cgroup Driver: cgroupfs")
        .stdout_has(" Plugins:\n  Volume: local\n  Network: bridge host ipvlan macvlan null\n")
        .stdout_has(" Swarm: inactive");
    env.rctr(["info", "--format", "{{.Containers}} {{.ContainersRunning}}"])
        .ok()
        .stdout_is("3 1");
    let version = env
        .rctr(["version", "--format", "{{.Server.Version}}"])
        .ok()
        .stdout();
    env.rctr(["--version"]).ok().stdout_has(&version);
    assert_eq!(
        env.rctr(["version", "--format", "json"]).ok().json()["Client"]["Version"],
        version
    );
    let df = table(&env.rctr(["system", "df"]));
    assert_eq!(df[0], ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    assert_eq!(df[1][..3], ["Images", "2", "2"]);
    assert_eq!(df[2][..3], ["Containers", "3", "1"]);
    assert_eq!(df[3][..3], ["Local Volumes", "1", "1"]);
    env.rctr(["rm", "-f", "up"]).ok();
    env.rctr(["system", "df", "--format", "{{.Type}}={{.Active}}"])
        .ok()
        .stdout_has("Containers=0")
        .stdout_has("Local Volumes=0");
}

/// What the command line of Docker 28 prints for `info --format json`, all of it.
const INFO: &str = "ID Containers ContainersRunning ContainersPaused ContainersStopped Images Driver DriverStatus \
    Plugins MemoryLimit SwapLimit CpuCfsPeriod CpuCfsQuota CPUShares CPUSet PidsLimit IPv4Forwarding Debug NFd \
    OomKillDisable NGoroutines SystemTime LoggingDriver CgroupDriver CgroupVersion NEventsListener KernelVersion \
    OperatingSystem OSVersion OSType Architecture IndexServerAddress RegistryConfig NCPU MemTotal GenericResources \
    DockerRootDir HttpProxy HttpsProxy NoProxy Name Labels ExperimentalBuild ServerVersion Runtimes DefaultRuntime \
    Swarm LiveRestoreEnabled Isolation InitBinary ContainerdCommit RuncCommit InitCommit SecurityOptions CDISpecDirs \
    Warnings ClientInfo";

#[test]
fn info_has_all_that_docker_s_has() {
    let env = Env::builder()
        .config("[registry.\"r.test:5000\"]\ninsecure = true\n")
        .build();
    let info = env.rctr(["info", "--format", "json"]).ok().json();
    let keys = info.as_object().expect("an object");
    let missing: Vec<_> = INFO
        .split(' ')
        .filter(|key| !keys.contains_key(*key))
        .collect();
    assert_eq!(missing, [""; 0]);
    let of = |format: &str| env.rctr(["info", "--format", format]).ok().stdout();
    assert_eq!(
        of("{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}"),
        "inactive false"
    );
    assert_eq!(of("{{.Plugins.Volume}}"), "[local]");
    assert_eq!(of("{{json .Plugins.Authorization}}"), "null");
    assert_eq!(of("{{json .ContainerdCommit}}"), r#"{"ID":""}"#);
    assert_eq!(
        of("{{range .DriverStatus}}{{index . 0}};{{end}}"),
        "Backing Filesystem;Supports d_type;userxattr;"
    );
    assert_eq!(
        of("{{range $n, $r := .Runtimes}}{{$n}} {{end}}"),
        "io.containerd.runc.v2 rctr runc "
    );
    let registries = &info["RegistryConfig"]["IndexConfigs"];
    assert_eq!(registries["r.test:5000"]["Secure"], false);
    assert_eq!(registries["docker.io"]["Official"], true);
    env.rctr(["info"])
        .ok()
        .stdout_has(" Insecure Registries:\n  r.test:5000\n  ::1/128\n");
}
