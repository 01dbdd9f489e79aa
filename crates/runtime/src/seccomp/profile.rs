//! Profiles in Docker's own JSON format, with conditions on capabilities, architectures and kernels.

use std::collections::HashSet;

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompBuilder,
    LinuxSeccompFilterFlag, LinuxSyscall, LinuxSyscallBuilder,
};
use serde::Deserialize;

use crate::error::{Error, Result};

/// A profile as Docker's `--security-opt seccomp=FILE` has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<Arch>,
    #[serde(default)]
    arch_map: Vec<Architecture>,
    #[serde(default)]
    flags: Vec<LinuxSeccompFilterFlag>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: Arch,
    #[serde(default)]
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: Option<Conditions>,
    #[serde(default)]
    excludes: Option<Conditions>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
    min_kernel: Option<String>,
}

/// What conditions are held against.
struct Host<'a> {
    capabilities: &'a HashSet<Capability>,
    kernel: (u32, u32),
}

impl Host<'_> {
    fn has(&self, name: &str) -> bool {
        let name = name.trim_start_matches("CAP_");
        let same = |c: &Capability| c.to_string().trim_start_matches("CAP_") == name;
        self.capabilities.iter().any(same)
    }

    fn is_at_least(&self, version: &str) -> bool {
        kernel_version(version).is_some_and(|wanted| self.kernel >= wanted)
    }

    /// All of them hold.
    fn meets(&self, conditions: &Conditions) -> bool {
        conditions.caps.iter().all(|c| self.has(c))
            && (conditions.arches.is_empty() || conditions.arches.iter().any(|a| a == GO_ARCH))
            && conditions.min_kernel.iter().all(|v| self.is_at_least(v))
    }

    /// One of them holds.
    fn meets_any(&self, conditions: &Conditions) -> bool {
        conditions.caps.iter().any(|c| self.has(c))
            || conditions.arches.iter().any(|a| a == GO_ARCH)
            || conditions.min_kernel.iter().any(|v| self.is_at_least(v))
    }
}

/// The architecture's name in profiles.
const GO_ARCH: &str = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => "amd64",
    b"aarch64" => "arm64",
    _ => std::env::consts::ARCH,
};

pub(super) const NATIVE: Arch = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => Arch::ScmpArchX86_64,
    b"aarch64" => Arch::ScmpArchAarch64,
    _ => Arch::ScmpArchNative,
};

/// A profile as `--security-opt seccomp=FILE` has it, resolved for this machine and for a process with these
/// capabilities (its bounding set).
///
/// # Errors
/// [`Error::SeccompProfile`] if it is not one.
pub fn custom_profile(json: &[u8], capabilities: &HashSet<Capability>) -> Result<LinuxSeccomp> {
    let bad = |reason: String| Error::SeccompProfile { reason };
    let profile: Profile = serde_json::from_slice(json).map_err(|e| bad(e.to_string()))?;
    let host = Host {
        capabilities,
        kernel: running_kernel(),
    };
    let mut architectures = profile.architectures;
    for entry in profile.arch_map {
        if entry.architecture == NATIVE {
            architectures.push(entry.architecture);
            architectures.extend(entry.sub_architectures.unwrap_or_default());
        }
    }
    let mut rules = Vec::new();
    for rule in profile.syscalls {
        let included = rule.includes.as_ref().is_none_or(|c| host.meets(c));
        let excluded = rule.excludes.as_ref().is_some_and(|c| host.meets_any(c));
        if included && !excluded {
            rules.push(rule.resolve().map_err(bad)?);
        }
    }
    let mut builder = LinuxSeccompBuilder::default()
        .default_action(profile.default_action)
        .architectures(architectures)
        .syscalls(rules);
    if let Some(errno) = profile.default_errno_ret {
        builder = builder.default_errno_ret(errno);
    }
    if !profile.flags.is_empty() {
        builder = builder.flags(profile.flags);
    }
    builder.build().map_err(|e| bad(e.to_string()))
}

impl Rule {
    fn resolve(self) -> Result<LinuxSyscall, String> {
        let mut names = self.names;
        names.extend(self.name);
        let mut builder = LinuxSyscallBuilder::default()
            .names(names)
            .action(self.action);
        if let Some(errno) = self.errno_ret {
            builder = builder.errno_ret(errno);
        }
        if let Some(args) = self.args.filter(|args| !args.is_empty()) {
            builder = builder.args(args);
        }
        builder.build().map_err(|e| e.to_string())
    }
}

fn running_kernel() -> (u32, u32) {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    kernel_version(&release).unwrap_or((0, 0))
}

/// Major and minor number of `6.1.0-13-amd64`.
fn kernel_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
