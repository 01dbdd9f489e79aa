//! SELinux labels of pods and their containers. Only where SELinux is enabled, as in the guest with a policy of its own;
//! what can never be a label is refused anywhere.

use std::os::unix::fs::symlink;
use std::path::Path;

use rctr_cri::api;
use rctr_tests::cri::{Cri, Pod, mount, refused, secured, shell};
use tonic::Code;

const CURRENT: &str = "cat /proc/self/attr/current";

fn enabled() -> bool {
    let current = std::fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    let enabled = Path::new("/sys/fs/selinux/enforce").exists() && current.contains("_t:");
    if !enabled {
        eprintln!("SELinux is not enabled here");
    }
    enabled
}

fn option(kind: &str, level: &str) -> Option<api::SeLinuxOption> {
    Some(api::SeLinuxOption {
        r#type: kind.into(),
        level: level.into(),
        ..Default::default()
    })
}

fn labelled(name: &str, script: &str, options: Option<api::SeLinuxOption>) -> api::ContainerConfig {
    api::ContainerConfig {
        linux: Some(secured(|c| c.selinux_options = options)),
        ..shell(name, script)
    }
}

fn label_of(file: &Path) -> String {
    let mut value = [0; 256];
    let length = rustix::fs::lgetxattr(file, "security.selinux", &mut value).expect("a label");
    let text = String::from_utf8_lossy(&value[..length]);
    text.trim_end_matches('\0').to_owned()
}

fn told(pod: &Pod, config: api::ContainerConfig) -> String {
    pod.output(config).trim_end_matches(['\n', '\0']).to_owned()
}

#[test]
fn words_that_no_label_has_are_refused() {
    let pod = Pod::new("words");
    let wrong = || option("", "s0,c4,c5");
    let said = pod.refused(labelled("c", "true", wrong()));
    assert!(said.contains("s0,c4,c5"), "{said}");
    let mut config = pod.cri.pod_config("wrong");
    let linux = config.linux.as_mut().expect("linux");
    linux.security_context = Some(api::LinuxSandboxSecurityContext {
        selinux_options: wrong(),
        ..Default::default()
    });
    let said = refused(pod.cri.try_run_pod(&config, ""), Code::InvalidArgument);
    assert!(said.contains("s0,c4,c5"), "{said}");
}

#[test]
fn each_pod_has_a_level_that_its_containers_share() {
    if !enabled() {
        return;
    }
    let pod = Pod::new("one");
    let process = told(&pod, shell("a", CURRENT));
    let level = process.strip_prefix("system_u:system_r:container_t:");
    let level = level.unwrap_or_else(|| panic!("{process}")).to_owned();
    assert!(level.starts_with("s0:c") && level.contains(",c"), "{level}");
    pod.cri.restart();
    assert_eq!(told(&pod, shell("b", CURRENT)), process);
    let typed = labelled("typed", CURRENT, option("spc_t", ""));
    assert_eq!(
        told(&pod, typed),
        format!("system_u:system_r:spc_t:{level}")
    );
    let sleeper = pod.run(shell("exec", "sleep 1000"));
    let exec = pod.cri.sh(&sleeper, CURRENT);
    assert_eq!(exec.trim_end_matches(['\n', '\0']), process);

    // So are the files of all that is mounted for it.
    let context = format!("context=\"system_u:object_r:container_file_t:{level}\"");
    let mounts = pod.cri.sh(&sleeper, "cat /proc/mounts");
    for place in ["/", "/dev", "/dev/shm", "/dev/pts"] {
        let found = mounts
            .lines()
            .find(|line| line.split(' ').nth(1) == Some(place));
        let line = found.unwrap_or_else(|| panic!("{place} in {mounts}"));
        assert!(line.contains(&context), "{line}");
    }

    let config = pod.cri.pod_config("other");
    let other = pod.cri.run_pod(&config);
    let id = pod.cri.run(&other, &config, shell("c", "sleep 1000"));
    let theirs = pod.cri.sh(&id, CURRENT);
    assert!(theirs.contains(":container_t:s0:c"), "{theirs}");
    assert_ne!(theirs.trim_end_matches(['\n', '\0']), process);
}

