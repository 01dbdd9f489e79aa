//! What containers of pods are shown of the host, of images and of each other: mounts and devices.

use std::fs;
use std::path::{Path, PathBuf};

use rctr_cri::api;
use rctr_tests::cri::{Pod, image, mount, refused, secured, shell};
use rctr_tests::{Mounted, entries};
use tonic::Code;

fn sleeper(name: &str, mounts: Vec<api::Mount>) -> api::ContainerConfig {
    api::ContainerConfig {
        mounts,
        ..shell(name, "sleep 1000")
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
fn an_image_that_is_mounted_can_be_removed() {
    let pod = Pod::new("removed");
    let layers = pod.cri.env().root().join("layers");
    let before = entries(&layers).len();
    let layered = pod.cri.pull("layers128");
    let remove = || {
        let request = api::RemoveImageRequest {
            image: Some(image(&layered)),
        };
        let removed = pod.cri.images(async |c| c.remove_image(request).await);
        removed.expect("RemoveImage");
        pod.cri.env().rctr(["internal", "gc"]).ok();
    };
    let mounts = vec![volume("/v", &layered, "")];
    let id = pod.run(sleeper("a", mounts));
    let files = pod.cri.sh(&id, "find /v -type f | wc -l");
    assert_ne!(files, "0");
    remove();
    assert_eq!(
        pod.cri.sh(
            &id,
            "find /v -type f | wc -l; cat $(find /v -type f) > /dev/null"
        ),
        files
    );
    let config = sleeper("b", vec![volume("/v", &layered, "")]);
    pod.refused_as(config, Code::NotFound);
    // Pulled anew, it is what the pod has mounted already.
    pod.cri.pull("layers128");
    let other = pod.run(sleeper("c", vec![volume("/v", &layered, "")]));
    assert_eq!(pod.cri.sh(&other, "find /v -type f | wc -l"), files);
    remove();
    pod.cri.remove_pod(&pod.id);
    pod.cri.env().rctr(["internal", "gc"]).ok();
    assert_eq!(entries(&layers).len(), before);
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
        let mut config = sleeper(name, vec![shown]);
        config.linux = Some(secured(|context| context.privileged = true));
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
    fn new(name: &str, content: &str) -> Self {
        let dir = Path::new("/var/run/cdi");
        fs::create_dir_all(dir).expect("a directory");
        let path = dir.join(name);
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
        &format!("{vendor}.json"),
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
    // As the generators of vendors write them.
    let yaml = format!(
        "---\ncdiVersion: 0.5.0\nkind: {vendor}/other\ndevices:\n- name: \"0\"\n  containerEdits:\n    \
         deviceNodes:\n    - path: /dev/other\n      hostPath: /dev/null\ncontainerEdits:\n  env:\n  - OTHER=0\n"
    );
    let _yaml = VendorFile::new(&format!("{vendor}-other.yaml"), &yaml);
    let mut config = sleeper("yaml", Vec::new());
    config.cdi_devices = vec![api::CdiDevice {
        name: format!("{vendor}/other=0"),
    }];
    let other = pod.run(config);
    assert_eq!(
        pod.cri.sh(
            &other,
            "echo x > /dev/other && stat -c %t:%T /dev/other; echo $OTHER"
        ),
        "1:3\n0"
    );
    let words = pod.refused(named("b", "two"));
    assert!(words.contains("thing=two is not known"), "{words}");
}

#[test]
fn directories_are_shared_inside_a_pod() {
    let pod = Pod::new("volumes");
    let volume = pod.cri.env().path("empty-dir");
    fs::create_dir(&volume).expect("a directory");
    let with = |name: &str, read_only: bool| {
        let mut config = shell(name, "sleep 1000");
        config.mounts.push(api::Mount {
            readonly: read_only,
            ..mount("/cache", &volume)
        });
        config
    };
    let writer = pod.run(with("writer", false));
    let reader = pod.run(with("reader", true));
    pod.cri.sh(&writer, "echo shared > /cache/file");
    assert_eq!(pod.cri.sh(&reader, "cat /cache/file"), "shared");
    let refused = pod
        .cri
        .try_exec(&reader, &["touch", "/cache/other"], 5)
        .expect("ExecSync");
    assert_ne!(refused.exit_code, 0);
}

#[test]
fn configuration_files_follow_their_links() {
    let pod = Pod::new("configmap");
    let volume = pod.cri.env().path("config-map");
    let version = |name: &str, text: &str| {
        fs::create_dir_all(volume.join(name)).expect("a directory");
        fs::write(volume.join(name).join("app.conf"), text).expect("a file");
    };
    version("..1", "one");
    std::os::unix::fs::symlink("..1", volume.join("..data")).expect("a link");
    std::os::unix::fs::symlink("..data/app.conf", volume.join("app.conf")).expect("a link");
    let mut config = shell("c", "sleep 1000");
    config.mounts.push(api::Mount {
        readonly: true,
        ..mount("/etc/app", &volume)
    });
    // What subPath does: the kubelet names the file behind the links.
    config
        .mounts
        .push(mount("/etc/one.conf", &volume.join("app.conf")));
    let id = pod.run(config);
    assert_eq!(
        pod.cri.sh(&id, "cat /etc/app/app.conf /etc/one.conf"),
        "oneone"
    );
    version("..2", "two");
    std::os::unix::fs::symlink("..2", volume.join("..new")).expect("a link");
    fs::rename(volume.join("..new"), volume.join("..data")).expect("renamed");
    assert_eq!(pod.cri.sh(&id, "cat /etc/app/app.conf"), "two");
}

#[test]
fn mounts_that_make_no_sense_are_refused() {
    let pod = Pod::new("badmounts");
    let refuse = |mount: api::Mount| {
        let mut config = shell("c", "true");
        config.mounts.push(mount);
        let outcome = pod.cri.try_create(&pod.id, &pod.config, config);
        refused(outcome, Code::InvalidArgument)
    };
    refuse(api::Mount {
        container_path: "/x".into(),
        ..Default::default()
    });
    for root in ["/", "//", "/.", "/../"] {
        let said = refuse(mount(root, Path::new("/tmp")));
        assert!(said.contains("root"), "{said}");
    }
    // Whose working directory would it be in?
    let said = refuse(mount("/x", Path::new("relative/here")));
    assert!(said.contains("not absolute"), "{said}");
    let said = refuse(api::Mount {
        recursive_read_only: true,
        ..mount("/x", Path::new("/tmp"))
    });
    assert!(said.contains("/x"), "{said}");
    assert!(
        pod.cri.containers(None).is_empty(),
        "no name stays reserved"
    );
}
