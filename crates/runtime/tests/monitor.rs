//! The monitor from its clients' side: attaching, executing, signals, waiting, its own death.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use oci_spec::runtime::{LinuxMemoryBuilder, Process};
use rctr_runtime::{
    AttachEvent, AttachOptions, AttachStream, Error, ExecHandle, ExecRequest, ExecStdio,
    MonitorClient, Status, WindowSize, clean_up_dead,
};
use support::pod::await_that;
use support::{Bundle, EVERYTHING, process, read_until, reap};

/// A container that does nothing until it is killed, and whose init obeys SIGTERM.
fn idle() -> Bundle {
    Bundle::new(&[
        "sh",
        "-c",
        "trap 'exit 9' TERM; echo ready; while :; do sleep 1 & wait; done",
    ])
}

fn client(bundle: &Bundle) -> MonitorClient {
    MonitorClient::connect(bundle.state_dir()).unwrap()
}

fn stop(bundle: &Bundle, monitor: i32) {
    rctr_runtime::signal(bundle.state_dir(), libc::SIGKILL, None).unwrap();
    reap(monitor);
    bundle.assert_nothing_left();
}

struct Exec {
    handle: ExecHandle,
    out: File,
}

fn exec(bundle: &Bundle, process: Process) -> Result<Exec, Error> {
    let null = File::open("/dev/null").unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let stdio = ExecStdio {
        stdin: null.as_fd(),
        stdout: writer.as_fd(),
        stderr: writer.as_fd(),
    };
    let request = ExecRequest {
        process,
        tty: None,
        end_command: Vec::new(),
    };
    let handle = client(bundle).exec(request, Some(stdio))?;
    Ok(Exec {
        handle,
        out: reader.into(),
    })
}

impl Exec {
    fn finish(mut self) -> (String, i32) {
        let mut text = String::new();
        self.out.read_to_string(&mut text).unwrap();
        (text, self.handle.wait().unwrap())
    }
}

fn exit_of(stream: &mut AttachStream) -> i32 {
    loop {
        if let AttachEvent::Exit(exit) = stream.next_event().unwrap() {
            return exit.code;
        }
    }
}

#[test]
fn signals_arrive_and_waiters_are_told() {
    let bundle = idle();
    let mut launched = bundle.attached(EVERYTHING);
    read_until(launched.attach.as_mut().unwrap(), "ready");
    assert!(
        matches!(bundle.status(), Status::Running { pid, .. } if pid == launched.container_pid)
    );
    let waiting = client(&bundle).start_wait().unwrap();
    rctr_runtime::signal(bundle.state_dir(), libc::SIGTERM, None).unwrap();
    let exit = waiting.wait().unwrap();
    assert_eq!((exit.code, exit.oom_killed), (9, false));
    reap(launched.monitor_pid);
    assert_eq!(bundle.status(), Status::Exited(exit));
    let error = MonitorClient::connect(bundle.state_dir()).err().unwrap();
    assert!(matches!(error, Error::NotRunning { .. }), "{error}");
    bundle.assert_nothing_left();
}

#[test]
fn the_launcher_s_death_and_terminal_signals_do_not_matter() {
    let bundle = idle();
    let mut launched = bundle.attached(EVERYTHING);
    read_until(launched.attach.as_mut().unwrap(), "ready");
    drop(launched.attach);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        kill(Pid::from_raw(launched.monitor_pid), signal).unwrap();
    }
    let mut again = client(&bundle).attach(EVERYTHING).unwrap();
    again.signal(libc::SIGTERM).unwrap();
    assert_eq!(exit_of(&mut again), 9);
    reap(launched.monitor_pid);
}

#[test]
fn input_is_passed_on_and_its_end_too() {
    let mut bundle = Bundle::new(&["sh", "-c", "cat; echo end"]);
    bundle.launch.stdio.open_stdin = true;
    bundle.launch.stdio.stdin_once = true;
    let mut launched = bundle.attached(EVERYTHING);
    let stream = launched.attach.as_mut().unwrap();
    // Far more than fits into pipes and sockets, both ways, from one thread.
    let much = "0123456789abcde\n".repeat(50_000);
    stream.send_stdin(much.as_bytes()).unwrap();
    stream.close_stdin().unwrap();
    let mut got = String::new();
    loop {
        match stream.next_event().unwrap() {
            AttachEvent::Stdout(bytes) => got.push_str(&String::from_utf8_lossy(&bytes)),
            AttachEvent::Stderr(bytes) => panic!("{}", String::from_utf8_lossy(&bytes)),
            AttachEvent::Exit(exit) => break assert_eq!(exit.code, 0),
        }
    }
    assert_eq!(got, much + "end\n");
    reap(launched.monitor_pid);
}

