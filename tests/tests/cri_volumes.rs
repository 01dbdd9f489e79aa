//! What containers of pods are shown of the host, of images and of each other: mounts, devices, namespaces, groups.

use std::fs;
use std::path::{Path, PathBuf};

use rctr_cri::api;
use rctr_tests::Mounted;
use rctr_tests::cri::{Cri, image, refused, shell};
use tonic::Code;

struct Pod {
    cri: Cri,
    config: api::PodSandboxConfig,
    id: String,
}

impl Pod {
    fn new(name: &str) -> Self {
        let cri = Cri::new();
        cri.pull("busybox");
        let config = cri.pod_config(name);
        let id = cri.run_pod(&config);
        Self { cri, config, id }
    }

    fn run(&self, config: api::ContainerConfig) -> String {
        self.cri.run(&self.id, &self.config, config)
    }

    fn refused(&self, config: api::ContainerConfig) -> String {
        let made = self.cri.try_create(&self.id, &self.config, config);
        refused(made, Code::InvalidArgument)
    }

    fn dir(&self, name: &str) -> PathBuf {
        let dir = self.cri.env().path(name);
        fs::create_dir_all(&dir).expect("a directory");
        dir
    }
}

fn sleeper(name: &str, mounts: Vec<api::Mount>) -> api::ContainerConfig {
    api::ContainerConfig {
        mounts,
        ..shell(name, "sleep 1000")
    }
}

fn mount(inside: &str, host: &Path) -> api::Mount {
    api::Mount {
        container_path: inside.into(),
        host_path: host.to_string_lossy().into_owned(),
        ..Default::default()
    }
}

fn volume(inside: &str, id: &str, sub_path: &str) -> api::Mount {
    api::Mount {
        container_path: inside.into(),
        image: Some(image(id)),
        image_sub_path: sub_path.into(),
        readonly: true,
        ..Default::default()
    }
}

fn secured(
    mut config: api::ContainerConfig,
    change: impl FnOnce(&mut api::LinuxContainerSecurityContext),
) -> api::ContainerConfig {
    let mut context = api::LinuxContainerSecurityContext::default();
    change(&mut context);
    config.linux = Some(api::LinuxContainerConfig {
        security_context: Some(context),
        ..Default::default()
    });
    config
}

#[test]
fn images_are_volumes() {
    let pod = Pod::new("images");
    // One layer, and several.
    let busybox = pod.cri.pull("busybox");
    let layered = pod.cri.pull("layers128");
    let mounts = vec![
        volume("/whole", &busybox, ""),
        volume("/bins", &busybox, "bin"),
        volume("/many", &layered, ""),
    ];
    let id = pod.run(sleeper("a", mounts.clone()));
    let twice = pod.run(sleeper("b", mounts));
    for id in [&id, &twice] {
        assert_eq!(
            pod.cri
                .sh(id, "cmp /whole/bin/busybox /bin/busybox && echo same"),
            "same"
        );
        assert_eq!(
            pod.cri
                .sh(id, "cmp /bins/busybox /bin/busybox && echo same"),
            "same"
        );
        assert_ne!(pod.cri.sh(id, "ls /many | wc -l"), "0");
        assert_eq!(
            pod.cri.sh(id, "touch /whole/x 2>/dev/null || echo refused"),
            "refused"
        );
        let run = "/whole/bin/busybox echo ran";
        assert_eq!(pod.cri.sh(id, run), "ran", "its programs can be executed");
    }
    for mount in pod.cri.status(&id).mounts {
        let volume = mount.image.expect("an image");
        assert_eq!(volume.image_ref, volume.image, "{}", mount.container_path);
    }
    let error = pod.refused(sleeper("c", vec![volume("/v", &busybox, "no/such")]));
    assert!(error.contains("no/such"), "{error}");
    let written = api::Mount {
        readonly: false,
        ..volume("/v", &busybox, "")
    };
    let error = pod.refused(sleeper("d", vec![written]));
    assert!(error.contains("read-only"), "{error}");
    pod.cri.remove_pod(&pod.id);
    pod.cri.assert_no_leftovers();
}

#[test]
fn an_image_s_links_do_not_lead_out_of_it() {
    let pod = Pod::new("climbing");
    let busybox = pod.cri.pull("busybox");
    let mounts = vec![volume("/v", &busybox, "../../../../bin")];
    let id = pod.run(sleeper("a", mounts));
    assert_eq!(
        pod.cri.sh(&id, "cmp /v/busybox /bin/busybox && echo same"),
        "same"
    );
}

#[test]
fn links_of_the_host_are_followed_there() {
    let pod = Pod::new("links");
    let real = pod.dir("real");
    fs::write(real.join("file"), "found").expect("a file");
    let link = pod.cri.env().path("link");
    std::os::unix::fs::symlink(&real, &link).expect("a link");
    let missing = pod.cri.env().path("missing/dir");
    let id = pod.run(sleeper(
        "a",
        vec![mount("/link", &link), mount("/new", &missing)],
    ));
    assert_eq!(pod.cri.sh(&id, "cat /link/file; touch /new/x"), "found");
    assert!(missing.join("x").exists());
}

