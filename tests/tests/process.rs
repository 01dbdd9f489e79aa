//! What `run`'s flags make of the process: environment, user, directory, names, hosts, init, limits, labels.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};
use rctr_tests::Env;

#[test]
fn env_sets_passes_on_and_removes_variables() {
    let env = Env::new();
    let out = env.sh(
        &["-e", "A=1", "--env", "B=two words", "-e", "C="],
        "env | sort",
    );
    out.ok().stdout_has("A=1\nB=two words\nC=\n");
    let mut command = env.command([
        "run",
        "--rm",
        "-e",
        "FROM_HOST",
        "-e",
        "NOT_THERE",
        "busybox",
        "env",
    ]);
    command.env("FROM_HOST", "yes");
    rctr_tests::Running::start(command, Some(b""))
        .finish()
        .ok()
        .stdout_has("FROM_HOST=yes")
        .stdout_lacks("NOT_THERE");
    // Without a value on the host the image's variable goes too.
    let names = ["--entrypoint", "env", "entrypoint"];
    env.rctr([&["run", "--rm"], &names[..]].concat())
        .ok()
        .stdout_has("GREETING=");
    env.rctr([&["run", "--rm", "-e", "GREETING"], &names[..]].concat())
        .ok()
        .stdout_lacks("GREETING");
    env.sh(&["-e", "HOSTNAME=mine"], "echo $HOSTNAME")
        .ok()
        .stdout_is("mine");
    env.rctr(["run", "--rm", "busybox", "env"])
        .ok()
        .stdout_has("HOME=/root")
        .stdout_has("HOSTNAME=")
        .stdout_lacks("TERM=");
}

#[test]
fn env_file_is_read_as_it_is() {
    let env = Env::new();
    let file = env.path("vars");
    fs::write(
        &file,
        "# comment\nPLAIN=1\n\nQUOTED=\"q\"\nHASH=a # b\nHOME\nBOTH=file\n",
    )
    .expect("a file");
    let path = file.to_str().expect("a path in UTF-8");
    env.sh(&["--env-file", path, "-e", "BOTH=flag"], "env")
        .ok()
        .stdout_has("PLAIN=1\n")
        .stdout_has("QUOTED=\"q\"\n")
        .stdout_has("HASH=a # b\n")
        .stdout_has("BOTH=flag")
        .stdout_lacks("BOTH=file")
        .stdout_has(&format!("HOME={}", env.home().display()));
    fs::write(&file, "with space=1\n").expect("a file");
    env.sh(&["--env-file", path], "true")
        .exits(125)
        .stderr_has("with space");
    env.sh(&["--env-file", "/no/such"], "true")
        .exits(125)
        .stderr_has("/no/such");
}

#[test]
fn a_missing_work_directory_is_made() {
    let env = Env::new();
    env.sh(&["-w", "/made/here"], "pwd; stat -c '%u:%g %a' .")
        .ok()
        .stdout_is("/made/here\n0:0 755");
    env.sh(&["-u", "1000", "-w", "/made"], "pwd; stat -c '%u' .")
        .ok()
        .stdout_is("/made\n0");
    env.sh(&["-w", "relative"], "pwd")
        .exits(125)
        .stderr_has("relative");
}

