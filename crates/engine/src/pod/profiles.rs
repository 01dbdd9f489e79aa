//! Profiles and labels that the kernel is to enforce: what cannot be had is refused and never left out unsaid.

use rctr_runtime::apparmor;

use super::{PodApparmor, PodSecurity};
use crate::spec::HostFacts;
use crate::{Error, Result};

/// # Errors
/// [`Error::PodOption`], [`Error::NoSuchProfile`]; the default profile cannot be loaded.
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
    let labelled = security.selinux.as_ref();
    if facts.selinux && !security.privileged && labelled.is_some_and(|l| *l != Default::default()) {
        return refuse(
            "SELinux labels: this host's kernel enforces them, and rctr does not set them".into(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::PodSelinux;
    use super::*;

    fn check_on(apparmor: bool, selinux: bool, security: PodSecurity) -> Option<String> {
        let facts = HostFacts {
            apparmor,
            selinux,
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
        let plain = |profile| check_on(false, false, apparmor(profile));
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

    #[test]
    fn labels_are_refused_only_where_they_mean_something() {
        let labelled = |privileged| PodSecurity {
            privileged,
            selinux: Some(PodSelinux {
                level: "s0:c1,c2".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(check_on(false, false, labelled(false)), None);
        assert_eq!(check_on(false, true, labelled(true)), None);
        assert!(check_on(false, true, labelled(false)).is_some());
        assert_eq!(check_on(false, true, PodSecurity::default()), None);
    }
}
