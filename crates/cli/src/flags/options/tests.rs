use super::*;
use clap::Parser;
use rctr_engine::options::NetworkMode;

#[derive(Parser)]
#[command(disable_help_flag = true)]
struct Line {
    #[command(flatten)]
    flags: ContainerFlags,
    #[arg(trailing_var_arg = true)]
    words: Vec<String>,
}

fn parse(words: &[&str]) -> Result<Parsed> {
    let line = Line::try_parse_from(std::iter::once(&"run").chain(words)).unwrap();
    line.flags.into_options("run", line.words, false)
}

fn options(words: &[&str]) -> RunOptions {
    parse(words).unwrap().options
}

fn refused(words: &[&str]) -> String {
    let failure = parse(words).unwrap_err();
    assert_eq!(failure.code(), 125, "{words:?}");
    failure.text().lines().next().unwrap_or_default().to_owned()
}

#[test]
fn nothing_but_an_image() {
    let options = options(&["busybox"]);
    assert_eq!((options.image.as_str(), options.cmd.len()), ("busybox", 0));
    assert_eq!(options.entrypoint, None);
    assert_eq!(options.network, NetworkMode::Bridge);
    assert_eq!(options.pull, PullPolicy::Missing);
}

#[test]
fn values_become_what_they_mean() {
    let options = options(&[
        "-m",
        "64m",
        "--memory-swap=-1",
        "--cpus",
        "1.5",
        "--shm-size",
        "1g",
        "-p",
        "8080:80/udp",
        "--expose",
        "80-81",
        "-v",
        "data:/data:ro",
        "--tmpfs",
        "/run",
        "--network",
        "bridge",
        "--ulimit",
        "nofile=1024:2048",
        "--sysctl",
        "net.core.somaxconn=1",
        "--dns",
        "1.1.1.1",
        "--add-host",
        "a:1.2.3.4",
        "--entrypoint",
        "sh",
        "-e",
        "A=1",
        "-l",
        "x=y",
        "--pull",
        "always",
        "debian:12",
        "-c",
        "exit",
    ]);
    let limits = &options.resources;
    assert_eq!(
        (limits.memory, limits.memory_swap, limits.nano_cpus),
        (Some(64 << 20), Some(-1), Some(1_500_000_000))
    );
    assert_eq!(options.shm_size, Some(1 << 30));
    assert_eq!(options.publish[0].host_ports, Some((8080, 8080)));
    assert_eq!(options.expose, ["80/tcp", "81/tcp"]);
    assert_eq!(
        (options.mounts[0].kind, options.mounts[0].read_only),
        (MountKind::Volume, true)
    );
    assert_eq!(options.mounts[1].kind, MountKind::Tmpfs);
    assert_eq!(options.dns.len(), 1);
    assert_eq!(
        (options.ulimits[0].soft, options.ulimits[0].hard),
        (1024, 2048)
    );
    assert_eq!(options.entrypoint, Some(vec!["sh".to_owned()]));
    assert_eq!(options.cmd, ["-c", "exit"]);
    assert_eq!(options.env, ["A=1"]);
    assert_eq!(options.pull, PullPolicy::Always);
}

#[test]
fn another_container_s_network() {
    let network = options(&["--network", "container:web", "x"]).network;
    assert_eq!(network, NetworkMode::Container("web".to_owned()));
}

#[test]
fn an_empty_entrypoint_clears_it() {
    assert_eq!(
        options(&["--entrypoint", "", "x"]).entrypoint,
        Some(Vec::new())
    );
}

#[test]
fn bad_values_name_their_flag() {
    for (words, start) in [
        (
            &["-m", "5x", "i"][..],
            "invalid argument \"5x\" for \"-m, --memory\" flag: ",
        ),
        (
            &["-p", "80:x", "i"],
            "invalid argument \"80:x\" for \"-p, --publish\" flag: ",
        ),
        (
            &["--network", "name=mesh,colour=red", "i"],
            "invalid argument \"name=mesh,colour=red\" for \"--network\" flag: invalid field key colour",
        ),
        (
            &["--mac-address", "x", "i"],
            "invalid argument \"x\" for \"--mac-address\" flag: x is not a valid mac address",
        ),
        (
            &["--pull", "often", "i"],
            "invalid argument \"often\" for \"--pull\" flag: ",
        ),
        (
            &["--restart", "often", "i"],
            "invalid restart policy: unknown policy 'often'; use one of ",
        ),
        (
            &["--rm", "--restart", "always", "i"],
            "conflicting options: cannot specify both --restart and --rm",
        ),
        (
            &["--health-timeout=-1s", "i"],
            "--health-timeout cannot be negative",
        ),
        (
            &["--stop-signal", "SIGFOO", "i"],
            "invalid argument \"SIGFOO\" for \"--stop-signal\" flag: ",
        ),
        (&["--env-file", "/nonexistent", "i"], "open /nonexistent: "),
    ] {
        let message = refused(words);
        assert!(message.starts_with(start), "{words:?}: {message}");
    }
    assert!(parse(&["--restart", "no", "i"]).is_ok());
    assert_eq!(parse(&["--rm"]).unwrap_err().code(), 1);
}

#[test]
fn what_may_fail_is_said() {
    let words = ["--dns", "127.0.0.1", "--dns", "::2", "i"];
    assert_eq!(
        parse(&words).unwrap().warnings,
        ["Localhost DNS (127.0.0.1) may fail in containers."]
    );
}