#[test]
fn read_only_means_all_below_only_where_it_says_so() {
    let pod = Pod::new("readonly");
    let dir = pod.dir("shown");
    let below = pod.dir("shown/below");
    let _mounted = Mounted::tmpfs(&below, "1m");
    let plain = api::Mount {
        readonly: true,
        ..mount("/plain", &dir)
    };
    let whole = api::Mount {
        readonly: true,
        recursive_read_only: true,
        ..mount("/whole", &dir)
    };
    let id = pod.run(sleeper("a", vec![plain, whole]));
    let write = |path: &str| {
        let script = format!("touch {path}/x 2>/dev/null && echo written || echo refused");
        pod.cri.sh(&id, &script)
    };
    assert_eq!(write("/plain"), "refused");
    assert_eq!(write("/plain/below"), "written");
    assert_eq!(write("/whole"), "refused");
    assert_eq!(write("/whole/below"), "refused");
}

#[test]
fn mounts_pass_as_far_as_they_may() {
    let pod = Pod::new("passing");
    let dir = pod.dir("shared");
    let _shared = Mounted::shared(&dir);
    for name in ["host", "inside"] {
        fs::create_dir(dir.join(name)).expect("a directory");
    }
    let with = |name: &str, propagation: api::MountPropagation| {
        let shown = api::Mount {
            propagation: propagation.into(),
            ..mount("/v", &dir)
        };
        let config = secured(sleeper(name, vec![shown]), |context| {
            context.privileged = true
        });
        pod.run(config)
    };
    use api::MountPropagation::{
        PropagationBidirectional, PropagationHostToContainer, PropagationPrivate,
    };
    let private = with("private", PropagationPrivate);
    let slave = with("slave", PropagationHostToContainer);
    let peer = with("peer", PropagationBidirectional);
    let of_host = Mounted::tmpfs(&dir.join("host"), "1m");
    fs::write(dir.join("host/late"), "x").expect("a file");
    let sees = |id: &str, file: &str| {
        let script = format!("test -e /v/{file} && echo yes || echo no");
        pod.cri.sh(id, &script)
    };
    assert_eq!(sees(&private, "host/late"), "no");
    assert_eq!(sees(&slave, "host/late"), "yes");
    assert_eq!(sees(&peer, "host/late"), "yes");
    for (id, reaches) in [(&slave, false), (&peer, true)] {
        pod.cri
            .sh(id, "mount -t tmpfs t /v/inside && touch /v/inside/mine");
        assert_eq!(dir.join("inside/mine").exists(), reaches);
        pod.cri.sh(id, "umount /v/inside");
    }
    drop(of_host);
}

#[test]
fn devices_of_the_host() {
    let pod = Pod::new("devices");
    let device = |host: &str, inside: &str, permissions: &str| api::Device {
        host_path: host.into(),
        container_path: inside.into(),
        permissions: permissions.into(),
    };
    let mut config = sleeper("a", Vec::new());
    config.devices = vec![
        device("/dev/null", "/dev/sink", "rw"),
        device("/dev/fuse", "/dev/fuse0", "r"),
    ];
    let id = pod.run(config);
    assert_eq!(
        pod.cri
            .sh(&id, "echo x > /dev/sink && stat -c %t:%T /dev/sink"),
        "1:3"
    );
    let opened =
        "exec 3</dev/fuse0 && echo readable; (exec 3>/dev/fuse0) 2>/dev/null || echo refused";
    assert_eq!(pod.cri.sh(&id, opened), "readable\nrefused");
}

/// A vendor's file in the directory for them, which goes with it.
struct VendorFile(PathBuf);

impl VendorFile {
    fn new(vendor: &str, content: &str) -> Self {
        let dir = Path::new("/var/run/cdi");
        fs::create_dir_all(dir).expect("a directory");
        let path = dir.join(format!("{vendor}.json"));
        fs::write(&path, content).expect("a file");
        Self(path)
    }
}

impl Drop for VendorFile {
    fn drop(&mut self) {
        // Somebody may have tidied up.
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_dir("/var/run/cdi");
    }
}

#[test]
fn devices_by_name() {
    let pod = Pod::new("cdi");
    let vendor = format!("rctr-test{}.example", std::process::id());
    let file = pod.dir("driver").join("library");
    fs::write(&file, "driver").expect("a file");
    let _file = VendorFile::new(
        &vendor,
        &serde_json::json!({
            "cdiVersion": "0.6.0",
            "kind": format!("{vendor}/thing"),
            "containerEdits": {"env": ["VENDOR=yes"]},
            "devices": [{"name": "one", "containerEdits": {
                "env": ["THING=one"],
                "deviceNodes": [{"path": "/dev/thing", "hostPath": "/dev/zero", "permissions": "r"}],
                "mounts": [{"hostPath": file, "containerPath": "/usr/lib/library", "options": ["ro", "bind"]}],
            }}],
        })
        .to_string(),
    );
    let named = |name: &str, device: &str| {
        let mut config = sleeper(name, Vec::new());
        config.cdi_devices = vec![api::CdiDevice {
            name: format!("{vendor}/thing={device}"),
        }];
        config
    };
    let id = pod.run(named("a", "one"));
    assert_eq!(
        pod.cri.sh(&id, "echo $VENDOR $THING; cat /usr/lib/library"),
        "yes one\ndriver"
    );
    assert_eq!(pod.cri.sh(&id, "head -c 3 /dev/thing | wc -c"), "3");
    let words = pod.refused(named("b", "two"));
    assert!(words.contains("thing=two is not known"), "{words}");
}

