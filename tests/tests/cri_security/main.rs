//! Security contexts of pods and containers: users, privilege, namespaces and profiles.

mod namespaces;
mod privilege;
mod profiles;
mod users;

use rctr_cri::api;
use rctr_tests::cri::{secured, shell};

/// A container that stays, in a security context.
fn sleeper(
    name: &str,
    change: impl FnOnce(&mut api::LinuxContainerSecurityContext),
) -> api::ContainerConfig {
    api::ContainerConfig {
        linux: Some(secured(change)),
        ..shell(name, "sleep 1000")
    }
}