#[test]
fn users_by_name_and_number() {
    let env = Env::new();
    let id = |user: &str| {
        let out = env.rctr([
            "run",
            "--rm",
            "-u",
            user,
            "user",
            "sh",
            "-c",
            "id -u; id -g; id -G; echo $HOME",
        ]);
        out.ok().lines().join(" ")
    };
    assert_eq!(id("app"), "1000 1000 1000 29 44 /home/app");
    assert_eq!(id("1000"), "1000 1000 1000 29 44 /home/app");
    assert_eq!(id("other"), "1001 1001 1001 44 /home/other");
    // A group of one's own choice drops the supplementary ones.
    assert_eq!(id("app:audio"), "1000 29 29 /home/app");
    assert_eq!(id("1000:1001"), "1000 1001 1001 /home/app");
    assert_eq!(id("4242"), "4242 0 0 /");
    assert_eq!(id("4242:4343"), "4242 4343 4343 /");
    assert_eq!(id("root"), "0 0 0 /root");
    env.rctr(["run", "--rm", "user"])
        .ok()
        .stdout_is("uid=1000(app) gid=1000(app) groups=29(audio),44(video),1000(app)");
    let nosuch = env.rctr(["run", "--rm", "-u", "nosuch", "user", "true"]);
    nosuch.refused(125, "nosuch");
    env.rctr(["run", "--rm", "-u", "app:nosuch", "user", "true"])
        .refused(125, "nosuch");
    env.rctr(["run", "--rm", "-u", "4294967296", "user", "true"])
        .refused(125, "4294967296");
}

#[test]
fn group_add_adds_to_the_users_groups() {
    let env = Env::new();
    let flags = [
        "run",
        "--rm",
        "--group-add",
        "audio",
        "--group-add",
        "777",
        "busybox",
    ];
    let out = env.rctr([&flags[..], &["id", "-G"]].concat());
    out.exits(125).stderr_has("audio");
    env.sh(&["--group-add", "operator", "--group-add", "777"], "id -G")
        .ok()
        .stdout_is("0 37 777");
}

#[test]
fn entrypoint_replaces_the_images_and_drops_its_command() {
    let env = Env::new();
    let image = env.rctr(["run", "--rm", "entrypoint"]);
    image.ok().stdout_has("entry: ");
    env.rctr(["run", "--rm", "entrypoint", "echo", "hi"])
        .ok()
        .stdout_is("entry: echo hi\nhi");
    env.rctr(["run", "--rm", "--entrypoint", "/bin/echo", "entrypoint"])
        .ok()
        .stdout_is("");
    env.rctr([
        "run",
        "--rm",
        "--entrypoint",
        "echo",
        "entrypoint",
        "a",
        "b",
    ])
    .ok()
    .stdout_is("a b");
    env.rctr([
        "run",
        "--rm",
        "--entrypoint",
        "",
        "entrypoint",
        "echo",
        "none",
    ])
    .ok()
    .stdout_is("none");
    env.rctr(["run", "--rm", "--entrypoint", "", "entrypoint"])
        .exits(125);
}

#[test]
fn hostname_is_the_short_id_or_the_one_given() {
    let env = Env::new();
    let id = env.run_detached([
        "busybox",
        "sh",
        "-c",
        "hostname; cat /etc/hostname; sleep 1000",
    ]);
    env.wait_log(&id, &format!("{0}\n{0}", &id[..12]));
    env.sh(
        &["-h", "box.example.org"],
        "hostname; cat /etc/hostname; cat /etc/hosts",
    )
    .ok()
    .stdout_has("box.example.org\nbox.example.org\n127.0.0.1\tlocalhost")
    .stdout_has("\tbox.example.org box");
    env.sh(&["--hostname", "one", "--network", "none"], "hostname")
        .ok()
        .stdout_is("one");
}

#[test]
fn hosts_and_resolver_are_what_the_flags_say() {
    let env = Env::new();
    let flags = [
        "--add-host",
        "db:10.1.2.3",
        "--add-host",
        "six:fd00::1",
        "--add-host",
        "up=host-gateway",
    ];
    let gateway = env.slot().subnet().hosts().next().expect("a gateway");
    env.sh(&flags, "cat /etc/hosts")
        .ok()
        .stdout_has("10.1.2.3\tdb\n")
        .stdout_has("fd00::1\tsix\n")
        .stdout_has(&format!("{gateway}\tup"));
    env.sh(&["--add-host", "nonsense"], "true")
        .exits(125)
        .stderr_has("nonsense");
    let dns = [
        "--dns",
        "192.0.2.1",
        "--dns",
        "192.0.2.2",
        "--dns-search",
        "corp.example",
        "--dns-option",
        "ndots:3",
    ];
    env.sh(&dns, "cat /etc/resolv.conf")
        .ok()
        .stdout_has("nameserver 192.0.2.1\nnameserver 192.0.2.2")
        .stdout_has("search corp.example")
        .stdout_has("options ndots:3");
    env.sh(&["--dns", "not-an-ip"], "true")
        .exits(125)
        .stderr_has("not-an-ip");
}

