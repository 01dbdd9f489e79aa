//! What is handed over a socket: terminals and descriptors of processes.

use super::*;

#[test]
fn a_process_s_descriptor_goes_to_who_asks_for_it() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    let socket = bundle.path("pidfd");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let is = |fd: &OwnedFd, pid: &str| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
        let info = info.expect("a descriptor");
        assert!(info.contains(&format!("Pid:\t{pid}\n")), "{info}");
    };
    let socket = text(&socket);
    quietly(bundle.command(&["run", "--detach", "--pidfd-socket", &socket, "one"]));
    let pid = bundle.oci(&["state", "one"]).ok().json()["pid"].to_string();
    is(&receive(&listener), &pid);
    let file = bundle.path("second");
    let words = [
        "exec",
        "--detach",
        "--pid-file",
        &text(&file),
        "--pidfd-socket",
        &socket,
    ];
    quietly(bundle.command(&[&words[..], &["one", "sleep", "1000"]].concat()));
    is(
        &receive(&listener),
        &fs::read_to_string(&file).expect("a pid file"),
    );
    drop(listener);
    elsewhere(&mut bundle);
    bundle
        .oci(&["create", "--pidfd-socket", &socket, "two"])
        .exits(1)
        .stderr_has("send a pidfd to");
    bundle.oci(&["state", "two"]).exits(1);
}

#[test]
fn a_terminal_goes_to_whoever_listens_for_it() {
    // Longer than a socket's address may be.
    let mut bundle = Bundle::new(&[
        "sh",
        "-c",
        "echo from $(tty); read line; echo got $line; exec sleep 1000",
    ]);
    let directory = bundle.path(&"d".repeat(90));
    fs::create_dir(&directory).expect("a directory");
    let place = fs::File::open(&directory).expect("a directory");
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/console", place.as_raw_fd()));
    let listener = listener.expect("a socket");
    let socket = text(&directory.join("console"));
    bundle.config["process"]["terminal"] = true.into();
    bundle.config["process"]["consoleSize"] = json!({"height": 41, "width": 99});
    quietly(bundle.command(&["create", "--console-socket", &socket, "one"]));
    let master = receive(&listener);
    bundle.oci(&["start", "one"]).ok();
    shown_by(&master, "from /dev/pts/0");
    std::io::Write::write_all(
        &mut fs::File::from(master.try_clone().expect("a copy")),
        b"a line\n",
    )
    .expect("it is typed");
    shown_by(&master, "got a line");
    let size = bundle.oci(&["exec", "one", "sh", "-c", "stty size < /dev/console"]);
    size.ok().stdout_is("41 99");

    let detached = [
        "exec",
        "--tty",
        "--detach",
        "--console-socket",
        &socket,
        "one",
    ];
    quietly(bundle.command(&[&detached[..], &["sh", "-c", "echo second $(tty)"]].concat()));
    shown_by(&receive(&listener), "second /dev/pts/1");
    bundle
        .oci(&["exec", "--tty", "--detach", "one", "true"])
        .exits(255)
        .stderr_has("without a console socket");
    bundle
        .oci(&[
            "exec",
            "--detach",
            "--console-socket",
            &socket,
            "one",
            "true",
        ])
        .exits(255)
        .stderr_has("no tty is allocated");

    // With nobody who listens there is no container.
    drop(listener);
    elsewhere(&mut bundle);
    for words in [
        ["create", "--console-socket", &socket],
        ["create", "--console-socket", "/nosuch"],
    ] {
        bundle
            .oci(&[&words[..], &["two"]].concat())
            .exits(1)
            .stderr_has("console socket");
        bundle.oci(&["state", "two"]).exits(1);
    }
    bundle.config["process"]["terminal"] = false.into();
    bundle
        .oci(&["create", "--console-socket", &socket, "two"])
        .exits(1)
        .stderr_has("where no tty is allocated");
    bundle
        .oci(&["run", "--console-socket", &socket, "two"])
        .exits(1)
        .stderr_has("console socket");
}

#[test]
fn a_terminal_that_is_closed_for_a_while_is_heard_again() {
    let script = "exec 0<&- 1>&- 2>&-; sleep 0.3; echo heard again > /dev/console; exit 3";
    let mut bundle = Bundle::new(&["sh", "-c", script]);
    bundle.config["process"]["terminal"] = true.into();
    let terminal = Terminal::start(bundle.command(&["run", "one"]), 24, 80);
    terminal.wait_shown("heard again");
    assert_eq!(terminal.finish(), 3);
}