#[test]
fn the_first_process_of_a_pod_with_shared_processes_has_the_pod_s_label() {
    if !enabled() {
        return;
    }
    let cri = Cri::new();
    cri.pull("busybox");
    let mut config = cri.pod_config("shared");
    let linux = config.linux.as_mut().expect("linux");
    linux.security_context = Some(api::LinuxSandboxSecurityContext {
        selinux_options: option("", "s0:c1,c2"),
        namespace_options: Some(api::NamespaceOption {
            pid: api::NamespaceMode::Pod.into(),
            ..Default::default()
        }),
        ..Default::default()
    });
    let id = cri.run_pod(&config);
    let pod = Pod { cri, config, id };
    let mut looking = labelled("a", "cat /proc/1/attr/current", None);
    let context = looking
        .linux
        .as_mut()
        .and_then(|linux| linux.security_context.as_mut())
        .expect("a context");
    context.namespace_options = Some(api::NamespaceOption {
        pid: api::NamespaceMode::Pod.into(),
        ..Default::default()
    });
    assert_eq!(
        told(&pod, looking),
        "system_u:system_r:container_t:s0:c1,c2"
    );
}

#[test]
fn what_a_kubelet_names_becomes_the_label() {
    if !enabled() {
        return;
    }
    let cri = Cri::new();
    cri.pull("busybox");
    let mut config = cri.pod_config("named");
    let linux = config.linux.as_mut().expect("linux");
    linux.security_context = Some(api::LinuxSandboxSecurityContext {
        selinux_options: option("spc_t", "s0:c1,c2"),
        privileged: true,
        ..Default::default()
    });
    let id = cri.run_pod(&config);
    let pod = Pod { cri, config, id };
    assert_eq!(
        told(&pod, shell("a", CURRENT)),
        "system_u:system_r:spc_t:s0:c1,c2"
    );
    let own = labelled("own", CURRENT, option("", "s0:c3"));
    assert_eq!(told(&pod, own), "system_u:system_r:container_t:s0:c3");
    // What the policy makes of who starts it.
    let mut privileged = labelled("privileged", CURRENT, None);
    if let Some(context) = privileged
        .linux
        .as_mut()
        .and_then(|linux| linux.security_context.as_mut())
    {
        context.privileged = true;
    }
    let own = std::fs::read_to_string("/proc/self/attr/current").expect("a label");
    assert_eq!(told(&pod, privileged), own.trim_end_matches('\0'));
    // The kernel decides what there is.
    let id = pod.create(labelled("none", "true", option("no_such_t", "")));
    let said = pod.cri.try_start(&id).expect_err("refused");
    let label = "set the SELinux label system_u:system_r:no_such_t:s0:c1,c2: invalid argument";
    assert!(said.message().contains(label), "{said}");
}

#[test]
fn volumes_are_relabelled_where_a_kubelet_asks_for_it() {
    if !enabled() {
        return;
    }
    let pod = Pod::new("volumes");
    let (volume, outside) = (pod.dir("volume/below"), pod.dir("outside"));
    let volume = volume.parent().expect("a directory").to_owned();
    std::fs::write(volume.join("below/file"), "").expect("a file");
    symlink(&outside, volume.join("link")).expect("a link");
    let before = label_of(&outside);
    let with = |name: &str, path: &Path, relabel| api::ContainerConfig {
        mounts: vec![api::Mount {
            selinux_relabel: relabel,
            ..mount("/v", path)
        }],
        ..labelled(name, "true", option("", "s0:c5,c6"))
    };
    pod.output(with("left", &volume, false));
    assert_eq!(label_of(&volume), before);
    pod.output(with("relabelled", &volume, true));
    let label = "system_u:object_r:container_file_t:s0:c5,c6";
    for name in ["", "below", "below/file", "link"] {
        assert_eq!(label_of(&volume.join(name)), label, "{name}");
    }
    assert_eq!(label_of(&outside), before);
    let said = pod.refused(with("host", Path::new("/usr"), true));
    assert!(said.contains("/usr"), "{said}");
}