#[test]
fn an_attached_client_that_goes_away_closes_the_input_it_had_once() {
    let mut bundle = Bundle::new(&["cat"]);
    bundle.launch.stdio.open_stdin = true;
    bundle.launch.stdio.stdin_once = true;
    let launched = bundle.attached(EVERYTHING);
    let waiting = client(&bundle).start_wait().unwrap();
    drop(launched.attach);
    assert_eq!(waiting.wait().unwrap().code, 0);
    reap(launched.monitor_pid);
}

#[test]
fn a_terminal_can_be_typed_into_and_resized() {
    let mut bundle = Bundle::new(&["sh"]);
    bundle.launch.stdio.terminal = Some(WindowSize { rows: 24, cols: 80 });
    bundle.launch.stdio.open_stdin = true;
    bundle.process(|p| _ = p.set_terminal(Some(true)));
    let mut launched = bundle.attached(EVERYTHING);
    let stream = launched.attach.as_mut().unwrap();
    stream
        .resize(WindowSize {
            rows: 50,
            cols: 100,
        })
        .unwrap();
    stream.send_stdin(b"stty size; cat\n").unwrap();
    read_until(stream, "50 100\r\n");
    stream.send_stdin(b"ping\n").unwrap();
    // Once from the terminal, as typed, and once from the program.
    read_until(stream, "ping\r\nping");
    stream.send_stdin(b"\x03").unwrap();
    // What is typed before the shell asks again it may throw away.
    assert!(read_until(stream, "# ").contains("^C"));
    stream.send_stdin(b"exit 4\n").unwrap();
    assert_eq!(exit_of(stream), 4);
    reap(launched.monitor_pid);
}

#[test]
fn a_client_that_does_not_read_holds_up_the_container_and_is_dropped_when_it_dies() {
    let bundle = Bundle::new(&["sh", "-c", "seq 1 200000; echo done >&2"]);
    let launched = bundle.attached(AttachOptions {
        stdout: true,
        ..AttachOptions::default()
    });
    let mut other = client(&bundle)
        .attach(AttachOptions {
            stderr: true,
            ..AttachOptions::default()
        })
        .unwrap();
    // The first client never reads. Once it is gone the rest flows.
    assert!(matches!(bundle.status(), Status::Running { .. }));
    drop(launched.attach);
    assert_eq!(read_until(&mut other, "done"), "done\n");
    reap(launched.monitor_pid);
}

#[test]
fn processes_can_be_executed_beside_init() {
    let bundle = idle();
    let launched = bundle.launch();
    let (out, code) = exec(
        &bundle,
        process(&["sh", "-c", "echo $$; hostname; pwd; exit 5"]),
    )
    .unwrap()
    .finish();
    let lines: Vec<&str> = out.lines().collect();
    assert_ne!(lines[0], "1");
    assert_eq!((&lines[1..], code), (&["box", "/"][..], 5));

    let (out, _) = exec(
        &bundle,
        process(&[
            "sh",
            "-c",
            "grep -E 'Cap(Eff|Bnd)|Seccomp:' /proc/self/status; ls /proc/self/fd",
        ]),
    )
    .unwrap()
    .finish();
    assert_eq!(
        out,
        "CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\n0\n1\n2\n3\n"
    );

    for (command, expected) in [("nosuch", 127), ("/etc", 126)] {
        let error = exec(&bundle, process(&[command])).err().unwrap();
        assert_eq!(error.exit_code(), expected, "{error}");
    }
    let sleeping = exec(&bundle, process(&["sleep", "100"])).unwrap();
    sleeping.handle.signal(libc::SIGKILL).unwrap();
    assert_eq!(sleeping.finish().1, 137);

    let leftovers: Vec<_> = std::fs::read_dir(bundle.state_dir().join("oci"))
        .unwrap()
        .filter(|e| {
            e.as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with("tenant")
        })
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
    stop(&bundle, launched.monitor_pid);
}

#[test]
fn many_processes_at_once_all_end_as_they_should() {
    let bundle = idle();
    let launched = bundle.launch();
    let running: Vec<Exec> = (0..20)
        .map(|n| {
            exec(
                &bundle,
                process(&["sh", "-c", &format!("echo {n}; exit {n}")]),
            )
            .unwrap()
        })
        .collect();
    for (n, exec) in running.into_iter().enumerate() {
        assert_eq!(exec.finish(), (format!("{n}\n"), n as i32));
    }
    stop(&bundle, launched.monitor_pid);
}

