//! A syslog server that listens, is slow, or away for a while.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rctr_tests::{Env, LIMIT, wait_for};

/// A syslog server on TCP, line by line.
struct Server {
    address: String,
    lines: Receiver<String>,
}

impl Server {
    fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap().to_string();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    let reader = std::io::BufReader::new(connection);
                    for line in std::io::BufRead::lines(reader).map_while(Result::ok) {
                        if sender.send(line).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(LIMIT).expect("a line in time")
    }

    fn flag(&self) -> String {
        format!("syslog-address=tcp://{}", self.address)
    }
}

/// `run FLAGS… --network none --log-driver syslog --log-opt ADDRESS busybox sh -c SCRIPT`.
fn run(env: &Env, server: &Server, flags: &[&str], script: &str) {
    let address = server.flag();
    let driver = [
        "--network",
        "none",
        "--log-driver",
        "syslog",
        "--log-opt",
        &address,
    ];
    let words = [&["run"], flags, &driver, &["busybox", "sh", "-c", script]].concat();
    env.rctr(words).ok();
}

#[test]
fn every_line_arrives_with_its_priority_and_tag() {
    let env = Env::new();
    let server = Server::start();
    let flags = ["--rm", "--log-opt", "tag={{.Name}}", "--name", "web"];
    run(
        &env,
        &server,
        &flags,
        "echo out; sleep 0.2; echo err >&2; sleep 0.2; printf last",
    );
    let lines = [server.line(), server.line(), server.line()];
    for (line, (start, end)) in
        lines
            .iter()
            .zip([("<30>", "]: out"), ("<27>", "]: err"), ("<30>", "]: last")])
    {
        assert!(line.starts_with(start) && line.ends_with(end), "{line}");
        assert!(line.contains(" web["), "{line}");
    }
}

#[test]
fn many_lines_arrive_in_order_and_are_kept_here_too() {
    let env = Env::new();
    let server = Server::start();
    let script = "seq 1 20000";
    run(
        &env,
        &server,
        &[
            "-d",
            "--name",
            "many",
            "--log-opt",
            "syslog-facility=local3",
        ],
        script,
    );
    for n in 1..=20000 {
        let line = server.line();
        assert!(
            line.starts_with("<158>") && line.ends_with(&format!("]: {n}")),
            "{n}: {line}"
        );
    }
    env.rctr(["wait", "many"]).ok();
    let kept = env.rctr(["logs", "many"]).ok().lines();
    assert_eq!((kept.len(), kept[19999].as_str()), (20000, "20000"));
    let config = env.inspect("many")["HostConfig"]["LogConfig"].take();
    assert_eq!(config["Type"], "syslog");
    assert_eq!(config["Config"]["syslog-facility"], "local3");
}

#[test]
fn a_driver_that_is_killed_is_started_again() {
    let env = Env::new();
    let server = Server::start();
    run(
        &env,
        &server,
        &["-d", "--name", "on"],
        "mkfifo /f; while :; do cat /f; done",
    );
    let driver = || driver_of(&env, "on");
    wait_for("the driver to run", || driver().is_some());
    wait_for("the pipe", || {
        env.rctr(["exec", "on", "test", "-p", "/f"]).status() == 0
    });
    let first = driver().unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(first),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    env.rctr(["exec", "on", "sh", "-c", "echo after > /f"]).ok();
    assert!(server.line().ends_with("]: after"));
    assert_ne!(driver(), Some(first));
}

