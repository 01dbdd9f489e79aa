//! What is mounted where.

use std::path::Path;

use oci_spec::runtime::{Mount, MountBuilder};
use rctr_runtime::defaults;
use rctr_runtime::namespaces::IdMap;
use rctr_runtime::rootless::in_initial_namespace;

use super::{SpecError, SpecInput, devices};
use crate::model::ResolvedMount;
use crate::options::{BindRecursion, IpcMode, MountKind, NetworkMode, PidMode, parse_size};

const DEFAULT_SHM_SIZE: u64 = 64 << 20;

const CGROUP_DIR: &str = "/sys/fs/cgroup";

const SHM_DIR: &str = "/dev/shm";

/// Docker's mounts without those that the user replaces, then the user's and the files under /etc, parents first.
pub(super) fn build(input: &SpecInput) -> Result<Vec<Mount>, SpecError> {
    let options = &input.container.options;
    let mut mounts = Vec::new();
    for mount in defaults::mounts(
        options.shm_size.unwrap_or(DEFAULT_SHM_SIZE),
        options.privileged,
    ) {
        let is_cgroups = mount.destination() == Path::new(CGROUP_DIR);
        let is_shm = mount.destination() == Path::new(SHM_DIR);
        match () {
            _ if is_cgroups && input.facts.hierarchies.is_none() => {}
            _ if is_cgroups && options.security.writable_cgroups => mounts.push(writable(mount)),
            _ if is_shm => mounts.extend(shm(mount, input)?),
            _ if shows_another_s(&mount, input) => mounts.push(host_s(&mount)?),
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
    for device in devices::shown(&options.devices) {
        let target = device.container.to_string_lossy();
        own.push(bind(&target, &device.host, false, "rprivate")?);
    }
    if let Some(mappings) = options.isolation.userns.mappings() {
        // Images have been mounted with them.
        let images = input.container.mounts.iter();
        let images = images.filter(|mount| mount.spec.kind == MountKind::Image);
        let images: Vec<_> = images.map(|mount| Path::new(&mount.spec.target)).collect();
        let is_image = |mount: &Mount| images.contains(&mount.destination().as_path());
        for mount in own.iter_mut().filter(|m| is_own_bind(m) && !is_image(m)) {
            mount.set_uid_mappings(Some(IdMap::listed(&mappings.uids)));
            mount.set_gid_mappings(Some(IdMap::listed(&mappings.gids)));
        }
    }
    if !in_initial_namespace() {
        for device in &options.devices.nodes {
            let target = device.container.to_string_lossy();
            own.push(bind(&target, &device.host, false, "rprivate")?);
        }
    }
    own.sort_by_key(|mount| mount.destination().components().count());
    mounts.extend(own);
    Ok(mounts)
}

/// What is root's on the host is root's in a user namespace; the program behind `--init` needs not be anybody's.
fn is_own_bind(mount: &Mount) -> bool {
    mount.typ().as_deref() == Some("bind") && *mount.destination() != defaults::init_path()
}

/// Whether the kernel's filesystem would show a namespace that is not this user's: only its owner mounts that.
fn shows_another_s(mount: &Mount, input: &SpecInput) -> bool {
    let options = &input.container.options;
    let hosts = match mount.destination().to_str() {
        Some("/sys") => options.network == NetworkMode::Host,
        Some("/proc") => options.isolation.pid == PidMode::Host,
        _ => false,
    };
    hosts && !in_initial_namespace()
}

/// The host's own in its place.
fn host_s(mount: &Mount) -> Result<Mount, SpecError> {
    let place = mount.destination();
    let read_only = mount
        .options()
        .iter()
        .flatten()
        .any(|option| option == "ro");
    bind(&place.to_string_lossy(), place, read_only, "rprivate")
}

fn writable(mut mount: Mount) -> Mount {
    let options = mount.options().iter().flatten();
    let options = options.map(|option| if option == "ro" { "rw" } else { option });
    let options = options.map(str::to_owned).collect();
    mount.set_options(Some(options));
    mount
}

/// /dev/shm as `--ipc` has it.
fn shm(own: Mount, input: &SpecInput) -> Result<Option<Mount>, SpecError> {
    let source = match (&input.container.options.isolation.ipc, &input.joined.shm) {
        (_, Some(joined)) => joined.as_path(),
        (IpcMode::Host, _) => Path::new(SHM_DIR),
        (IpcMode::None, _) => return Ok(None),
        _ => return Ok(Some(own)),
    };
    let options = ["rbind", "rprivate", "rw", "nosuid", "nodev", "noexec"];
    let options = options.map(str::to_owned).to_vec();
    build_mount(SHM_DIR, "bind", source, options).map(Some)
}

/// Whether a user's mount takes the place of a default one: the same place, or one above /dev or the cgroups.
pub(super) fn hides(user: &str, default: &Path) -> bool {
    default == Path::new(user) || (matches!(user, "/dev" | CGROUP_DIR) && default.starts_with(user))
}

fn user_mount(mount: &ResolvedMount) -> Result<Mount, SpecError> {
    let spec = &mount.spec;
    if spec.kind != MountKind::Tmpfs {
        let propagation = spec.propagation.as_deref().unwrap_or("rprivate");
        let mut options = match spec.recursion {
            BindRecursion::Disabled => vec!["bind", propagation],
            _ => vec!["rbind", propagation],
        };
        options.extend(match (spec.read_only, spec.recursion) {
            (false, _) => &["rw"][..],
            (true, BindRecursion::Disabled | BindRecursion::Writable) => &["ro"],
            // As with Docker, `ro` holds for everything mounted below the source too.
            (true, _) => &["ro", "rro"],
        });
        let options = options.into_iter().map(str::to_owned).collect();
        return build_mount(&spec.target, "bind", &mount.source, options);
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

/// A place of ours.
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

pub(super) fn build_mount(
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