#[test]
fn an_executed_process_can_have_a_terminal() {
    let bundle = idle();
    let launched = bundle.launch();
    let mut process = process(&["sh", "-c", "tty; stty size; read x; echo got $x; exit 6"]);
    process.set_terminal(Some(true));
    let request = ExecRequest {
        process,
        tty: Some(WindowSize { rows: 33, cols: 77 }),
        end_command: Vec::new(),
    };
    let mut handle = client(&bundle).exec(request, None).unwrap();
    let mut terminal = File::from(handle.pty.take().unwrap());
    terminal.write_all(b"word\n").unwrap();
    let mut out = Vec::new();
    // The terminal's end shows as an error.
    let _ = terminal.read_to_end(&mut out);
    let out = String::from_utf8_lossy(&out);
    assert!(out.contains("33 77") && out.contains("got word"), "{out}");
    assert_eq!(handle.wait().unwrap(), 6);
    stop(&bundle, launched.monitor_pid);
}

#[test]
fn a_paused_container_refuses_exec_at_once() {
    let bundle = idle();
    let launched = bundle.launch();
    bundle.cgroup().freeze(true).unwrap();
    let error = exec(&bundle, process(&["true"])).err().unwrap();
    assert!(error.to_string().contains("paused"), "{error}");
    bundle.cgroup().freeze(false).unwrap();
    assert_eq!(exec(&bundle, process(&["true"])).unwrap().finish().1, 0);
    stop(&bundle, launched.monitor_pid);
}

#[test]
fn a_terminal_of_the_host_is_not_handed_in() {
    let bundle = idle();
    let launched = bundle.launch();
    let pty = nix::pty::openpty(None, None).unwrap();
    let slave: OwnedFd = pty.slave;
    let stdio = ExecStdio {
        stdin: slave.as_fd(),
        stdout: slave.as_fd(),
        stderr: slave.as_fd(),
    };
    let request = ExecRequest {
        process: process(&["true"]),
        tty: None,
        end_command: Vec::new(),
    };
    let refused = client(&bundle).exec(request, Some(stdio)).err().unwrap();
    assert!(matches!(refused, Error::HostTerminal));
    stop(&bundle, launched.monitor_pid);
}

#[test]
fn running_out_of_memory_is_told() {
    // awk doubles a string until its cgroup's limit ends it.
    let mut bundle = Bundle::new(&["awk", "BEGIN { s = \"0123456789\"; while (1) s = s s }"]);
    let mut linux = bundle.spec.linux().clone().unwrap();
    let mut resources = linux.resources().clone().unwrap();
    let memory = LinuxMemoryBuilder::default().limit(16 << 20).swap(16 << 20);
    resources.set_memory(Some(memory.build().unwrap()));
    linux.set_resources(Some(resources));
    bundle.spec.set_linux(Some(linux));
    let launched = bundle.launch();
    assert_eq!(
        bundle
            .cgroup()
            .stats()
            .map(|s| s.memory_limit)
            .ok()
            .flatten(),
        Some(16 << 20)
    );
    reap(launched.monitor_pid);
    match bundle.status() {
        Status::Exited(exit) => assert_eq!((exit.code, exit.oom_killed), (137, true)),
        other => panic!("{other:?}"),
    }
    bundle.assert_nothing_left();
}

#[test]
fn a_killed_monitor_takes_its_container_along_and_is_cleaned_up_after() {
    let bundle = idle();
    let mut launched = bundle.attached(EVERYTHING);
    let stream = launched.attach.as_mut().unwrap();
    read_until(stream, "ready");
    kill(Pid::from_raw(launched.monitor_pid), Signal::SIGKILL).unwrap();
    let lost = loop {
        match stream.next_event() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(lost, Error::MonitorLost), "{lost}");
    reap(launched.monitor_pid);
    assert_eq!(bundle.status(), Status::Gone);
    clean_up_dead(bundle.state_dir()).unwrap();
    // Dead, though its new parent may not have looked yet.
    await_that("it lives", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", launched.container_pid));
        let stat = stat.unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ")
    });
    bundle.assert_nothing_left();
    // Once more does no harm.
    clean_up_dead(bundle.state_dir()).unwrap();
}

