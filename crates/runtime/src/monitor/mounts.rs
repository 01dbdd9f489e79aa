//! Mounts that libcontainer makes slowly or not quite as asked for; done inside the container, once its
//! root is in place and nothing of the host can be reached by a path.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};

use crate::cgroup::Hierarchies;

/// What is left to do.
#[derive(Clone, Debug, Default)]
pub(super) struct FinalMounts {
    cgroups: Option<CgroupMounts>,
    propagation: Vec<(CString, libc::c_ulong)>,
}

/// The hierarchies of a v1 host, as the container's cgroup namespace shows them.
#[derive(Clone, Debug)]
struct CgroupMounts {
    read_only: bool,
    /// Directory below /sys/fs/cgroup and mount data of each.
    hierarchies: Vec<(CString, CString)>,
    /// `cpu` → `cpu,cpuacct` for hierarchies of several controllers.
    links: Vec<(CString, CString)>,
}

const CGROUP_DIRECTORY: &str = "/sys/fs/cgroup";
const SAFE: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

impl FinalMounts {
    /// Takes what we do ourselves out of a container's specification.
    pub(super) fn take_from(spec: &mut Spec, hierarchies: &Hierarchies) -> Self {
        let mut mounts = spec.mounts().clone().unwrap_or_default();
        let mut cgroups = None;
        if let Hierarchies::V1 {
            mounts: hierarchies,
        } = hierarchies
            && has_own_cgroup_namespace(spec)
            && sysfs_is_the_kernel_s(&mounts)
        {
            mounts.retain(|mount| {
                let ours = mount.typ().as_deref() == Some("cgroup")
                    && mount.destination() == Path::new(CGROUP_DIRECTORY);
                if ours {
                    cgroups = Some(CgroupMounts::new(mount, hierarchies));
                }
                !ours
            });
        }
        let propagation = mounts.iter().filter_map(propagation).collect();
        spec.set_mounts(Some(mounts));
        Self {
            cgroups,
            propagation,
        }
    }

    /// Does it, in the container's init, with all its capabilities yet.
    pub(super) fn make(&self) -> io::Result<()> {
        for (path, flags) in &self.propagation {
            mount(c"", path, c"", *flags, c"")?;
        }
        match &self.cgroups {
            Some(cgroups) => cgroups.make(),
            None => Ok(()),
        }
    }
}

fn has_own_cgroup_namespace(spec: &Spec) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
    namespaces
        .into_iter()
        .flatten()
        .any(|n| n.typ() == LinuxNamespaceType::Cgroup && n.path().is_none())
}

/// Then no link can stand in the way of /sys/fs/cgroup.
fn sysfs_is_the_kernel_s(mounts: &[Mount]) -> bool {
    mounts.iter().any(|mount| {
        mount.destination() == Path::new("/sys") && mount.typ().as_deref() == Some("sysfs")
    })
}

/// A bind mount's propagation: as asked for, else private, as with Docker.
fn propagation(mount: &Mount) -> Option<(CString, libc::c_ulong)> {
    let options = mount.options().as_deref().unwrap_or_default();
    let is_bind = options.iter().any(|o| o == "bind" || o == "rbind");
    if !is_bind && mount.typ().as_deref() != Some("bind") {
        return None;
    }
    let asked = options.iter().find_map(|option| {
        Some(match option.as_str() {
            "private" => libc::MS_PRIVATE,
            "rprivate" => libc::MS_PRIVATE | libc::MS_REC,
            "slave" => libc::MS_SLAVE,
            "rslave" => libc::MS_SLAVE | libc::MS_REC,
            "shared" => libc::MS_SHARED,
            "rshared" => libc::MS_SHARED | libc::MS_REC,
            _ => return None,
        })
    });
    let path = c_string(mount.destination().as_os_str().as_bytes());
    Some((path, asked.unwrap_or(libc::MS_PRIVATE | libc::MS_REC)))
}

impl CgroupMounts {
    fn new(mount: &Mount, host: &[(Vec<String>, std::path::PathBuf)]) -> Self {
        let options = mount.options().as_deref().unwrap_or_default();
        let mut hierarchies = Vec::new();
        let mut links = Vec::new();
        for (controllers, mount_point) in host {
            let directory = mount_point.file_name().unwrap_or_default().as_bytes();
            let data = controllers.join(",");
            // A named hierarchy has no controllers.
            let data = if data.starts_with("name=") {
                format!("none,{data}")
            } else {
                data
            };
            hierarchies.push((in_cgroup_directory(directory), c_string(data.as_bytes())));
            for controller in controllers.iter().filter(|_| controllers.len() > 1) {
                links.push((
                    c_string(directory),
                    in_cgroup_directory(controller.as_bytes()),
                ));
            }
        }
        Self {
            read_only: options.iter().any(|option| option == "ro"),
            hierarchies,
            links,
        }
    }

