//! CheckpointContainer: a running container in an archive, where CRIU works, and the reason where it does not.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rctr_cri::api;
use rctr_tests::cri::{Cri, refused, shell};
use rctr_tests::{installed, parsed, text};
use tonic::{Code, Status};

fn checkpoint(cri: &Cri, container: &str, location: &Path) -> Result<(), Status> {
    checkpoint_within(cri, container, location, 0)
}

fn checkpoint_within(
    cri: &Cri,
    container: &str,
    location: &Path,
    timeout: i64,
) -> Result<(), Status> {
    let request = api::CheckpointContainerRequest {
        container_id: container.to_owned(),
        location: text(location),
        timeout,
    };
    let done = cri.runtime(async |c| c.checkpoint_container(request.clone()).await);
    done.map(drop)
}

/// The members of an archive.
fn members(archive: impl Read) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().expect("an archive");
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.expect("a member");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("its content");
        (entry.path().expect("a path").into_owned(), content)
    };
    entries.map(read).collect()
}

#[test]
fn a_container_is_written_to_an_archive_and_goes_on() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("saved");
    let pod = cri.run_pod(&config);
    let script = "echo changed > /etc/new; rm /etc/passwd; n=0; while sleep 0.05; do n=$((n+1)); echo $n > /tmp/n; done";
    let container = cri.run(&pod, &config, shell("counts", script));
    let count = || {
        cri.sh(&container, "cat /tmp/n 2>/dev/null || echo 0")
            .trim()
            .parse::<u64>()
            .unwrap_or_default()
    };
    rctr_tests::wait_for("it to count", || count() > 2);
    let dir = tempfile::tempdir().expect("a directory");
    let location = dir.path().join("checkpoint.tar");

    refused(checkpoint(&cri, &"f".repeat(64), &location), Code::NotFound);
    refused(
        checkpoint(&cri, &container, Path::new("")),
        Code::InvalidArgument,
    );
    let works = Command::new("criu").arg("check").output();
    let works = works.is_ok_and(|output| output.status.success());
    let done = checkpoint(&cri, &container, &location);
    if !works {
        let code = if installed("criu") {
            Code::Unknown
        } else {
            Code::Unimplemented
        };
        let reason = refused(done, code);
        assert!(reason.to_lowercase().contains("criu"), "{reason}");
        assert!(!location.exists());
    } else {
        done.expect("a checkpoint");
        let mode = std::fs::metadata(&location)
            .expect("an archive")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let members = members(std::fs::File::open(&location).expect("an archive"));
        let of = |name: &str| {
            members
                .get(Path::new(name))
                .unwrap_or_else(|| panic!("{name}"))
        };
        for name in [
            "checkpoint/pstree.img",
            "checkpoint/inventory.img",
            "dump.log",
            "stats-dump",
        ] {
            of(name);
        }
        let origin = parsed(of("config.dump"));
        assert_eq!(
            (&origin["id"], &origin["name"]),
            (&container.as_str().into(), &"counts".into())
        );
        assert_eq!(origin["rootfsImageRef"], cri.status(&container).image_ref);
        let spec = parsed(of("spec.dump"));
        assert_eq!(spec["process"]["args"][2], script);
        let changes = self::members(of("rootfs-diff.tar").as_slice());
        assert_eq!(changes[Path::new("etc/new")], b"changed\n");
        assert!(
            changes.contains_key(Path::new("etc/.wh.passwd")),
            "{:?}",
            changes.keys()
        );
        assert!(!changes.contains_key(Path::new("etc/resolv.conf")));
    }
    let before = count();
    rctr_tests::wait_for("it to go on", || count() > before);
    assert_eq!(
        cri.status(&container).state(),
        api::ContainerState::ContainerRunning
    );
    cri.stop(&container, 0);
    refused(
        checkpoint(&cri, &container, &location),
        Code::FailedPrecondition,
    );
    let entries = rctr_tests::entries(&cri.env().root().join("containers").join(&container));
    assert!(
        !entries.iter().any(|name| name.starts_with("checkpoint-")),
        "{entries:?}"
    );
}

#[test]
fn a_checkpoint_that_takes_too_long_is_given_up() {
    let cri = Cri::new();
    cri.pull("busybox");
    let config = cri.pod_config("late");
    let pod = cri.run_pod(&config);
    let container = cri.run(&pod, &config, shell("c", "sleep 1000"));
    // One with a CRIU that does not come to anything takes the service's place.
    cri.end(Signal::SIGTERM);
    let bin = cri.env().path("bin");
    std::fs::create_dir(&bin).expect("a directory");
    std::fs::write(bin.join("criu"), "#!/bin/sh\nexec sleep 3\n").expect("a program");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(bin.join("criu"), executable).expect("executable");
    let path = std::env::var("PATH").expect("a path");
    let listen = format!("--listen=unix://{}", cri.socket().display());
    let mut server = cri
        .env()
        .command(["cri", &listen])
        .env("PATH", format!("{}:{path}", bin.display()))
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    rctr_tests::wait_for("the service", || cri.try_status(&container).is_ok());
    let dir = tempfile::tempdir().expect("a directory");
    let location = dir.path().join("checkpoint.tar");
    let began = Instant::now();
    let said = refused(
        checkpoint_within(&cri, &container, &location, 1),
        Code::DeadlineExceeded,
    );
    assert!(said.contains("1 s"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(3));
    refused(
        checkpoint_within(&cri, &container, &location, -1),
        Code::InvalidArgument,
    );
    let stages = || {
        let entries = rctr_tests::entries(&cri.env().root().join("containers").join(&container));
        entries.iter().any(|name| name.starts_with("checkpoint-"))
    };
    rctr_tests::wait_for("what was begun to be cleared", || !stages());
    assert!(!location.exists());
    assert_eq!(
        cri.status(&container).state(),
        api::ContainerState::ContainerRunning
    );
    let pid = Pid::from_raw(i32::try_from(server.id()).expect("a pid"));
    kill(pid, Signal::SIGTERM).expect("it lives");
    server.wait().expect("a child");
}
