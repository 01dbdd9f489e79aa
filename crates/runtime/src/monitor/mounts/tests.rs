use super::*;
use crate::defaults;
use oci_spec::runtime::{
    LinuxBuilder, LinuxNamespaceBuilder, MountBuilder, RootBuilder, SpecBuilder,
};

fn spec(namespaces: &[LinuxNamespaceType], mounts: Vec<Mount>) -> Spec {
    let namespace = |&typ| LinuxNamespaceBuilder::default().typ(typ).build().unwrap();
    let linux = LinuxBuilder::default()
        .namespaces(namespaces.iter().map(namespace).collect::<Vec<_>>())
        .masked_paths(defaults::masked_paths())
        .readonly_paths(defaults::readonly_paths())
        .rootfs_propagation("shared");
    let root = RootBuilder::default().path("/r").readonly(true);
    SpecBuilder::default()
        .mounts(mounts)
        .linux(linux.build().unwrap())
        .root(root.build().unwrap())
        .build()
        .unwrap()
}

fn v2() -> Hierarchies {
    Hierarchies::V2 {
        root: "/sys/fs/cgroup".into(),
    }
}

#[test]
fn libcontainer_is_left_with_nothing_to_mount() {
    let own = [LinuxNamespaceType::Cgroup];
    let mut spec = spec(&own, defaults::mounts(1 << 20, false));
    let taken = Mounts::take_from(&mut spec, &v2(), None).unwrap();
    assert_eq!(spec.mounts().as_deref(), Some(&[][..]));
    assert_eq!(spec.root().as_ref().unwrap().readonly(), Some(false));
    let linux = spec.linux().as_ref().unwrap();
    assert!(linux.masked_paths().is_none() && linux.readonly_paths().is_none());
    assert_eq!(linux.rootfs_propagation().as_deref(), Some("private"));

    assert!(taken.read_only_root);
    assert_eq!(taken.masked_paths.len(), defaults::masked_paths().len());
    assert_eq!(taken.dev, Some((Filesystem::dev(), Filesystem::pts())));
    let nodev = MountBuilder::default().destination("/dev").typ("tmpfs");
    let nodev = nodev.options(vec!["nodev".to_owned(), "nosuid".to_owned()]);
    let mut spec = self::spec(&own, vec![nodev.build().unwrap()]);
    let usable = Mounts::take_from(&mut spec, &v2(), None).unwrap();
    assert_eq!(usable.dev.unwrap().0.flags, libc::MS_NOSUID);
    let order: Vec<_> = taken.mounts.iter().map(|(path, _)| path.to_str()).collect();
    let rest = ["/proc", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm"];
    assert_eq!(order, rest.map(Some));
}

#[test]
fn new_filesystems_get_the_label_and_the_kernel_s_keep_theirs() {
    let label = "u:object_r:file_t:s0:c1,c2";
    let labelled = |label: &str| {
        let own = [LinuxNamespaceType::Cgroup];
        let mut spec = spec(&own, defaults::mounts(1 << 20, false));
        let mut linux = spec.linux().clone().unwrap();
        linux.set_mount_label(Some(label.to_owned()));
        spec.set_linux(Some(linux));
        let taken = Mounts::take_in_order(&mut spec, &v2(), None, Order::AsListed)?;
        // libcontainer would not quote it.
        let left = spec.linux().as_ref().and_then(|l| l.mount_label().clone());
        assert!(left.is_none() && spec.mounts().as_ref().is_none_or(Vec::is_empty));
        Ok::<_, StartError>(taken)
    };
    let taken = labelled(label).unwrap();
    let context = format!("context=\"{label}\"");
    let (dev, pts) = taken.dev.as_ref().unwrap();
    for new in [dev, pts] {
        assert!(new.data.to_str().unwrap().ends_with(&context), "{new:?}");
    }
    for (path, what) in &taken.mounts {
        let What::Filesystem(new) = what else {
            continue;
        };
        let (option, root) = match path.to_str().unwrap() {
            "/dev/shm" => (true, false),
            "/dev/mqueue" => (false, true),
            _ => (false, false),
        };
        let data = new.data.to_str().unwrap();
        assert_eq!(data.contains(&context), option, "{new:?}");
        assert_eq!(new.root_label.is_some(), root, "{new:?}");
    }
    assert_eq!(taken.label(), Some(label));
    assert!(labelled("a\",size=1").is_err());
}

#[test]
fn hooks_see_what_can_be_mounted_before_the_container() {
    let own = [LinuxNamespaceType::Cgroup];
    let mut mounts = defaults::mounts(1 << 20, false);
    let bind = |destination: &str, options: &[&str]| {
        let options: Vec<_> = options.iter().map(|o| (*o).to_owned()).collect();
        let bind = MountBuilder::default().destination(destination).source("/");
        bind.typ("bind").options(options).build().unwrap()
    };
    mounts.push(bind("etc/hosts", &["bind"]));
    mounts.push(bind("/sys/below", &["bind"]));
    mounts.push(bind("/dev", &["rbind"]));
    mounts.push(bind("/dev/above", &["rbind"]));
    let mut spec = spec(&own, mounts);
    let taken = Mounts::take_in_order(&mut spec, &v2(), None, Order::ForHooks).unwrap();
    let names = |list: &[(PathBuf, What)]| -> Vec<String> {
        let name = |(path, _): &(PathBuf, What)| path.display().to_string();
        list.iter().map(name).collect()
    };
    assert_eq!(names(&taken.early), ["/dev/shm", "/etc/hosts"]);
    let late = [
        "/sys/fs/cgroup",
        "/dev/mqueue",
        "/sys/below",
        "/dev",
        "/dev/above",
    ];
    assert_eq!(names(&taken.mounts), late);
    let left: Vec<_> = spec.mounts().iter().flatten().collect();
    let left: Vec<_> = left.iter().map(|m| m.destination().to_str()).collect();
    assert_eq!(left, [Some("/proc"), Some("/sys")]);
    assert_eq!(taken.root_propagation, Some(libc::MS_SHARED));
}

#[test]
fn without_hooks_the_order_is_the_list_s() {
    let own = [LinuxNamespaceType::Cgroup];
    let mut spec = spec(&own, defaults::mounts(1 << 20, false));
    let taken = Mounts::take_in_order(&mut spec, &v2(), None, Order::AsListed).unwrap();
    assert!(!taken.has_dev() && taken.early.is_empty());
    let left: Vec<_> = spec.mounts().iter().flatten().collect();
    let left: Vec<_> = left.iter().map(|m| m.destination().to_str()).collect();
    assert_eq!(left, [Some("/proc"), Some("/dev"), Some("/dev/pts")]);
    let rest: Vec<_> = taken.mounts.iter().map(|(path, _)| path.to_str()).collect();
    assert_eq!(rest[0], Some("/sys"));
    // Where one of them is none of libcontainer's all are ours.
    let bind = MountBuilder::default()
        .destination("/x")
        .typ("bind")
        .source("/");
    let mut mounts = vec![bind.options(vec!["bind".to_owned()]).build().unwrap()];
    mounts.extend(defaults::mounts(1, false));
    assert_eq!(leading(&mounts, false), 0);
    assert_eq!(leading(&defaults::mounts(1, false), true), 4);
}

#[test]
fn what_cannot_be_shown_safely_is_refused() {
    let refused = |spec: &mut Spec| match Mounts::take_from(spec, &v2(), None) {
        Err(StartError::Config { reason }) => reason,
        _ => panic!("accepted"),
    };
    let mut host_cgroups = spec(&[], defaults::mounts(1, false));
    let mut linux = host_cgroups.linux().clone().unwrap();
    linux.set_cgroups_path(None);
    host_cgroups.set_linux(Some(linux));
    assert_eq!(
        refused(&mut host_cgroups),
        "a mount of type cgroup needs a cgroup namespace"
    );
    let bind = |options: &[&str]| {
        let options: Vec<_> = options.iter().map(|o| (*o).to_owned()).collect();
        let bind = MountBuilder::default().destination("/x").source("/proc");
        vec![bind.options(options).build().unwrap()]
    };
    let over_proc = MountBuilder::default().destination("/proc/").typ("tmpfs");
    let not_proc = refused(&mut spec(&[], vec![over_proc.build().unwrap()]));
    assert_eq!(
        not_proc,
        "/proc cannot be mounted because it is not of type proc"
    );
    let mapped = refused(&mut spec(&[], bind(&["rbind", "idmap"])));
    assert_eq!(mapped, "mount /x: mapped owners need a user namespace");
    let unshared = refused(&mut spec(&[], bind(&["rbind", "rshared"])));
    assert!(
        unshared.starts_with("path /proc is mounted on "),
        "{unshared}"
    );
}
