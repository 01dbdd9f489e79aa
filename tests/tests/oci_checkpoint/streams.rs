//! Standard streams and terminals.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rctr_tests::{Bundle, Terminal, entries, receive, shown_by, text, wait_for};
use serde_json::json;

use super::{criu_works, detached};

#[test]
fn pipes_and_terminals_are_the_restorer_s() {
    if !criu_works() {
        return;
    }
    // What is read from a pipe is written to another.
    let mut bundle = Bundle::new(&[
        "sh",
        "-c",
        "while read line; do echo got $line; done; exit 7",
    ]);
    let mut command = bundle.command(&["run", "one"]);
    let piped = std::process::Stdio::piped;
    command.stdin(piped()).stdout(piped());
    // A file outside of it could not be saved.
    command.stderr(std::process::Stdio::null());
    let mut child = command.spawn().expect("it runs");
    // Asking for its state would write its configuration anew while it is read.
    let file = |name: &str| bundle.path("state/one").join(name).exists();
    wait_for("it to run", || file("state.json") && !file("exec.fifo"));
    bundle
        .oci(&["checkpoint", "--image-path", "saved", "one"])
        .ok();
    child.wait().expect("a status");
    let restored = bundle.command(&["restore", "--image-path", "saved", "one"]);
    let mut restored = rctr_tests::Running::start(restored, None);
    restored.write(b"a line\n");
    restored.close_stdin();
    restored.finish().exits(7).stdout_is("got a line");

    bundle.config["process"]["terminal"] = true.into();
    bundle.config["process"]["args"] = json!(["sh"]);
    let terminal = Terminal::start(bundle.command(&["run", "tty"]), 30, 90);
    terminal.wait_shown("#");
    bundle
        .oci(&["checkpoint", "--image-path", "terminal", "tty"])
        .ok();
    drop(terminal);
    let mut terminal = Terminal::start(
        bundle.command(&["restore", "--image-path", "terminal", "tty"]),
        31,
        91,
    );
    terminal.type_in("stty size; tty; exit 5\n");
    terminal.wait_shown("31 91");
    terminal.wait_shown("/dev/pts/0");
    assert_eq!(terminal.finish(), 5);
    assert!(
        entries(&bundle.path("state"))
            .iter()
            .all(|name| name.starts_with('.'))
    );
}

#[test]
fn a_terminal_goes_to_the_restorer_s_socket() {
    if !criu_works() {
        return;
    }
    let mut bundle = Bundle::new(&["sh"]);
    bundle.config["process"]["terminal"] = true.into();
    let socket = bundle.path("console");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let socket = text(&socket);
    let type_in = |terminal: &OwnedFd, keys: &str| {
        let mut terminal = fs::File::from(terminal.try_clone().expect("a descriptor"));
        terminal.write_all(keys.as_bytes()).expect("it is typed");
    };
    detached(
        &bundle,
        &["run", "--detach", "--console-socket", &socket, "one"],
    );
    let terminal = receive(&listener);
    type_in(&terminal, "x=42; echo set$x\n");
    shown_by(&terminal, "set42");
    bundle
        .oci(&["checkpoint", "--image-path", "saved", "one"])
        .ok();
    drop(terminal);
    let restore = ["restore", "--detach", "--image-path", "saved"];
    bundle
        .oci(&[&restore[..], &["one"]].concat())
        .exits(1)
        .stderr_has("without a console socket");
    bundle
        .oci(&[&restore[..], &["--console-socket", "/nosuch", "one"]].concat())
        .exits(1)
        .stderr_has("/nosuch");
    bundle.oci(&["state", "one"]).exits(1);
    let console = ["--console-socket", &*socket, "one"];
    detached(&bundle, &[&restore[..], &console].concat());
    let terminal = receive(&listener);
    type_in(&terminal, "echo still$x\n");
    shown_by(&terminal, "still42");
    bundle.oci(&["delete", "--force", "one"]).ok();
}
