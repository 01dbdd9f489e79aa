//! Which of a container's mounts CRIU cannot make anew by itself: those that show places of the host. They are named by
//! where they are in the container, as runc names them, so that either's checkpoints say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::service::text;
use crate::cgroup::Hierarchies;
use crate::monitor::mounts::{Options, has_cgroup_namespace};

/// A line of /proc/PID/mountinfo.
#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    /// `major:minor` of its filesystem.
    device: String,
    /// What of the filesystem is shown.
    root: PathBuf,
    place: PathBuf,
    kind: String,
}

impl Mounted {
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut words = before.split(' ').skip(2);
        Some(Self {
            device: words.next()?.to_owned(),
            root: unescape(words.next()?),
            place: unescape(words.next()?),
            kind: after.split(' ').next()?.to_owned(),
        })
    }
}

fn table(mountinfo: &str) -> Vec<Mounted> {
    mountinfo.lines().filter_map(Mounted::parse).collect()
}

/// A path of mountinfo, in which blanks and the like are octal.
fn unescape(word: &str) -> PathBuf {
    let bytes = word.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        let octal = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                plain.push(byte);
                rest = &after[3..];
            }
            _ => {
                plain.push(first);
                rest = after;
            }
        }
    }
    OsString::from_vec(plain).into()
}

/// The places of a container's mounts that show the host, of its mountinfo as it is seen on the host.
pub(super) fn external(spec: &Spec, mountinfo: &str) -> Vec<PathBuf> {
    let table = table(mountinfo);
    let shown = |mount: &Mounted| {
        let cgroup_v1 = mount.kind == "cgroup" && !has_cgroup_namespace(spec);
        cgroup_v1 || bind_above(spec, &mount.place).is_some()
    };
    let whole = Path::new("/");
    let own: BTreeSet<&str> = table
        .iter()
        .filter(|mount| mount.place != whole && mount.root == whole && !shown(mount))
        .map(|mount| mount.device.as_str())
        .collect();
    let in_namespace = |mount: &Mounted| mount.kind.starts_with("cgroup");
    table
        .iter()
        .filter(|mount| mount.place != whole)
        .filter(|mount| {
            // A part of a filesystem of which nothing else is in there, as a device of the host's is.
            shown(mount) || !(own.contains(mount.device.as_str()) || in_namespace(mount))
        })
        .map(|mount| mount.place.clone())
        .collect()
}

/// Where on the host is what a specification's mount shows at a place: that of the innermost mount the place is in.
fn bind_above(spec: &Spec, place: &Path) -> Option<PathBuf> {
    let mounts = spec.mounts().iter().flatten();
    let innermost = mounts
        .map(|mount| (Path::new("/").join(mount.destination()), mount))
        .filter(|(destination, _)| place.starts_with(destination))
        .max_by_key(|(destination, _)| destination.components().count());
    let (destination, mount) = innermost?;
    let options = Options::parse(mount.options().as_deref().unwrap_or_default());
    if !options.bind && mount.typ().as_deref() != Some("bind") {
        return None;
    }
    let below = place.strip_prefix(&destination).ok()?;
    let source = mount.source().as_ref()?;
    Some(match below.as_os_str().is_empty() {
        true => source.clone(),
        false => source.join(below),
    })
}

/// Where each place may come from on this host, for a container that is restored: more than it may have had.
pub(super) fn sources(
    spec: &Spec,
    host: &str,
    hierarchies: &Hierarchies,
    cgroups: &str,
) -> BTreeMap<PathBuf, PathBuf> {
    let mut found = BTreeMap::new();
    let host = table(host);
    for mount in spec.mounts().iter().flatten() {
        let place = Path::new("/").join(mount.destination());
        if mount.typ().as_deref() == Some("cgroup") {
            found.extend(shown_hierarchies(&place, hierarchies, cgroups));
        }
        let Some(source) = bind_above(spec, &place) else {
            continue;
        };
        let below = host
            .iter()
            .filter_map(|m| m.place.strip_prefix(&source).ok());
        for below in below.filter(|below| !below.as_os_str().is_empty()) {
            found.insert(place.join(below), source.join(below));
        }
        found.insert(place, source);
    }
    let linux = spec.linux().as_ref();
    for path in linux
        .and_then(|l| l.masked_paths().as_ref())
        .into_iter()
        .flatten()
    {
        found
            .entry(path.into())
            .or_insert_with(|| "/dev/null".into());
    }
    let devices = linux
        .and_then(|l| l.devices().as_ref())
        .into_iter()
        .flatten();
    let usual = ["null", "zero", "full", "random", "urandom", "tty"];
    let usual = usual.map(|name| Path::new("/dev").join(name));
    for path in devices.map(|d| d.path().clone()).chain(usual) {
        found.entry(path.clone()).or_insert(path);
    }
    found
}