#[test]
fn init_is_process_one_and_reaps() {
    let env = Env::new();
    let script = "(sleep 0.05 &); for n in $(seq 500); do ps -o args | grep -q '[s]leep' || break; usleep 10000; done; \
                  ps -o pid,ppid,stat,args; echo $$";
    let out = env.sh(&["--init"], script);
    out.ok().stdout_lacks("Z");
    assert_ne!(
        out.lines().last().map(String::as_str),
        Some("1"),
        "the shell is not process 1"
    );
    env.sh(&[], "echo $$").ok().stdout_is("1");
    env.sh(&["--init"], "exit 42").exits(42);
    env.sh(&["--init"], "kill -9 $$").exits(137);
    env.sh(&["--init"], "kill -40 $$").exits(168);
    env.rctr(["run", "--rm", "--init", "busybox", "/no/such"])
        .exits(127)
        .stderr_has("/no/such");
}

#[test]
fn ulimits_reach_the_process() {
    let env = Env::new();
    let flags = [
        "--ulimit",
        "nofile=100:200",
        "--ulimit",
        "core=0",
        "--ulimit",
        "nproc=500",
    ];
    env.sh(&flags, "ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -u")
        .ok()
        .stdout_is("100\n200\n0\n500");
    env.sh(&["--ulimit", "nosuch=1"], "true")
        .exits(125)
        .stderr_has("nosuch");
    env.sh(&["--ulimit", "nofile=5:1"], "true")
        .exits(125)
        .stderr_has("nofile=5:1");
}

#[test]
fn ulimits_above_the_hosts_are_clamped_with_a_word() {
    // Where rctr may raise limits, guest/cases/capabilities.sh shows that it does.
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = u64::from_str_radix(line.expect("a mask").trim(), 16).expect("a number");
    if mask & (1 << 24) != 0 {
        return;
    }
    let env = Env::new();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let above = format!("nofile={}", hard + 5);
    env.sh(&["--ulimit", &above], "ulimit -n; ulimit -Hn")
        .ok()
        .stdout_is(&format!("{hard}\n{hard}"))
        .stderr_has("WARNING: ulimit nofile: ")
        .stderr_has(&format!("Using {hard}"));
}

#[test]
fn sysctls_of_its_own_namespaces_only() {
    let env = Env::new();
    let flags = [
        "--sysctl",
        "net.ipv4.ip_forward=0",
        "--sysctl",
        "kernel.msgmax=4096",
    ];
    env.sh(
        &flags,
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax",
    )
    .ok()
    .stdout_is("0\n4096");
    for host in ["kernel.panic=1", "vm.swappiness=1"] {
        env.sh(&["--sysctl", host], "true")
            .exits(125)
            .stderr_has(host.split('=').next().unwrap_or(host));
    }
    env.sh(
        &["--network", "host", "--sysctl", "net.ipv4.ip_forward=0"],
        "true",
    )
    .exits(125)
    .stderr_has("net.ipv4.ip_forward");
}

