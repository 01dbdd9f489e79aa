//! How samples are read from what was measured.

use rctr_runtime::cgroup::{BlockIo, HugePages};

use super::{Disk, Interface, Sample, Subject};

pub(super) fn one(value: u64) -> Vec<Sample> {
    vec![(Vec::new(), value)]
}

pub(super) fn some(value: Option<u64>) -> Vec<Sample> {
    value.into_iter().flat_map(one).collect()
}

/// The interface has whole numbers, cAdvisor's unit is the second.
pub(super) fn seconds(nanos: u64) -> Vec<Sample> {
    one(nanos / 1_000_000_000)
}

pub(super) fn stalled(micros: Option<u64>) -> Vec<Sample> {
    some(micros.map(|micros| micros / 1_000_000))
}

pub(super) fn disk(subject: &Subject, value: fn(&Disk) -> u64) -> Vec<Sample> {
    let disk = subject.disk.iter();
    disk.map(|disk| (vec![disk.device.clone()], value(disk)))
        .collect()
}

pub(super) fn devices(subject: &Subject, value: fn(&BlockIo) -> u64) -> Vec<Sample> {
    let devices = subject.stats.block_devices.iter();
    devices
        .map(|((major, minor), io)| (vec![device_name(*major, *minor)], value(io)))
        .collect()
}

pub(super) fn blkio(subject: &Subject) -> Vec<Sample> {
    let devices = subject.stats.block_devices.iter();
    devices
        .flat_map(|((major, minor), io)| {
            let labels = |operation: &str| {
                vec![
                    device_name(*major, *minor),
                    major.to_string(),
                    minor.to_string(),
                    operation.to_owned(),
                ]
            };
            [
                (labels("Read"), io.read_bytes),
                (labels("Write"), io.write_bytes),
            ]
        })
        .collect()
}

/// `/dev/sda` where the kernel knows a name.
pub(crate) fn device_name(major: u32, minor: u32) -> String {
    let link = std::fs::read_link(format!("/sys/dev/block/{major}:{minor}"));
    let name = link.ok().and_then(|link| {
        let name = link.file_name()?.to_str()?;
        Some(format!("/dev/{name}"))
    });
    name.unwrap_or_else(|| format!("{major}:{minor}"))
}

pub(super) fn interfaces(subject: &Subject, value: fn(&Interface) -> u64) -> Vec<Sample> {
    let interfaces = subject.interfaces.iter();
    interfaces
        .map(|(name, traffic)| (vec![name.clone()], value(traffic)))
        .collect()
}

pub(super) fn huge_pages(subject: &Subject, value: fn(&HugePages) -> u64) -> Vec<Sample> {
    let sizes = subject.stats.huge_pages.iter();
    sizes
        .map(|(size, pages)| (vec![size.clone()], value(pages)))
        .collect()
}

pub(super) fn faults(subject: &Subject) -> Vec<Sample> {
    let stats = &subject.stats;
    let labels = |kind: &str| vec![kind.to_owned(), "container".to_owned()];
    vec![
        (labels("pgfault"), stats.memory_page_faults),
        (labels("pgmajfault"), stats.memory_major_page_faults),
    ]
}