#[test]
fn what_is_hidden_and_what_cannot_be_written() {
    let pod = Pod::new("masks");
    let usual = pod.run(sleeper("usual", Vec::new()));
    assert_eq!(pod.cri.sh(&usual, "cat /proc/timer_list | wc -c"), "0");
    let own = secured(sleeper("own", Vec::new()), |context| {
        context.masked_paths = vec!["/proc/uptime".into()];
        context.readonly_paths = vec!["/etc".into()];
    });
    let own = pod.run(own);
    assert_eq!(pod.cri.sh(&own, "cat /proc/uptime | wc -c"), "0");
    assert_eq!(
        pod.cri.sh(&own, "touch /etc/x 2>/dev/null || echo refused"),
        "refused"
    );
    let privileged = secured(sleeper("privileged", Vec::new()), |c| c.privileged = true);
    let privileged = pod.run(privileged);
    assert_ne!(pod.cri.sh(&privileged, "cat /proc/timer_list | wc -c"), "0");
}

#[test]
fn processes_of_another_container_and_of_the_host() {
    let pod = Pod::new("scopes");
    let target = pod.run(shell("target", "exec sleep 4321"));
    let scoped = |name: &str, pid: api::NamespaceMode, target: &str| {
        secured(sleeper(name, Vec::new()), |context| {
            context.namespace_options = Some(api::NamespaceOption {
                pid: pid.into(),
                target_id: target.into(),
                ..Default::default()
            });
        })
    };
    let own = pod.run(scoped("own", api::NamespaceMode::Container, ""));
    let seen = |id: &str| pod.cri.sh(id, "ps -o args");
    assert!(!seen(&own).contains("sleep 4321"));
    let debugger = pod.run(scoped("debugger", api::NamespaceMode::Target, &target));
    let processes = seen(&debugger);
    assert!(processes.contains("sleep 4321"), "{processes}");
    assert!(!processes.contains("rctr"), "{processes}");
    // It goes, and its target stays.
    pod.cri.stop(&debugger, 0);
    assert_eq!(
        pod.cri.status(&target).state(),
        api::ContainerState::ContainerRunning
    );
    let of_host = pod.run(scoped("host", api::NamespaceMode::Node, ""));
    assert!(seen(&of_host).contains("sleep 4321"));
    assert!(
        pod.cri
            .sh(&of_host, "ls -d /proc/[0-9]*")
            .contains(&format!("/proc/{}", pod.cri.pid()))
    );
    pod.cri.stop(&of_host, 0);
    assert_eq!(
        pod.cri.status(&own).state(),
        api::ContainerState::ContainerRunning
    );
}

#[test]
fn groups_of_the_image_count_unless_they_shall_not() {
    let pod = Pod::new("groups");
    let user = pod.cri.pull("user");
    let groups = |name: &str, policy: api::SupplementalGroupsPolicy| {
        let mut config = secured(sleeper(name, Vec::new()), |context| {
            context.run_as_user = Some(api::Int64Value { value: 0 });
            context.run_as_group = Some(api::Int64Value { value: 5 });
            context.supplemental_groups = vec![7777];
            context.supplemental_groups_policy = policy.into();
        });
        config.image = Some(image(&user));
        let id = pod.run(config);
        pod.cri.sh(&id, "id -G")
    };
    let strict = groups("strict", api::SupplementalGroupsPolicy::Strict);
    assert_eq!(strict, "5 7777");
    let merged = groups("merged", api::SupplementalGroupsPolicy::Merge);
    assert!(
        merged.starts_with("5 ") && merged.ends_with(" 7777"),
        "{merged}"
    );
}

#[test]
fn users_that_make_no_sense_are_refused() {
    let pod = Pod::new("nousers");
    let with = |change: &dyn Fn(&mut api::LinuxContainerSecurityContext)| {
        pod.refused(secured(shell("x", "true"), change))
    };
    let both = with(&|c| {
        c.run_as_user = Some(api::Int64Value { value: 1 });
        c.run_as_username = "root".into();
    });
    assert!(both.contains("user"), "{both}");
    let unknown = with(&|c| c.run_as_username = "nobody-here".into());
    assert!(unknown.contains("nobody-here"), "{unknown}");
    with(&|c| c.run_as_username = "root:0".into());
}
