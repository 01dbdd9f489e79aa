//! Devices: which a container may use, and which it finds in /dev.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use super::SpecError;
use crate::options::{DeviceSpec, Devices};

/// What is under /dev but no device of the host's to pass on.
const SKIPPED: [&str; 9] = [
    "pts",
    "shm",
    "fd",
    "mqueue",
    ".lxc",
    ".lxd-mounts",
    ".udev",
    "console",
    "ptmx",
];

/// The device rules.
pub(super) fn rules(privileged: bool) -> Result<Vec<LinuxDeviceCgroup>, SpecError> {
    if !privileged {
        return Ok(rctr_runtime::defaults::device_rules());
    }
    Ok(vec![
        LinuxDeviceCgroupBuilder::default()
            .allow(true)
            .typ(LinuxDeviceType::A)
            .access("rwm")
            .build()?,
    ])
}

/// Every device node below `dir`, at its own path, for a privileged container.
pub(super) fn of_host(dir: &Path) -> Result<Vec<LinuxDevice>, SpecError> {
    let mut devices = Vec::new();
    collect(dir, &SKIPPED, &mut devices)?;
    Ok(devices)
}

/// What `--device` and `--device-cgroup-rule` ask for: nodes, and rules that let them be used.
pub(super) fn custom(
    wanted: &Devices,
) -> Result<(Vec<LinuxDevice>, Vec<LinuxDeviceCgroup>), SpecError> {
    let (mut nodes, mut rules): (Vec<LinuxDevice>, Vec<_>) = Default::default();
    for device in &wanted.nodes {
        let (mut more, allow) = passed_on(&device.host, &device.container, &device.permissions)?;
        // Elsewhere it is the host's own that is shown: see `shown`.
        more.retain(|node| node.path().starts_with("/dev"));
        // As with Docker, the last of two at one place is the one.
        nodes.retain(|node| !more.iter().any(|new| new.path() == node.path()));
        nodes.extend(more);
        rules.extend(allow);
    }
    for rule in &wanted.rules {
        let mut built = LinuxDeviceCgroupBuilder::default()
            .allow(true)
            .typ(match rule.kind {
                'b' => LinuxDeviceType::B,
                'c' => LinuxDeviceType::C,
                _ => LinuxDeviceType::A,
            })
            .access(rule.access.clone());
        if let Some(major) = rule.major {
            built = built.major(major);
        }
        if let Some(minor) = rule.minor {
            built = built.minor(minor);
        }
        rules.push(built.build()?);
    }
    Ok((nodes, rules))
}

/// What `--device` wants to see outside /dev, where no nodes are made.
pub(super) fn shown(wanted: &Devices) -> impl Iterator<Item = &DeviceSpec> {
    let nodes = wanted.nodes.iter();
    nodes.filter(|device| !device.container.starts_with("/dev"))
}

/// A device of the host, or all below a directory of devices, at another path; and the rules that let them be used.
pub(super) fn passed_on(
    host: &Path,
    inside: &Path,
    permissions: &str,
) -> Result<(Vec<LinuxDevice>, Vec<LinuxDeviceCgroup>), SpecError> {
    let fail = |source| SpecError::CustomDevice {
        path: host.into(),
        source,
    };
    // A link to a device is as good as the device.
    let host = host.canonicalize().map_err(fail)?;
    let mut found = Vec::new();
    match host.is_dir() {
        true => {
            collect(&host, &[], &mut found)?;
            if found.is_empty() {
                return Err(fail(std::io::Error::other("not a device node")));
            }
        }
        false => {
            let metadata = host.metadata().map_err(fail)?;
            let device = node(&host, &metadata)?;
            found.push(device.ok_or_else(|| fail(std::io::Error::other("not a device node")))?);
        }
    }
    let mut rules = Vec::new();
    for device in &mut found {
        if let Ok(below) = device.path().strip_prefix(&host) {
            let path = match below.as_os_str().is_empty() {
                true => inside.to_owned(),
                false => inside.join(below),
            };
            device.set_path(path);
        }
        rules.push(
            LinuxDeviceCgroupBuilder::default()
                .allow(true)
                .typ(device.typ())
                .major(device.major())
                .minor(device.minor())
                .access(permissions)
                .build()?,
        );
    }
    Ok((found, rules))
}

/// The device that a file is, if it is one.
fn node(path: &Path, metadata: &fs::Metadata) -> Result<Option<LinuxDevice>, SpecError> {
    let kind = metadata.file_type();
    let typ = match (kind.is_char_device(), kind.is_block_device()) {
        (true, _) => LinuxDeviceType::C,
        (_, true) => LinuxDeviceType::B,
        _ => return Ok(None),
    };
    let rdev = metadata.rdev();
    let device = LinuxDeviceBuilder::default()
        .path(path)
        .typ(typ)
        .major(i64::from(libc::major(rdev)))
        .minor(i64::from(libc::minor(rdev)))
        .file_mode(metadata.mode() & 0o7777)
        .uid(metadata.uid())
        .gid(metadata.gid())
        .build()?;
    Ok(Some(device))
}

fn collect(dir: &Path, skipped: &[&str], devices: &mut Vec<LinuxDevice>) -> Result<(), SpecError> {
    let fail = |source| SpecError::Devices {
        path: dir.into(),
        source,
    };
    let mut entries = fs::read_dir(dir)
        .map_err(fail)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(fail)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries
        .iter()
        .filter(|e| !skipped.iter().any(|s| e.file_name() == *s))
    {
        // Devices come and go.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        match metadata.is_dir() {
            true => collect(&entry.path(), &[], devices)?,
            false => devices.extend(node(&entry.path(), &metadata)?),
        }
    }
    Ok(())
}