    fn make(&self) -> io::Result<()> {
        let root = c_string(CGROUP_DIRECTORY.as_bytes());
        mount(c"tmpfs", &root, c"tmpfs", SAFE, c"mode=755")?;
        for (path, data) in &self.hierarchies {
            make_directory(path)?;
            mount(c"cgroup", path, c"cgroup", SAFE | libc::MS_RELATIME, data)?;
            if self.read_only {
                self.make_read_only(path)?;
            }
        }
        for (target, link) in &self.links {
            // SAFETY: symlink reads two C strings. A directory of that name is as good.
            unsafe { libc::symlink(target.as_ptr(), link.as_ptr()) };
        }
        if self.read_only {
            self.make_read_only(&root)?;
        }
        Ok(())
    }

    /// The mount, not the filesystem: that is the host's too.
    fn make_read_only(&self, path: &CStr) -> io::Result<()> {
        let flags = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | SAFE;
        mount(c"", path, c"", flags, c"")
    }
}

fn in_cgroup_directory(name: &[u8]) -> CString {
    c_string(&[CGROUP_DIRECTORY.as_bytes(), b"/", name].concat())
}

/// Paths and controllers come from the kernel or have been a JSON string: a NUL byte in one names nothing.
fn c_string(bytes: &[u8]) -> CString {
    CString::new(bytes).unwrap_or_default()
}

fn make_directory(path: &CStr) -> io::Result<()> {
    // SAFETY: mkdir reads a C string.
    match unsafe { libc::mkdir(path.as_ptr(), 0o755) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn mount(
    source: &CStr,
    target: &CStr,
    kind: &CStr,
    flags: libc::c_ulong,
    data: &CStr,
) -> io::Result<()> {
    // SAFETY: mount reads four C strings.
    let result = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            data.as_ptr().cast(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defaults;
    use oci_spec::runtime::{LinuxBuilder, LinuxNamespaceBuilder, MountBuilder, SpecBuilder};

    fn spec() -> Spec {
        let namespace = LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::Cgroup);
        let linux = LinuxBuilder::default().namespaces(vec![namespace.build().unwrap()]);
        let mut mounts = defaults::mounts(1 << 20, false);
        let bind = |destination: &str, options: &[&str]| {
            MountBuilder::default()
                .destination(destination)
                .typ("bind")
                .source("/src")
                .options(options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
                .build()
                .unwrap()
        };
        mounts.push(bind("/a", &["rbind"]));
        mounts.push(bind("/b", &["rbind", "rslave"]));
        SpecBuilder::default()
            .mounts(mounts)
            .linux(linux.build().unwrap())
            .build()
            .unwrap()
    }

    #[test]
    fn v1_hierarchies_are_ours_and_v2_libcontainer_s() {
        let mut on_v2 = spec();
        let v2 = Hierarchies::V2 {
            root: "/sys/fs/cgroup".into(),
        };
        assert!(FinalMounts::take_from(&mut on_v2, &v2).cgroups.is_none());
        assert_eq!(on_v2.mounts(), spec().mounts());

        let mut on_v1 = spec();
        let v1 = Hierarchies::V1 {
            mounts: vec![
                (
                    vec!["cpu".into(), "cpuacct".into()],
                    "/sys/fs/cgroup/cpu,cpuacct".into(),
                ),
                (vec!["name=systemd".into()], "/sys/fs/cgroup/systemd".into()),
            ],
        };
        let taken = FinalMounts::take_from(&mut on_v1, &v1).cgroups.unwrap();
        assert!(taken.read_only);
        assert_eq!(
            taken.hierarchies[0].0.to_str().unwrap(),
            "/sys/fs/cgroup/cpu,cpuacct"
        );
        assert_eq!(
            taken.hierarchies[1].1.to_str().unwrap(),
            "none,name=systemd"
        );
        assert_eq!(taken.links.len(), 2);
        let kinds = on_v1.mounts().clone().unwrap();
        assert!(kinds.iter().all(|m| m.typ().as_deref() != Some("cgroup")));
    }

    #[test]
    fn volumes_are_private_unless_asked_otherwise() {
        let v2 = Hierarchies::V2 {
            root: "/sys/fs/cgroup".into(),
        };
        let flags: Vec<_> = FinalMounts::take_from(&mut spec(), &v2)
            .propagation
            .into_iter()
            .map(|(_, flags)| flags)
            .collect();
        let recursive = |flag| flag | libc::MS_REC;
        assert_eq!(
            flags,
            [recursive(libc::MS_PRIVATE), recursive(libc::MS_SLAVE)]
        );
    }
}
