//! Which AppArmor profile a container gets, and that the kernel has it when it starts.

use oci_spec::runtime::Process;
use rctr_runtime::apparmor::{self, DEFAULT_PROFILE};
use rctr_runtime::rootless;

use crate::model::{Container, ZERO_TIME};
use crate::options::RunOptions;
use crate::{Engine, Error, Result};

/// What Docker calls having none.
pub(crate) const UNCONFINED: &str = "unconfined";

/// The profile that a container is to have where profiles are enforced. With Docker, who is privileged has none; a
/// kubelet may name one nevertheless.
pub(crate) fn wanted(options: &RunOptions, in_pod: bool) -> Option<&str> {
    match options.security.apparmor.as_deref() {
        Some(UNCONFINED) => None,
        Some(name) if in_pod || !options.privileged => Some(name),
        None if !options.privileged && rootless::session().is_none() => Some(DEFAULT_PROFILE),
        _ => None,
    }
}

/// Sees to it that the kernel has the profile of a process that is about to start: the default one is loaded, and
/// left out if nothing can load it and nobody has named it.
///
/// # Errors
/// [`Error::NoSuchProfile`]; the default profile is refused by the kernel.
pub(crate) fn require(options: &RunOptions, process: &mut Process) -> Result<()> {
    let Some(profile) = process.apparmor_profile() else {
        return Ok(());
    };
    let there = match profile == DEFAULT_PROFILE {
        true => apparmor::require_default()?,
        false => apparmor::is_loaded(profile)?,
    };
    if there {
        return Ok(());
    }
    if options.security.apparmor.as_ref() == Some(profile) {
        return Err(Error::NoSuchProfile {
            name: profile.clone(),
        });
    }
    process.set_apparmor_profile(None);
    Ok(())
}

impl Engine {
    /// The profile that `inspect` shows: of a container that has run the one it had.
    ///
    /// # Errors
    /// [`Error::BadRecord`].
    pub fn apparmor_profile(&self, container: &Container) -> Result<String> {
        if container.state.started_at == ZERO_TIME {
            return Ok(container
                .options
                .security
                .apparmor
                .clone()
                .unwrap_or_default());
        }
        if !apparmor::is_enabled() {
            return Ok(String::new());
        }
        let process = self.first_process(container)?;
        let profile = process.apparmor_profile().as_deref();
        Ok(profile.unwrap_or(UNCONFINED).to_owned())
    }
}
