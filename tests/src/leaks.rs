//! What a test may leave behind on the machine, found by names that only this test uses.

use std::fs;
use std::path::{Path, PathBuf};

use crate::env::Slot;

/// Everything of a test that is still there, one line each; empty when it was cleaned up.
pub(crate) fn of(root: &Path, slot: &Slot) -> Vec<String> {
    let name = root.to_string_lossy().into_owned();
    let mut found = mounts(&name);
    found.extend(
        processes_naming(&name)
            .into_iter()
            .map(|(pid, line)| format!("process {pid}: {line}")),
    );
    found.extend(links(slot));
    found.extend(
        cgroups(slot.number)
            .into_iter()
            .map(|path| format!("cgroup {}", path.display())),
    );
    found
}

fn mounts(root: &str) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .filter(|point| point.starts_with(root))
        .map(|point| format!("mount {point}"))
        .collect()
}

fn links(slot: &Slot) -> Vec<String> {
    let bridge = Path::new("/sys/class/net").join(slot.bridge());
    let mut found: Vec<_> = names(&bridge.join("brif"))
        .into_iter()
        .map(|port| format!("link {port}"))
        .collect();
    if bridge.exists() {
        found.push(format!("link {}", slot.bridge()));
    }
    found
}

/// Pids and command lines of all processes, zombies aside, whose command line or environment contains `text`, and of
/// monitors that have a container's files mounted below it: a monitor has neither arguments nor an environment, and what
/// it starts when everybody else is done would come unseen. This process and its parents are left out.
pub fn processes_naming(text: &str) -> Vec<(i32, String)> {
    let own = std::process::id().cast_signed();
    // Only its own overlay is a monitor's: of the host's mounts, other tests' among them, each has a copy.
    let upper = format!("upperdir={text}");
    let contains = |path: PathBuf, text: &str| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    let pids = names(Path::new("/proc"))
        .into_iter()
        .filter_map(|name| name.parse::<i32>().ok());
    pids.filter(|pid| *pid != own)
        .filter(|pid| {
            let process = PathBuf::from(format!("/proc/{pid}"));
            let is_monitor =
                fs::read(process.join("comm")).is_ok_and(|name| name == b"rctr-monitor\n");
            contains(process.join("cmdline"), text)
                || contains(process.join("environ"), text)
                || is_monitor && contains(process.join("mountinfo"), &upper)
        })
        .map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            (
                pid,
                String::from_utf8_lossy(&line)
                    .replace('\0', " ")
                    .trim()
                    .to_owned(),
            )
        })
        .collect()
}

/// The cgroups of a slot in all hierarchies, the innermost first.
pub(crate) fn cgroups(slot: u8) -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let mut tops = vec![base.to_owned()];
    tops.extend(
        names(base)
            .into_iter()
            .map(|name| base.join(name))
            .filter(|path| !path.is_symlink()),
    );
    let mut found = Vec::new();
    for top in tops {
        inner_first(&top.join(Slot::cgroup_name(slot)), &mut found);
    }
    found
}

fn inner_first(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        inner_first(&entry.path(), found);
    }
    found.push(dir.to_owned());
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}
