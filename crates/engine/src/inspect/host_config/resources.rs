//! Devices and limits.

use serde_json::{Value, json};

use super::UlimitJson;
use crate::inspect::none_if_empty;
use crate::options::{DeviceLimit, DeviceSpec, Devices, RunOptions};

pub(super) fn device(device: &DeviceSpec) -> Value {
    json!({
        "PathOnHost": device.host,
        "PathInContainer": device.container,
        "CgroupPermissions": device.permissions,
    })
}

pub(super) fn device_requests(devices: &Devices) -> Vec<Value> {
    let cdi = (!devices.cdi.is_empty()).then(|| {
        json!({"Driver": "cdi", "Count": 0, "DeviceIDs": devices.cdi, "Capabilities": null, "Options": null})
    });
    let gpus = devices.gpus.as_ref().map(|gpus| {
        let ids = none_if_empty(&gpus.ids);
        json!({"Driver": "", "Count": gpus.count, "DeviceIDs": ids, "Capabilities": [["gpu"]], "Options": {}})
    });
    cdi.into_iter().chain(gpus).collect()
}

pub(super) fn device_limits(limits: &[DeviceLimit], value: &str) -> Vec<Value> {
    let limit = |limit: &DeviceLimit| json!({"Path": limit.path, value: limit.value});
    limits.iter().map(limit).collect()
}

/// In the order of their names.
pub(super) fn ulimits(options: &RunOptions) -> Vec<UlimitJson> {
    let mut limits: Vec<UlimitJson> = options
        .ulimits
        .iter()
        .map(|limit| UlimitJson {
            name: limit.name.clone(),
            hard: limit.hard,
            soft: limit.soft,
        })
        .collect();
    limits.sort_by(|a, b| a.name.cmp(&b.name));
    limits
}

/// A memory limit alone allows as much swap again.
pub(super) fn memory_swap(options: &RunOptions) -> i64 {
    match (options.resources.memory_swap, options.resources.memory) {
        (Some(swap), _) if swap != 0 => swap,
        (_, Some(memory)) => i64::try_from(memory.saturating_mul(2)).unwrap_or(i64::MAX),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_twice_the_memory() {
        let mut options = RunOptions::default();
        assert_eq!(memory_swap(&options), 0);
        options.resources.memory = Some(64 << 20);
        assert_eq!(memory_swap(&options), 128 << 20);
        options.resources.memory_swap = Some(-1);
        assert_eq!(memory_swap(&options), -1);
    }
}
