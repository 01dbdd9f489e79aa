//! `events`, `update`.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use oci_spec::runtime::LinuxResources;
use rctr_runtime::cgroup::{Pressure, Stats};
use serde_json::{Map, Value, json};

use super::load;
use crate::cli::{Events, Global, Update};
use crate::failure::Failure;
use crate::log::Log;

pub fn events(global: &Global, args: &Events) -> Result<u8, Failure> {
    let container = load(global, &args.id.id)?;
    let interval = duration(&args.interval).filter(|d| !d.is_zero());
    let interval = interval
        .ok_or_else(|| Failure::Usage("duration interval must be greater than 0".to_owned()))?;
    let tell = |event: Value| {
        let written = writeln!(std::io::stdout(), "{event}");
        written.map_err(Failure::file("write", Path::new("standard output")))
    };
    let show =
        |stats: &Stats| tell(json!({"type": "stats", "id": args.id.id, "data": data(stats)}));
    let stats = container.stats()?;
    show(&stats)?;
    if args.stats {
        return Ok(0);
    }
    let mut kills = stats.oom_kills;
    loop {
        std::thread::sleep(interval);
        // Its end is no error of ours.
        let Ok(stats) = container.stats() else {
            return Ok(0);
        };
        if stats.oom_kills > kills {
            kills = stats.oom_kills;
            tell(json!({"type": "oom", "id": args.id.id}))?;
        }
        show(&stats)?;
    }
}

/// As Go writes them: `5s`, `500ms`, `1m30s`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        sum += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        rest = after;
    }
    Some(sum)
}

