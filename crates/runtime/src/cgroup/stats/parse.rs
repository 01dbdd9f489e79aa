//! The kernel's formats of cgroup files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use super::{BlockIo, Pressure, Stall};

pub(super) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The single number in a file; none for "max" and for a missing file.
pub(super) fn number(path: &Path) -> Option<u64> {
    text(path).trim().parse().ok()
}

/// Lines of `key value`.
pub(super) struct Table(pub(super) String);

impl Table {
    pub(super) fn read(path: &Path) -> Self {
        Self(text(path))
    }

    pub(super) fn get(&self, key: &str) -> u64 {
        self.0
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(name, _)| *name == key)
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0)
    }
}

type Devices = BTreeMap<(u32, u32), BlockIo>;

fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// v2: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`
pub(super) fn io_stat(text: &str) -> Devices {
    let mut devices = Devices::new();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let Some(device) = fields.next().and_then(device) else {
            continue;
        };
        let io = devices.entry(device).or_default();
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let value: u64 = value.parse().unwrap_or(0);
            match key {
                "rbytes" => io.read_bytes = value,
                "wbytes" => io.write_bytes = value,
                "rios" => io.reads = value,
                "wios" => io.writes = value,
                _ => {}
            }
        }
    }
    devices
}

/// v1: `8:0 Read 1`, one line for each device and direction.
pub(super) fn blkio(bytes: &str, operations: &str) -> Devices {
    let mut devices = Devices::new();
    let mut take = |text: &str, read: fn(&mut BlockIo) -> &mut u64, direction: &str| {
        for line in text.lines() {
            let mut fields = line.split(' ');
            let device = fields.next().and_then(device);
            let (Some(device), Some(word)) = (device, fields.next()) else {
                continue;
            };
            if word == direction {
                let value = fields.next().and_then(|v| v.parse().ok());
                *read(devices.entry(device).or_default()) = value.unwrap_or(0);
            }
        }
    };
    take(bytes, |io| &mut io.read_bytes, "Read");
    take(bytes, |io| &mut io.write_bytes, "Write");
    take(operations, |io| &mut io.reads, "Read");
    take(operations, |io| &mut io.writes, "Write");
    devices
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
pub(super) fn pressure(text: &str) -> Option<Pressure> {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let (word, rest) = line.split_once(' ')?;
        let stall = match word {
            "some" => &mut pressure.some,
            "full" => &mut pressure.full,
            _ => continue,
        };
        *stall = self::stall(rest);
    }
    (!text.is_empty()).then_some(pressure)
}

fn stall(fields: &str) -> Stall {
    let mut stall = Stall::default();
    for (key, value) in fields.split(' ').filter_map(|field| field.split_once('=')) {
        match key {
            "avg10" => stall.avg10 = value.parse().unwrap_or(0.0),
            "avg60" => stall.avg60 = value.parse().unwrap_or(0.0),
            "avg300" => stall.avg300 = value.parse().unwrap_or(0.0),
            "total" => stall.total_micros = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    stall
}

/// The sizes of huge pages that the kernel has, as its cgroup files name them.
pub(super) fn huge_page_sizes() -> &'static [String] {
    static SIZES: OnceLock<Vec<String>> = OnceLock::new();
    SIZES.get_or_init(|| {
        let entries = fs::read_dir("/sys/kernel/mm/hugepages")
            .into_iter()
            .flatten();
        let names = entries
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok());
        let mut sizes: Vec<String> = names.filter_map(|name| huge_page_size(&name)).collect();
        sizes.sort();
        sizes
    })
}

/// `hugepages-2048kB` is `2MB`.
pub(super) fn huge_page_size(directory: &str) -> Option<String> {
    let kilobytes = directory.strip_prefix("hugepages-")?.strip_suffix("kB")?;
    let kilobytes: u64 = kilobytes.parse().ok()?;
    Some(match kilobytes {
        k if k >= 1 << 20 => format!("{}GB", k >> 20),
        k if k >= 1 << 10 => format!("{}MB", k >> 10),
        k => format!("{k}KB"),
    })
}
