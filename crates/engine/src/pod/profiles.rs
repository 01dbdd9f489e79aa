//! Profiles and labels that the kernel is to enforce: what cannot be is refused and never left out unsaid.

use rctr_runtime::apparmor;

use super::{PodApparmor, PodSecurity};
use crate::spec::HostFacts;
use crate::{Error, Result, selinux};

/// # Errors
/// [`Error::PodOption`], [`Error::Selinux`], [`Error::NoSuchProfile`]; the default profile cannot be loaded.
pub(super) fn check(security: &PodSecurity, facts: &HostFacts) -> Result<()> {
    let refuse = |what: String| Err(Error::PodOption { what });
    match &security.apparmor {
        PodApparmor::Unnamed | PodApparmor::Unconfined => {}
        PodApparmor::RuntimeDefault | PodApparmor::Localhost(_) if !facts.apparmor => {
            return refuse(
                "AppArmor is not supported: this host's kernel does not enforce it".into(),
            );
        }
        PodApparmor::RuntimeDefault if !apparmor::require_default()? => {
            return refuse(
                "AppArmor is not supported: apparmor_parser, which loads profiles, is missing"
                    .into(),
            );
        }
        PodApparmor::RuntimeDefault => {}
        PodApparmor::Localhost(name) if !apparmor::is_loaded(name)? => {
            return Err(Error::NoSuchProfile { name: name.clone() });
        }
        PodApparmor::Localhost(_) => {}
    }
    selinux::check(security.selinux.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_on(apparmor: bool, security: PodSecurity) -> Option<String> {
        let facts = HostFacts {
            apparmor,
            ..HostFacts::gather()
        };
        check(&security, &facts).err().map(|e| e.to_string())
    }

    fn apparmor(profile: PodApparmor) -> PodSecurity {
        PodSecurity {
            apparmor: profile,
            ..Default::default()
        }
    }

    #[test]
    fn what_the_kernel_does_not_enforce_is_refused_as_containerd_does() {
        let plain = |profile| check_on(false, apparmor(profile));
        assert_eq!(plain(PodApparmor::Unnamed), None);
        assert_eq!(plain(PodApparmor::Unconfined), None);
        for named in [
            PodApparmor::RuntimeDefault,
            PodApparmor::Localhost("x".into()),
        ] {
            let said = plain(named).expect("refused");
            assert!(said.contains("AppArmor is not supported"), "{said}");
        }
    }
}
