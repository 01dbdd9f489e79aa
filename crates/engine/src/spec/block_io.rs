//! Limits on block devices, by the devices' numbers.

use std::fs;
use std::os::unix::fs::MetadataExt;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxBlockIoBuilder, LinuxThrottleDevice, LinuxThrottleDeviceBuilder,
    LinuxWeightDevice, LinuxWeightDeviceBuilder,
};

use super::{HostFacts, SpecError, resources::discard};
use crate::options::{BlockIo, DeviceLimit};

/// The limits; what this host cannot keep is left out with Docker's warning.
pub(super) fn limits(
    wanted: &BlockIo,
    facts: &HostFacts,
    warnings: &mut Vec<String>,
) -> Result<Option<LinuxBlockIo>, SpecError> {
    if *wanted == BlockIo::default() {
        return Ok(None);
    }
    let host = facts.block_io();
    let mut limits = LinuxBlockIoBuilder::default().build()?;
    if wanted.weight != 0 {
        match host.weight {
            true => {
                limits.set_weight(Some(wanted.weight));
            }
            false => discard(warnings, "Block I/O weight", "Weight discarded"),
        }
    }
    if !wanted.weight_devices.is_empty() {
        match host.weight_device {
            true => {
                let weights = wanted.weight_devices.iter().map(weight);
                limits.set_weight_device(Some(weights.collect::<Result<_, _>>()?));
            }
            false => discard(
                warnings,
                "Block I/O weight_device",
                "Weight-device discarded",
            ),
        }
    }
    let mut throttle = |wanted: &[DeviceLimit], what: &str, consequence: &str| {
        if wanted.is_empty() {
            return Ok(None);
        }
        if !host.throttle {
            discard(warnings, what, consequence);
            return Ok(None);
        }
        wanted
            .iter()
            .map(rate)
            .collect::<Result<Vec<_>, SpecError>>()
            .map(Some)
    };
    let read_bps = throttle(
        &wanted.read_bps,
        "BPS Block I/O read limit",
        "Block I/O BPS read limit discarded",
    )?;
    let write_bps = throttle(
        &wanted.write_bps,
        "BPS Block I/O write limit",
        "Block I/O BPS write limit discarded",
    )?;
    let read_iops = throttle(
        &wanted.read_iops,
        "IOPS Block read limit",
        "Block I/O IOPS read limit discarded",
    )?;
    let write_iops = throttle(
        &wanted.write_iops,
        "IOPS Block write limit",
        "Block I/O IOPS write limit discarded",
    )?;
    limits.set_throttle_read_bps_device(read_bps);
    limits.set_throttle_write_bps_device(write_bps);
    limits.set_throttle_read_iops_device(read_iops);
    limits.set_throttle_write_iops_device(write_iops);
    Ok((limits != LinuxBlockIoBuilder::default().build()?).then_some(limits))
}

/// Major and minor number.
fn numbers(limit: &DeviceLimit) -> Result<(i64, i64), SpecError> {
    let metadata = fs::metadata(&limit.path).map_err(|source| SpecError::Stat {
        path: limit.path.clone(),
        source,
    })?;
    let number = metadata.rdev();
    Ok((
        i64::from(libc::major(number)),
        i64::from(libc::minor(number)),
    ))
}

fn rate(limit: &DeviceLimit) -> Result<LinuxThrottleDevice, SpecError> {
    let (major, minor) = numbers(limit)?;
    Ok(LinuxThrottleDeviceBuilder::default()
        .major(major)
        .minor(minor)
        .rate(limit.value)
        .build()?)
}

fn weight(limit: &DeviceLimit) -> Result<LinuxWeightDevice, SpecError> {
    let (major, minor) = numbers(limit)?;
    Ok(LinuxWeightDeviceBuilder::default()
        .major(major)
        .minor(minor)
        .weight(limit.value as u16)
        .build()?)
}
