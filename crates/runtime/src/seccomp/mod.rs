//! System call filters: Docker's default profile, profiles of the user's, and compiled programs in a cache.
//!
//! Compiling a filter takes 20 to 30 ms, loading a compiled one less than one: so programs are kept on disk,
//! under a name made of everything that went into them.

mod compile;
mod default;
mod profile;

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use oci_spec::runtime::{Capability, LinuxSeccomp, LinuxSeccompFilterFlag, Process};
use sha2::{Digest, Sha256};

use crate::error::{Result, StartError};
use crate::spec::SeccompPolicy;

pub use profile::custom_profile;

/// Docker's default profile for a process with these capabilities (its bounding set), on this machine's architecture.
pub fn default_profile(capabilities: &HashSet<Capability>) -> LinuxSeccomp {
    default::profile(capabilities)
}

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    instructions: Vec<libc::sock_filter>,
    flags: libc::c_ulong,
}

/// The kernel takes no longer program.
const MAX_INSTRUCTIONS: usize = 4096;
const INSTRUCTION: usize = size_of::<libc::sock_filter>();

impl Program {
    /// Reads a program from its bytes, as libseccomp exports them and the kernel takes them.
    fn from_bytes(bytes: &[u8], flags: libc::c_ulong) -> Option<Self> {
        let count = bytes.len() / INSTRUCTION;
        if !bytes.len().is_multiple_of(INSTRUCTION) || count == 0 || count > MAX_INSTRUCTIONS {
            return None;
        }
        let instructions = bytes
            .chunks_exact(INSTRUCTION)
            .map(|b| libc::sock_filter {
                code: u16::from_ne_bytes([b[0], b[1]]),
                jt: b[2],
                jf: b[3],
                k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            })
            .collect();
        Some(Self {
            instructions,
            flags,
        })
    }

    /// Puts the calling process under this filter for good. It needs CAP_SYS_ADMIN or no_new_privs.
    pub(crate) fn load(&self) -> io::Result<()> {
        let program = libc::sock_fprog {
            // The kernel checks the length against the limit that from_bytes has checked.
            len: self.instructions.len() as libc::c_ushort,
            filter: self.instructions.as_ptr().cast_mut(),
        };
        // SAFETY: the kernel copies `len` instructions, which live until the call returns, and writes nothing.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                self.flags,
                &raw const program,
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// The program for a process, from the cache, or compiled and put there.
pub(crate) fn program(
    policy: &SeccompPolicy,
    process: &Process,
    cache: &Path,
) -> Result<Option<Program>, StartError> {
    let (key, flags) = match policy {
        SeccompPolicy::Unconfined => return Ok(None),
        SeccompPolicy::Default => (default_key(&bounding(process)), DEFAULT_FLAGS),
        SeccompPolicy::Custom(profile) => (custom_key(profile), filter_flags(profile)),
    };
    let path = cache.join(format!("{key}.bpf"));
    if let Some(program) = fs::read(&path)
        .ok()
        .and_then(|b| Program::from_bytes(&b, flags))
    {
        return Ok(Some(program));
    }

    let profile = match policy {
        SeccompPolicy::Custom(profile) => profile.as_ref().clone(),
        _ => default_profile(&bounding(process)),
    };
    let failed = |reason: String| StartError::Seccomp { reason };
    let bytes = compile::compile(&profile).map_err(|e| failed(e.to_string()))?;
    // A cache that cannot be written costs time, not safety.
    let _ = store(&path, &bytes);
    Program::from_bytes(&bytes, flags)
        .map(Some)
        .ok_or_else(|| failed("the filter is too long for the kernel".to_owned()))
}

/// As runc: no speculative-store mitigation just because of a filter.
const DEFAULT_FLAGS: libc::c_ulong = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;

fn filter_flags(profile: &LinuxSeccomp) -> libc::c_ulong {
    match profile.flags() {
        None => DEFAULT_FLAGS,
        Some(flags) => flags.iter().fold(0, |bits, flag| {
            bits | match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => {
                    libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW
                }
                // Only matters together with a listener, which profiles may not have here.
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
            }
        }),
    }
}

fn bounding(process: &Process) -> HashSet<Capability> {
    process
        .capabilities()
        .as_ref()
        .and_then(|c| c.bounding().clone())
        .unwrap_or_default()
}

fn default_key(capabilities: &HashSet<Capability>) -> String {
    let mut names: Vec<String> = capabilities.iter().map(|c| c.to_string()).collect();
    names.sort();
    digest(&[
        "default",
        default::VERSION,
        std::env::consts::ARCH,
        &names.join(","),
    ])
}

fn custom_key(profile: &LinuxSeccomp) -> String {
    let json = serde_json::to_string(profile).unwrap_or_default();
    digest(&["custom", std::env::consts::ARCH, &json])
}

/// Part of the name of compiled programs: change it whenever `compile` makes others of the same profile.
const COMPILER: &str = "2";

fn digest(parts: &[&str]) -> String {
    let hash = Sha256::digest([parts, &[COMPILER]].concat().join("\n"));
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Complete or not at all: others may read it at any time.
fn store(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    fs::File::create(&temporary)?.write_all(bytes)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests;
