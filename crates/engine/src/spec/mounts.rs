//! What is mounted where.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};
use rctr_runtime::cgroup::Hierarchies;
use rctr_runtime::defaults;

use super::{SpecError, SpecInput};
use crate::model::ResolvedMount;
use crate::options::{MountKind, parse_size};

const DEFAULT_SHM_SIZE: u64 = 64 << 20;

/// The controllers whose v1 cgroups are made for a container.
const V1_CONTROLLERS: [&str; 12] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
];

const CGROUP_DIR: &str = "/sys/fs/cgroup";

/// Docker's mounts without those that the user replaces, then the user's and the files under /etc, parents first.
pub(super) fn build(input: &SpecInput) -> Result<Vec<Mount>, SpecError> {
    let options = &input.container.options;
    let mut mounts = Vec::new();
    for mount in defaults::mounts(
        options.shm_size.unwrap_or(DEFAULT_SHM_SIZE),
        options.privileged,
    ) {
        match (
            mount.destination() == Path::new(CGROUP_DIR),
            &input.facts.hierarchies,
        ) {
            (
                true,
                Some(Hierarchies::V1 {
                    mounts: hierarchies,
                }),
            ) => {
                mounts.extend(v1_cgroups(
                    hierarchies,
                    &input.container.cgroup_path,
                    options.privileged,
                )?);
            }
            (true, None) => {}
            _ => mounts.push(mount),
        }
    }
    mounts.retain(|mount| {
        !input
            .container
            .mounts
            .iter()
            .any(|user| hides(&user.spec.target, mount.destination()))
    });

    let mut own = input
        .container
        .mounts
        .iter()
        .map(user_mount)
        .collect::<Result<Vec<_>, _>>()?;
    let taken = |target: &str| {
        input
            .container
            .mounts
            .iter()
            .any(|m| m.spec.target == target)
    };
    let files = &input.files;
    let etc = [
        ("/etc/resolv.conf", &files.resolv_conf),
        ("/etc/hostname", &files.hostname),
        ("/etc/hosts", &files.hosts),
    ];
    for (target, source) in etc.into_iter().filter(|(target, _)| !taken(target)) {
        own.push(bind(target, source, options.read_only, "rprivate")?);
    }
    if options.init {
        own.push(bind(
            &defaults::init_path().to_string_lossy(),
            &input.monitor,
            true,
            "rprivate",
        )?);
    }
    own.sort_by_key(|mount| mount.destination().components().count());
    mounts.extend(own);
    Ok(mounts)
}

/// Whether a user's mount takes the place of a default one: the same place, or one above /dev or the cgroups.
fn hides(user: &str, default: &Path) -> bool {
    default == Path::new(user) || (matches!(user, "/dev" | CGROUP_DIR) && default.starts_with(user))
}

fn user_mount(mount: &ResolvedMount) -> Result<Mount, SpecError> {
    let spec = &mount.spec;
    if spec.kind != MountKind::Tmpfs {
        return bind(
            &spec.target,
            &mount.source,
            spec.read_only,
            spec.propagation.as_deref().unwrap_or("rprivate"),
        );
    }
    let mut options: Vec<String> = ["noexec", "nosuid", "nodev"].map(str::to_owned).to_vec();
    for option in &spec.tmpfs_options {
        let positive = option.strip_prefix("no").unwrap_or(option);
        options.retain(|o| o.strip_prefix("no") != Some(positive));
        options.push(match option.split_once('=') {
            // The kernel does not know `64mb`.
            Some((key @ ("size" | "nr_blocks" | "nr_inodes"), value)) => match parse_size(value) {
                Ok(number) => format!("{key}={number}"),
                Err(_) => option.clone(),
            },
            _ => option.clone(),
        });
    }
    build_mount(&spec.target, "tmpfs", Path::new("tmpfs"), options)
}

/// As with Docker, `ro` holds for everything mounted below the source too.
fn bind(
    target: &str,
    source: &Path,
    read_only: bool,
    propagation: &str,
) -> Result<Mount, SpecError> {
    let mut options = vec!["rbind", propagation];
    options.extend(if read_only {
        &["ro", "rro"][..]
    } else {
        &["rw"]
    });
    build_mount(
        target,
        "bind",
        source,
        options.into_iter().map(str::to_owned).collect(),
    )
}

/// libcontainer mounts v1 hierarchies writable whatever the options say, so the container's own cgroups are bound
/// one by one. The tmpfs they stand in is made read-only afterwards (see `linux::readonly_paths`).
fn v1_cgroups(
    hierarchies: &[(Vec<String>, PathBuf)],
    cgroup_path: &str,
    privileged: bool,
) -> Result<Vec<Mount>, SpecError> {
    let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let tmpfs = words(&["nosuid", "noexec", "nodev", "relatime", "mode=755"]);
    let mut mounts = vec![build_mount(CGROUP_DIR, "tmpfs", Path::new("tmpfs"), tmpfs)?];
    for (controllers, mount_point) in hierarchies {
        let source = mount_point.join(cgroup_path.trim_start_matches('/'));
        for controller in controllers
            .iter()
            .filter(|c| V1_CONTROLLERS.contains(&c.as_str()))
        {
            let access = if privileged { "rw" } else { "ro" };
            let options = words(&["bind", "nosuid", "noexec", "nodev", "relatime", access]);
            mounts.push(build_mount(
                &format!("{CGROUP_DIR}/{controller}"),
                "bind",
                &source,
                options,
            )?);
        }
    }
    Ok(mounts)
}

fn build_mount(
    target: &str,
    typ: &str,
    source: &Path,
    options: Vec<String>,
) -> Result<Mount, SpecError> {
    Ok(MountBuilder::default()
        .destination(target)
        .typ(typ)
        .source(source)
        .options(options)
        .build()?)
}