#[test]
fn labels_are_kept_and_come_after_the_images() {
    let env = Env::new();
    let file = env.path("labels");
    fs::write(&file, "from.file=f\n# no\n").expect("a file");
    let path = file.to_str().expect("a path in UTF-8");
    env.rctr([
        "create",
        "--name",
        "labelled",
        "-l",
        "a=1",
        "--label",
        "b",
        "--label-file",
        path,
        "busybox",
    ])
    .ok();
    let labels = env.inspect("labelled")["Config"]["Labels"].take();
    assert_eq!(
        labels,
        serde_json::json!({"a": "1", "b": "", "from.file": "f"})
    );
    env.rctr([
        "ps",
        "-a",
        "--filter",
        "label=a=1",
        "--format",
        "{{.Names}} {{.Label \"a\"}}",
    ])
    .ok()
    .stdout_is("labelled 1");
}

#[test]
fn pull_policies() {
    let env = Env::new();
    env.rctr(["run", "--rm", "--pull", "never", "busybox", "true"])
        .refused(125, "busybox");
    let first = env.rctr(["run", "--rm", "--pull", "missing", "busybox", "true"]);
    first
        .ok()
        .stderr_has("Unable to find image 'busybox:latest' locally");
    env.rctr(["run", "--rm", "--pull", "never", "busybox", "true"])
        .ok()
        .quiet();
    env.rctr(["run", "--rm", "--pull", "always", "busybox", "true"])
        .ok()
        .stderr_has("latest: Pulling from library/busybox");
    env.rctr(["run", "--rm", "--pull", "always", "-q", "busybox", "true"])
        .ok()
        .quiet();
    env.rctr(["run", "--rm", "--pull", "sometimes", "busybox", "true"])
        .exits(125)
        .stderr_has("sometimes");
}

#[test]
fn platform_chooses_from_an_index() {
    let env = Env::new();
    env.rctr(["run", "--rm", "multiarch"])
        .ok()
        .stdout_is("amd64");
    env.rctr(["run", "--rm", "--platform", "linux/amd64", "multiarch"])
        .ok()
        .stdout_is("amd64");
    env.rctr(["run", "--rm", "--platform", "linux/riscv64", "multiarch"])
        .refused(125, "linux/riscv64");
    env.rctr([
        "create",
        "--platform",
        "linux/arm64",
        "--name",
        "other",
        "multiarch",
    ])
    .ok();
    env.rctr(["run", "--rm", "--platform", "nonsense/", "busybox"])
        .exits(125);
    // Its programs may run by emulation.
    env.rctr(["run", "--rm", "arm64only"])
        .ok()
        .stdout_is("arm64")
        .stderr_has("linux/arm64");
}

#[test]
fn empty_values_are_no_values() {
    let env = Env::new();
    env.sh(&["-w", "", "-u", "", "--name", ""], "pwd; id -u")
        .ok()
        .stdout_is("/\n0");
    env.sh(&["--hostname", ""], "hostname | wc -c")
        .ok()
        .stdout_is("13");
    let id = env.run_detached(["-w", "/tmp", "busybox", "sleep", "1000"]);
    env.rctr(["exec", "-w", "", "-u", "", &id, "pwd"])
        .ok()
        .stdout_is("/tmp");
    env.sh(&["-e", ""], "true")
        .exits(125)
        .stderr_has("environment variable");
    // As a script gives them whose variable is not set.
    for flag in [
        "cpuset-cpus",
        "cpuset-mems",
        "stop-signal",
        "platform",
        "cidfile",
        "dns-option",
    ] {
        env.sh(&[&format!("--{flag}"), ""], "true").ok();
    }
    for words in [
        &["ps", "--filter", ""][..],
        &["images", "--filter", ""],
        &["images", ""],
        &["logs", "--tail", "", &id],
        &["port", &id, ""],
        &["stop", "-s", "", "-t", "0", &id],
        &["update", "--cpuset-cpus", "", &id],
    ] {
        env.rctr(words).ok();
    }
    env.rctr(["images", "", "--format", "{{.Repository}}"])
        .ok()
        .stdout_is("busybox");
    env.rctr(["rm", "-f", ""])
        .refused(1, "container name cannot be empty");
}