#[test]
fn a_receiver_that_comes_back_gets_what_waited() {
    let env = Env::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let flag = format!("syslog-address=tcp://{address}");
    let words = [
        "run",
        "-d",
        "--name",
        "back",
        "--network",
        "none",
        "--log-driver",
        "syslog",
        "--log-opt",
        &flag,
        "busybox",
        "sh",
        "-c",
        "mkfifo /f; while cat /f; do :; done",
    ];
    env.rctr(words).ok();
    wait_for("the pipe", || {
        env.rctr(["exec", "back", "test", "-p", "/f"]).status() == 0
    });
    env.rctr(["exec", "back", "sh", "-c", "echo first > /f"])
        .ok();
    // The first connection was a look; the second carries the lines.
    let line = |listener: &TcpListener| -> (TcpStream, String) {
        loop {
            let (mut connection, _) = listener.accept().unwrap();
            connection.set_read_timeout(Some(LIMIT)).unwrap();
            let mut buffer = [0; 1024];
            let count = connection.read(&mut buffer).unwrap();
            if count > 0 {
                return (
                    connection,
                    String::from_utf8_lossy(&buffer[..count]).into_owned(),
                );
            }
        }
    };
    let (connection, text) = line(&listener);
    assert!(text.ends_with("]: first\n"), "{text}");
    drop(connection);
    drop(listener);
    env.rctr(["exec", "back", "sh", "-c", "echo second > /f"])
        .ok();
    env.wait_log("back", "second");
    let listener = TcpListener::bind(address).unwrap();
    let (_connection, text) = line(&listener);
    assert!(text.ends_with("]: second\n"), "{text}");
    // It is told where the container's files are.
    let id = env.inspect("back")["Id"].as_str().unwrap().to_owned();
    let errors = env
        .root()
        .join("containers")
        .join(id)
        .join("log-driver.errors");
    assert!(std::fs::read_to_string(errors).unwrap().contains("refused"));
}

#[test]
fn a_receiver_that_reads_nothing_holds_nobody_up_for_ever() {
    let env = Env::new();
    // Accepts, and never reads.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let flag = format!("syslog-address=tcp://{}", listener.local_addr().unwrap());
    let script = "yes 0123456789012345678901234567890123456789 | head -c 20000000; echo done >&2";
    let words = [
        "run",
        "--rm",
        "--network",
        "none",
        "--log-driver",
        "syslog",
        "--log-opt",
        &flag,
        "--log-opt",
        "mode=non-blocking",
        "--log-opt",
        "max-buffer-size=64k",
        "--log-opt",
        "cache-disabled=true",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    let output = env.rctr(words);
    output.ok().stderr_has("done");
    assert!(
        output.took() < Duration::from_secs(20),
        "{:?}",
        output.took()
    );
    drop(listener);
}

/// The process of a container's driver.
fn driver_of(env: &Env, name: &str) -> Option<i32> {
    let id = env.inspect(name)["Id"].as_str()?.to_owned();
    let monitor = env.monitor_of(&id)?;
    let children = std::fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children"));
    let children = children.unwrap_or_default();
    let mut pids = children
        .split_whitespace()
        .filter_map(|pid| pid.parse::<i32>().ok());
    pids.find(|pid| {
        let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
        words.is_ok_and(|words| words.contains("log-driver"))
    })
}

#[test]
fn lines_without_a_letter_fill_no_memory() {
    let env = Env::new();
    // Accepts, and never reads.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let flag = format!("syslog-address=tcp://{}", listener.local_addr().unwrap());
    let script = "head -c 3000000 /dev/zero | tr '\\0' '\\n'; touch /done; sleep 1000";
    let options = ["mode=non-blocking", "cache-disabled=true", &flag];
    let options = options.iter().flat_map(|option| ["--log-opt", option]);
    let words = [
        "run",
        "-d",
        "--name",
        "many",
        "--network",
        "none",
        "--log-driver",
        "syslog",
    ];
    let last = ["busybox", "sh", "-c", script];
    env.rctr(words.into_iter().chain(options).chain(last)).ok();
    wait_for("the driver", || driver_of(&env, "many").is_some());
    let driver = driver_of(&env, "many").unwrap();
    wait_for("all lines", || {
        env.rctr(["exec", "many", "test", "-e", "/done"]).status() == 0
    });
    let status = std::fs::read_to_string(format!("/proc/{driver}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let peak = peak.expect("a size");
    assert!(peak < 100_000, "the driver took {peak} kB for empty lines");
    drop(listener);
}
