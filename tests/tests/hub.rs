//! The images named as the Hub's, with the same entry points, ports and stop signals: each starts, answers and stops.

use std::io::{Read, Write};
use std::net::TcpStream;

use rctr_tests::{Env, Machine, Terminal, http_get, wait_for, wait_for_some};

/// Starts `image` with all its ports published; the host's port for the container's.
fn start(env: &Env, image: &str, inside: &str) -> u16 {
    env.run_detached(["-P", "--name", image, image]);
    let ports = env.inspect(image)["NetworkSettings"]["Ports"][inside].take();
    let port = ports[0]["HostPort"].as_str();
    port.and_then(|port| port.parse().ok())
        .expect("a published port")
}

/// Stops it by the image's own signal, which it must obey.
fn stop(env: &Env, image: &str) {
    let stop = env.rctr(["stop", "--time", "25", image]);
    assert!(stop.ok().took().as_secs() < 20, "{:?}", stop.took());
    assert_eq!(env.inspect(image)["State"]["ExitCode"], 0, "{image}");
}

#[test]
fn web_servers_serve_and_stop_by_their_own_signals() {
    let env = Env::new();
    for (image, page, signal) in [
        ("nginx", "Welcome to nginx!", "SIGQUIT"),
        ("httpd", "It works!", "SIGWINCH"),
    ] {
        let port = start(&env, image, "80/tcp");
        let answer = wait_for_some(image, || http_get(("127.0.0.1", port), "/").ok());
        assert!(answer.body.contains(page), "{answer:?}");
        assert_eq!(env.inspect(image)["Config"]["StopSignal"], signal);
        stop(&env, image);
    }
}

#[test]
fn redis_keeps_its_data_in_a_volume() {
    let env = Env::new();
    let port = start(&env, "redis", "6379/tcp");
    let ask = |words: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(words.as_bytes()).ok()?;
        let mut answer = [0; 64];
        let count = stream.read(&mut answer).ok().filter(|count| *count > 0)?;
        Some(String::from_utf8_lossy(&answer[..count]).into_owned())
    };
    wait_for("redis to answer", || {
        ask("PING\r\n").as_deref() == Some("+PONG\r\n")
    });
    assert_eq!(ask("SET k kept\r\n").as_deref(), Some("+OK\r\n"));
    let mount = env.inspect("redis")["Mounts"][0].take();
    assert_eq!(
        (&mount["Type"], &mount["Destination"]),
        (&"volume".into(), &"/data".into())
    );
    stop(&env, "redis");
}

#[test]
fn python_and_debian_run_what_they_are_told() {
    let env = Env::new();
    env.rctr(["run", "--rm", "python", "python3", "-c", "print(6 * 7)"])
        .ok()
        .stdout_is("42");
    env.rctr_with_input(["run", "--rm", "-i", "debian"], b"echo $((6 * 7))\n")
        .ok()
        .stdout_is("42");
}

/// What a course for beginners types, word for word, on a machine whose port 80 is free.
#[test]
fn a_beginner_s_course() {
    let env = Env::new();
    env.rctr(["pull", "-q", "httpd"]).ok();
    let machine = Machine::new(&env);
    let id = machine.rctr("run -d -p 80:80 httpd").ok().stdout();
    let id = id.as_str();
    let page =
        machine.inside(|| wait_for_some("the page", || http_get(("127.0.0.1", 80), "/").ok()));
    assert!(page.body.contains("It works!"), "{page:?}");

    machine
        .rctr("ps")
        .ok()
        .stdout_has(&id[..12])
        .stdout_has("httpd")
        .stdout_has("0.0.0.0:80->80/tcp");
    env.rctr(["exec", id, "pwd"])
        .ok()
        .stdout_is("/usr/local/apache2");
    let mut shell = Terminal::start(env.command(["exec", "-it", id, "/bin/sh"]), 24, 80);
    shell.type_in("echo $((6 * 7)); exit\n");
    shell.wait_shown("42");
    assert_eq!(shell.finish(), 0);
    env.wait_log(id, "resuming normal operations");

    let mut attached = Terminal::start(env.command(["attach", id]), 24, 80);
    // What is typed before ends the command alone.
    wait_for("the attachment", || {
        let told = [
            "events",
            "--since",
            "0",
            "--until",
            "0s",
            "-f",
            "event=attach",
        ];
        !env.rctr(told).ok().stdout().is_empty()
    });
    attached.type_in("\x03");
    attached.wait_shown("caught SIGTERM, shutting down");
    attached.finish();
    env.rctr(["logs", id]).ok();
    assert_eq!(env.inspect(id)["State"]["Running"], false);

    let image = env.rctr(["inspect", "httpd"]).ok().json();
    for field in ["Id", "RepoTags", "RepoDigests", "Parent"] {
        assert!(image[0].get(field).is_some(), "{field} in {image}");
    }
    // Slips that courses show: both are told how it is done.
    env.rctr(["attach", id, "/bin/sh"])
        .exits(1)
        .stderr_has("\"rctr attach\" requires exactly 1 argument")
        .stderr_has("--help");
    env.rctr(["terminate", id])
        .exits(1)
        .stderr_has("terminate")
        .stderr_has("--help");
}