#[test]
fn the_exit_command_runs_unless_a_client_settles() {
    let marker = |bundle: &Bundle| bundle.dir.path().join("settled");
    let with_command = || {
        let mut bundle = Bundle::new(&["true"]);
        let path = marker(&bundle).to_string_lossy().into_owned();
        bundle.launch.exit_command = vec!["/bin/busybox".to_owned(), "touch".to_owned(), path];
        bundle
    };
    let promising = AttachOptions {
        settle: true,
        ..EVERYTHING
    };
    let appears = |bundle: &Bundle| {
        (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            marker(bundle).exists()
        })
    };

    let nobody = with_command();
    reap(nobody.launch().monitor_pid);
    assert!(appears(&nobody));

    let broken = with_command();
    let mut launched = broken.attached(promising);
    exit_of(launched.attach.as_mut().unwrap());
    drop(launched.attach);
    reap(launched.monitor_pid);
    assert!(appears(&broken));

    let kept = with_command();
    let mut launched = kept.attached(promising);
    exit_of(launched.attach.as_mut().unwrap());
    launched.attach.unwrap().settled().unwrap();
    reap(launched.monitor_pid);
    assert!(!marker(&kept).exists());
}

#[test]
fn a_log_that_was_renamed_is_opened_anew() {
    let mut bundle = Bundle::new(&["sh", "-c", "while read x; do echo $x; done"]);
    bundle.launch.stdio.open_stdin = true;
    bundle.launch.log.as_mut().unwrap().max_size = 0;
    let mut launched = bundle.attached(EVERYTHING);
    let stream = launched.attach.as_mut().unwrap();
    let mut say = |word: &str| {
        stream.send_stdin(format!("{word}\n").as_bytes()).unwrap();
        read_until(stream, word);
    };
    let (log, old) = (
        bundle.dir.path().join("log"),
        bundle.dir.path().join("log.old"),
    );
    say("one");
    std::fs::rename(&log, &old).unwrap();
    say("two");
    client(&bundle).reopen_log().unwrap();
    say("three");
    let words = |path: &std::path::Path| -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let last = |line: &str| line.rsplit(' ').next().unwrap().to_owned();
        text.lines().map(last).collect()
    };
    assert_eq!(
        (words(&old), words(&log)),
        (vec!["one".into(), "two".into()], vec!["three".into()])
    );

    // Where none can be made, the old one goes on.
    std::fs::rename(&log, &old).unwrap();
    std::fs::create_dir(&log).unwrap();
    let refused = client(&bundle).reopen_log().unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
    say("four");
    assert_eq!(words(&old), ["three", "four"]);
    drop(launched.attach);
    stop(&bundle, launched.monitor_pid);

    let mut silent = idle();
    silent.launch.log = None;
    let launched = silent.launch();
    client(&silent).reopen_log().unwrap();
    stop(&silent, launched.monitor_pid);
}

#[test]
fn everything_an_executed_process_has_started_can_be_killed() {
    let bundle = idle();
    let launched = bundle.launch();
    // What has ended has no command line, even where nobody has asked for its status yet.
    let sleepers = || {
        let mut pids = bundle.cgroup().processes().unwrap();
        pids.retain(|pid| {
            let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
            command.is_ok_and(|c| c.ends_with("\x001000\0"))
        });
        pids.len()
    };
    // Children, a child's child, one in a session of its own, and one whose parent has ended.
    let script = "sleep 1000 & sh -c 'sleep 1000; true' & setsid sleep 1000 & (sleep 1000 &); trap '' TERM; echo up; wait";
    let mut running = exec(&bundle, process(&["sh", "-c", script])).unwrap();
    let mut ready = [0; 3];
    running.out.read_exact(&mut ready).unwrap();
    await_that("not all are there", || sleepers() == 4);
    running.handle.kill_all().unwrap();
    let (out, code) = running.finish();
    assert_eq!((out.as_str(), code), ("", 137));
    await_that("some live on", || sleepers() == 0);
    assert!(matches!(bundle.status(), Status::Running { .. }));

    let done = exec(&bundle, process(&["true"])).unwrap();
    await_that("no end", || {
        let mut fds = [nix::poll::PollFd::new(
            done.handle.as_fd(),
            nix::poll::PollFlags::POLLIN,
        )];
        nix::poll::poll(&mut fds, 0u16).unwrap() == 1
    });
    done.handle.kill_all().unwrap();
    assert_eq!(done.finish().1, 0);
    stop(&bundle, launched.monitor_pid);
}
