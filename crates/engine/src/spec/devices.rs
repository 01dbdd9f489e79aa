//! Devices: which a container may use, and which it finds in /dev.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use super::SpecError;

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
        let kind = metadata.file_type();
        let typ = match (kind.is_char_device(), kind.is_block_device()) {
            (true, _) => LinuxDeviceType::C,
            (_, true) => LinuxDeviceType::B,
            _ if kind.is_dir() => {
                collect(&entry.path(), &[], devices)?;
                continue;
            }
            _ => continue,
        };
        let rdev = metadata.rdev();
        devices.push(
            LinuxDeviceBuilder::default()
                .path(entry.path())
                .typ(typ)
                .major(libc::major(rdev) as i64)
                .minor(libc::minor(rdev) as i64)
                .file_mode(metadata.mode() & 0o7777)
                .uid(metadata.uid())
                .gid(metadata.gid())
                .build()?,
        );
    }
    Ok(())
}