/// Adds where the places really are: a link of the root filesystem may lead there.
pub(super) fn follow_links(sources: &mut BTreeMap<PathBuf, PathBuf>, rootfs: &Path) {
    let Ok(root) = File::open(rootfs) else {
        return;
    };
    let real = |place: &Path| -> Option<PathBuf> {
        let (flags, resolve) = (OFlags::PATH | OFlags::CLOEXEC, ResolveFlags::IN_ROOT);
        let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
        let found = rustix::fs::openat2(&root, place, flags, Mode::empty(), resolve).ok()?;
        let path = fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())).ok()?;
        Some(Path::new("/").join(path.strip_prefix(rootfs).ok()?))
    };
    let all: Vec<_> = sources
        .iter()
        .filter_map(|(place, source)| Some((real(place)?, source.clone())))
        .collect();
    for (place, source) in all {
        sources.entry(place).or_insert(source);
    }
}

/// The parts of v1 hierarchies that a container without a cgroup namespace sees; `cgroups` is a /proc/PID/cgroup.
fn shown_hierarchies(
    place: &Path,
    hierarchies: &Hierarchies,
    cgroups: &str,
) -> Vec<(PathBuf, PathBuf)> {
    let Hierarchies::V1 { mounts } = hierarchies else {
        return Vec::new();
    };
    let part = |controllers: &[String]| {
        cgroups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let names = fields.next()?;
            let own = controllers.iter().all(|c| names.split(',').any(|n| n == c));
            own.then_some(fields.next()?.trim_start_matches('/'))
        })
    };
    let shown = mounts.iter().filter_map(|(controllers, mount_point)| {
        let name = mount_point.file_name()?;
        Some((place.join(name), mount_point.join(part(controllers)?)))
    });
    shown.collect()
}

/// As CRIU takes an external mount: `mnt[KEY]:VALUE`.
pub(super) fn argument(key: &Path, value: &Path) -> String {
    format!("mnt[{}]:{}", text(key), text(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec() -> Spec {
        let mount = |destination: &str, kind: &str, source: &str, option: &str| json!({"destination": destination, "type": kind, "source": source, "options": [option]});
        serde_json::from_value(json!({
            "ociVersion": "1.2.0",
            "mounts": [
                mount("/proc", "proc", "proc", "rw"),
                mount("/data", "none", "/srv/my data", "rbind"),
                mount("/data/tmp", "tmpfs", "tmpfs", "rw"),
                mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro"),
            ],
            "linux": {"maskedPaths": ["/proc/keys"], "namespaces": []},
        }))
        .unwrap()
    }

    const INSIDE: &str = "\
129 87 254:0 /rootfs / rw - ext4 /dev/vda rw
130 129 0:41 / /proc rw - proc proc rw
88 130 0:41 /bus /proc/bus ro - proc proc rw
131 129 0:42 / /dev rw - tmpfs tmpfs rw
93 130 0:42 /null /proc/keys rw - tmpfs tmpfs rw
94 130 0:5 /null /proc/kcore rw - devtmpfs udev rw
140 129 254:0 /srv/my\\040data /data rw - ext4 /dev/vda rw
141 140 0:50 / /data/disk rw - tmpfs tmpfs rw
142 140 0:51 / /data/tmp rw - tmpfs tmpfs rw
146 135 0:46 / /sys/fs/cgroup ro - tmpfs tmpfs rw
139 146 0:29 /k1 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu";

    #[test]
    fn what_shows_the_host_is_found() {
        let places: Vec<_> = external(&spec(), INSIDE).iter().map(text).collect();
        let wanted = ["/proc/kcore", "/data", "/data/disk", "/sys/fs/cgroup/cpu"];
        assert_eq!(places, wanted);
    }

    #[test]
    fn every_place_has_a_source() {
        let host = "50 1 0:50 / /srv/my\\040data/disk rw - tmpfs tmpfs rw";
        let hierarchies = Hierarchies::V1 {
            mounts: vec![(vec!["cpu".to_owned()], "/sys/fs/cgroup/cpu".into())],
        };
        let found = sources(&spec(), host, &hierarchies, "1:cpu:/k2\n0::/");
        let at = |place: &str| found[Path::new(place)].to_str().unwrap();
        assert_eq!(at("/data"), "/srv/my data");
        assert_eq!(at("/data/disk"), "/srv/my data/disk");
        assert_eq!(at("/sys/fs/cgroup/cpu"), "/sys/fs/cgroup/cpu/k2");
        assert_eq!(at("/proc/keys"), "/dev/null");
        assert_eq!(at("/dev/null"), "/dev/null");
        assert!(!found.contains_key(Path::new("/data/tmp")));
        let named = argument(Path::new("/data"), Path::new("/srv/my data"));
        assert_eq!(named, "mnt[/data]:/srv/my data");
    }
}