/// As runc's events have it.
fn data(stats: &Stats) -> Value {
    let usage =
        |usage: u64, limit: Option<u64>| json!({"usage": usage, "limit": limit.unwrap_or(0)});
    let mut memory = json!({
        "cache": stats.memory_cache,
        "usage": {
            "usage": stats.memory_bytes,
            "max": stats.memory_peak,
            "failcnt": stats.memory_limit_hits,
            "limit": stats.memory_limit.unwrap_or(u64::MAX),
        },
        "swap": usage(stats.swap_bytes, stats.swap_limit),
        "kernel": usage(stats.memory_kernel, None),
        "raw": {
            "inactive_file": stats.memory_inactive_file,
            "rss": stats.memory_rss,
            "mapped_file": stats.memory_mapped_file,
            "pgfault": stats.memory_page_faults,
            "pgmajfault": stats.memory_major_page_faults,
            "oom_kill": stats.oom_kills,
        },
    });
    let mut cpu = json!({
        "usage": {
            "total": stats.cpu_nanos,
            "kernel": stats.cpu_system_nanos,
            "user": stats.cpu_user_nanos,
        },
        "throttling": {
            "periods": stats.cpu_periods,
            "throttledPeriods": stats.cpu_throttled_periods,
            "throttledTime": stats.cpu_throttled_nanos,
        },
    });
    let entries =
        |pick: fn(&rctr_runtime::cgroup::BlockIo) -> [(&'static str, u64); 2]| -> Vec<Value> {
            let devices = stats.block_devices.iter().flat_map(|(&(major, minor), io)| {
            pick(io).map(|(op, value)| json!({"major": major, "minor": minor, "op": op, "value": value}))
        });
            devices.collect()
        };
    let mut blkio = json!({
        "ioServiceBytesRecursive": entries(|io| [("Read", io.read_bytes), ("Write", io.write_bytes)]),
        "ioServicedRecursive": entries(|io| [("Read", io.reads), ("Write", io.writes)]),
    });
    for (target, pressure) in [
        (&mut cpu, &stats.cpu_pressure),
        (&mut memory, &stats.memory_pressure),
        (&mut blkio, &stats.io_pressure),
    ] {
        if let Some(pressure) = pressure {
            target["psi"] = psi(pressure);
        }
    }
    let huge: Map<String, Value> = stats
        .huge_pages
        .iter()
        .map(|(size, pages)| {
            let json =
                json!({"usage": pages.bytes, "max": pages.peak, "failcnt": pages.limit_hits});
            (size.clone(), json)
        })
        .collect();
    json!({
        "cpu": cpu,
        "cpuset": {},
        "memory": memory,
        "pids": {"current": stats.pids, "limit": stats.pids_limit.unwrap_or(0)},
        "blkio": blkio,
        "hugetlb": huge,
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

fn psi(pressure: &Pressure) -> Value {
    let stall = |stall: &rctr_runtime::cgroup::Stall| json!({"avg10": stall.avg10, "avg60": stall.avg60, "avg300": stall.avg300, "total": stall.total_micros});
    json!({"some": stall(&pressure.some), "full": stall(&pressure.full)})
}

pub fn update(global: &Global, args: &Update, log: &Log) -> Result<u8, Failure> {
    let container = load(global, &args.id.id)?;
    if args.kernel_memory.is_some() || args.kernel_memory_tcp.is_some() {
        log.warnings(&["kernel memory is not limited: kernels have no such limit".to_owned()]);
    }
    let json = match &args.resources {
        Some(path) => read(path)?,
        None => from_flags(args)?,
    };
    let mut json = json;
    if let Value::Object(fields) = &mut json {
        fields.retain(|_, value| !value.is_null());
    }
    let resources: LinuxResources =
        serde_json::from_value(json).map_err(|e| Failure::Usage(format!("resources: {e}")))?;
    log.warnings(&container.update(&resources)?);
    Ok(0)
}

fn read(path: &Path) -> Result<Value, Failure> {
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.map_err(Failure::file("read", path))?;
    serde_json::from_str(&text).map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))
}

fn from_flags(args: &Update) -> Result<Value, Failure> {
    let mut resources = json!({});
    let mut set = |group: &str, name: &str, value: Option<Value>| {
        if let Some(value) = value {
            resources[group][name] = value;
        }
    };
    set("blockIO", "weight", args.blkio_weight.map(Value::from));
    for (name, value) in [
        ("period", args.cpu_period.map(Value::from)),
        ("quota", args.cpu_quota.map(Value::from)),
        ("burst", args.cpu_burst.map(Value::from)),
        ("shares", args.cpu_shares.map(Value::from)),
        ("realtimePeriod", args.cpu_rt_period.map(Value::from)),
        ("realtimeRuntime", args.cpu_rt_runtime.map(Value::from)),
        ("idle", args.cpu_idle.map(Value::from)),
        ("cpus", args.cpuset_cpus.clone().map(Value::from)),
        ("mems", args.cpuset_mems.clone().map(Value::from)),
    ] {
        set("cpu", name, value);
    }
    for (name, value) in [
        ("limit", &args.memory),
        ("reservation", &args.memory_reservation),
        ("swap", &args.memory_swap),
    ] {
        set(
            "memory",
            name,
            value.as_deref().map(bytes).transpose()?.map(Value::from),
        );
    }
    set("pids", "limit", args.pids_limit.map(Value::from));
    Ok(resources)
}

/// A number of bytes, `64m` or `1.5GiB` too; -1 for no limit.
fn bytes(text: &str) -> Result<i64, Failure> {
    let wrong = || Failure::Usage(format!("{text:?} is not a number of bytes"));
    if text == "-1" {
        return Ok(-1);
    }
    let lower = text.to_lowercase();
    let number = lower.trim_end_matches('b').trim_end_matches('i');
    let (number, shift) = match number.char_indices().last() {
        Some((end, 'k')) => (&number[..end], 10),
        Some((end, 'm')) => (&number[..end], 20),
        Some((end, 'g')) => (&number[..end], 30),
        Some((end, 't')) => (&number[..end], 40),
        _ => (number, 0),
    };
    let number = number.trim_end();
    if let Ok(whole) = number.parse::<u64>() {
        let bytes = whole.checked_mul(1 << shift);
        return bytes.and_then(|b| i64::try_from(b).ok()).ok_or_else(wrong);
    }
    let plain = number.starts_with(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = number * (1u64 << shift) as f64;
    match plain && bytes < i64::MAX as f64 {
        true => Ok(bytes as i64),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn flags_become_resources() {
        let cli = crate::cli::Cli::parse_from([
            "rctr-oci",
            "update",
            "--memory",
            "64m",
            "--memory-swap",
            "-1",
            "--cpu-quota",
            "-1",
            "--pids-limit",
            "9",
            "--blkio-weight",
            "10",
            "it",
        ]);
        let crate::cli::Command::Update(args) = cli.command else {
            panic!("update");
        };
        let json = from_flags(&args).unwrap();
        let memory = json!({"limit": 64 << 20, "swap": -1});
        assert_eq!(json["memory"], memory);
        assert_eq!(json["cpu"], json!({"quota": -1}));
        let resources: LinuxResources = serde_json::from_value(json).unwrap();
        assert_eq!(resources.memory().unwrap().swap(), Some(-1));
        assert_eq!(bytes("1.5GiB").unwrap(), 3 << 29);
        assert_eq!(bytes("9007199254740993").unwrap(), 9007199254740993);
        for bad in ["12x", "-2", "", "1e3", ".5", "inf", "9999999t"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_go_s() {
        assert_eq!(duration("5s"), Some(Duration::from_secs(5)));
        assert_eq!(duration("1m500ms"), Some(Duration::from_millis(60_500)));
        assert_eq!(duration("1"), None);
        assert_eq!(duration("x"), None);
    }
}
