//! The units that rctr ships, where systemd runs the machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use rctr_cri::api;
use rctr_tests::cri::{Cri, Pod, shell};
use rctr_tests::{Env, rctr_binary, workspace};

const UNITS: &str = "/run/systemd/system";
const NAMES: [&str; 2] = ["rctr-cri.socket", "rctr-cri.service"];

fn systemctl(words: &[&str]) -> String {
    let done = Command::new("systemctl").args(words).output();
    let done = done.expect("systemctl runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(
        done.status.success(),
        "systemctl {words:?}: {}",
        text(&done.stderr)
    );
    text(&done.stdout)
}

/// Both units as `make install` makes them, for one test's rctr.
struct Units;

impl Units {
    fn install(cri: &Cri) -> Self {
        let prefix = cri.env().path("prefix");
        let rctr = rctr_binary();
        let monitor = rctr.with_file_name("rctr-monitor");
        for (from, to) in [(&rctr, "bin/rctr"), (&monitor, "libexec/rctr/rctr-monitor")] {
            let to = prefix.join(to);
            fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
            fs::copy(from, to).expect("a copy");
        }
        let (prefix, socket) = (prefix.display(), cri.socket());
        let env = cri.env();
        let own = [
            format!(
                "[Socket]\nListenStream=\nListenStream={}\n",
                socket.display()
            ),
            format!(
                "[Service]\nEnvironment=RCTR_ROOT={} RCTR_STATE={} RCTR_CONFIG={}\nExecStart=\n\
                 ExecStart={prefix}/bin/rctr cri --listen unix://{}\n",
                env.root().display(),
                env.state().display(),
                env.config_file().display(),
                socket.display()
            ),
        ];
        for (name, own) in NAMES.into_iter().zip(own) {
            let shipped = workspace().join("dist").join(name);
            let text = fs::read_to_string(shipped).expect("a unit");
            let unit = Path::new(UNITS).join(name);
            fs::write(&unit, text.replace("@PREFIX@", &prefix.to_string())).expect("a unit");
            let more = Path::new(UNITS).join(format!("{name}.d"));
            fs::create_dir_all(&more).expect("a directory");
            fs::write(more.join("test.conf"), own).expect("a file");
        }
        systemctl(&["daemon-reload"]);
        Units
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        // One that has not been started is fine.
        let _ = Command::new("systemctl").arg("stop").args(NAMES).status();
        for name in NAMES {
            let _ = fs::remove_file(Path::new(UNITS).join(name));
            let _ = fs::remove_dir_all(Path::new(UNITS).join(format!("{name}.d")));
        }
        let _ = Command::new("systemctl").arg("daemon-reload").status();
    }
}

#[test]
fn pods_outlive_the_unit_and_the_socket_starts_it() {
    if !Path::new(UNITS).is_dir() {
        eprintln!("no systemd here");
        return;
    }
    let cri = Cri::over(Env::builder().cgroup_driver("systemd"));
    // From here on systemd's serves the requests.
    cri.end(Signal::SIGTERM);
    let _units = Units::install(&cri);
    let [socket, service] = NAMES;
    // It is started once it answers.
    systemctl(&["start", service]);
    let version = cri.runtime(async |c| c.version(api::VersionRequest::default()).await);
    version.expect("Version");
    let pod = Pod::on(cri, "unit");
    let id = pod.run(shell("main", "sleep 1000"));
    let before = pod.cri.status(&id);

    systemctl(&["restart", service]);
    assert_eq!(pod.cri.status(&id), before);
    assert_eq!(pod.cri.sh(&id, "echo still"), "still");

    systemctl(&["stop", service]);
    systemctl(&["start", socket]);
    let state = Command::new("systemctl")
        .args(["is-active", service])
        .output();
    assert_eq!(state.expect("systemctl runs").stdout, b"inactive\n");
    assert_eq!(pod.cri.status(&id), before, "the first call starts it");
    assert_eq!(systemctl(&["is-active", service]), "active");
    pod.cri.remove_pod(&pod.id);
    systemctl(&["stop", socket, service]);
}
