//! Capability sets as the kernel takes them.

use std::collections::HashSet;
use std::io;

use oci_spec::runtime::{Capability, LinuxCapabilities};

/// `CAP_SYS_ADMIN`: loading a seccomp filter needs it, unless privileges can never be gained again.
const SYS_ADMIN: u64 = 1 << 21;

/// The five sets of a process, a bit for each capability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CapabilitySets {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

impl CapabilitySets {
    /// The sets of `process.capabilities`; a missing set is empty.
    pub(super) fn new(capabilities: Option<&LinuxCapabilities>) -> Self {
        let Some(capabilities) = capabilities else {
            return Self::default();
        };
        let bits = |set: &Option<HashSet<Capability>>| -> u64 {
            set.iter()
                .flatten()
                .fold(0, |bits, &c| bits | 1 << number(c))
        };
        Self {
            bounding: bits(capabilities.bounding()),
            effective: bits(capabilities.effective()),
            permitted: bits(capabilities.permitted()),
            inheritable: bits(capabilities.inheritable()),
            ambient: bits(capabilities.ambient()),
        }
    }

    /// Takes these sets on, keeping CAP_SYS_ADMIN if `keep_admin` until the coming execve. That needs no
    /// second step: execve computes the new permitted set from the bounding and the ambient set alone.
    pub(super) fn apply(&self, keep_admin: bool) -> io::Result<()> {
        for capability in 0..64 {
            if self.bounding & (1 << capability) == 0 && in_bounding_set(capability) {
                prctl(libc::PR_CAPBSET_DROP, capability)?;
            }
        }
        let extra = if keep_admin { SYS_ADMIN } else { 0 };
        // What this host has not got (a container in a container, an older kernel) cannot be given.
        let known = own_permitted()?;
        capset(
            (self.effective | extra) & known,
            (self.permitted | extra) & known,
            self.inheritable & known,
        )?;
        for capability in 0..64 {
            // One that is not also permitted and inheritable cannot be ambient: runc's own examples have such.
            if self.ambient & self.permitted & self.inheritable & known & (1 << capability) != 0 {
                let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
                // SAFETY: prctl on integers.
                let result = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, capability, 0, 0) };
                if result != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
        }
        Ok(())
    }
}

/// Makes every permitted capability effective, as a change of the user takes them away.
pub(super) fn use_all_permitted() -> io::Result<()> {
    let permitted = own_permitted()?;
    capset(permitted, permitted, 0)
}

fn in_bounding_set(capability: u64) -> bool {
    // SAFETY: prctl on integers.
    unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability as libc::c_ulong) == 1 }
}

fn prctl(option: libc::c_int, argument: u64) -> io::Result<()> {
    // SAFETY: only called with options that take integers.
    match unsafe { libc::prctl(option, argument as libc::c_ulong, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

impl Header {
    /// Version 3 of the interface, for the calling process.
    const SELF: Self = Self {
        version: 0x2008_0522,
        pid: 0,
    };
}

#[repr(C)]
#[derive(Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn own_permitted() -> io::Result<u64> {
    let header = Header::SELF;
    let mut data = [Data::default(), Data::default()];
    // SAFETY: version 3 reads one header and writes two data structures.
    match unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) } {
        0 => Ok(u64::from(data[1].permitted) << 32 | u64::from(data[0].permitted)),
        _ => Err(io::Error::last_os_error()),
    }
}

fn capset(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    let header = Header::SELF;
    let half = |shift: u32| Data {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads one header and two data structures.
    match unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The kernel's number of a capability.
fn number(capability: Capability) -> u32 {
    use Capability::*;
    match capability {
        Chown => 0,
        DacOverride => 1,
        DacReadSearch => 2,
        Fowner => 3,
        Fsetid => 4,
        Kill => 5,
        Setgid => 6,
        Setuid => 7,
        Setpcap => 8,
        LinuxImmutable => 9,
        NetBindService => 10,
        NetBroadcast => 11,
        NetAdmin => 12,
        NetRaw => 13,
        IpcLock => 14,
        IpcOwner => 15,
        SysModule => 16,
        SysRawio => 17,
        SysChroot => 18,
        SysPtrace => 19,
        SysPacct => 20,
        SysAdmin => 21,
        SysBoot => 22,
        SysNice => 23,
        SysResource => 24,
        SysTime => 25,
        SysTtyConfig => 26,
        Mknod => 27,
        Lease => 28,
        AuditWrite => 29,
        AuditControl => 30,
        Setfcap => 31,
        MacOverride => 32,
        MacAdmin => 33,
        Syslog => 34,
        WakeAlarm => 35,
        BlockSuspend => 36,
        AuditRead => 37,
        Perfmon => 38,
        Bpf => 39,
        CheckpointRestore => 40,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::LinuxCapabilitiesBuilder;

    #[test]
    fn sets_become_bits() {
        let caps = LinuxCapabilitiesBuilder::default()
            .bounding(HashSet::from([Capability::Chown, Capability::Bpf]))
            .effective(HashSet::from([Capability::SysAdmin]))
            .permitted(HashSet::new())
            .inheritable(HashSet::new())
            .ambient(HashSet::new())
            .build()
            .unwrap();
        let sets = CapabilitySets::new(Some(&caps));
        assert_eq!(sets.bounding, 1 | 1 << 39);
        assert_eq!(sets.effective, SYS_ADMIN);
        assert_eq!(sets.ambient, 0);
        assert_eq!(CapabilitySets::new(None), CapabilitySets::default());
    }
}
