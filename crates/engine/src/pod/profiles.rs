//! Profiles and labels that the kernel is to enforce: what it cannot, or rctr does not, is refused and never left out
//! unsaid.

use std::fs;
use std::path::Path;

use super::{PodApparmor, PodSecurity};
use crate::spec::HostFacts;
use crate::{Error, Result};

const LOADED: &str = "/sys/kernel/security/apparmor/profiles";

/// # Errors
/// [`Error::PodOption`].
pub(super) fn check(security: &PodSecurity, facts: &HostFacts) -> Result<()> {
    let refuse = |what: String| Err(Error::PodOption { what });
    match &security.apparmor {
        PodApparmor::Unnamed | PodApparmor::Unconfined => {}
        PodApparmor::RuntimeDefault | PodApparmor::Localhost(_) if !facts.apparmor => {
            return refuse(
                "AppArmor is not supported: this host's kernel does not enforce it".into(),
            );
        }
        PodApparmor::RuntimeDefault if security.privileged => {}
        PodApparmor::RuntimeDefault => {
            return refuse(
                "rctr has no AppArmor profile of its own: name one that is loaded (Localhost), or Unconfined"
                    .into(),
            );
        }
        PodApparmor::Localhost(name) => {
            let path = Path::new(LOADED);
            let loaded = fs::read_to_string(path).map_err(Error::file("read", path))?;
            if !is_loaded(&loaded, name) {
                return refuse(format!("AppArmor profile {name} is not loaded"));
            }
        }
    }
    let labelled = security.selinux.as_ref();
    if facts.selinux && !security.privileged && labelled.is_some_and(|l| *l != Default::default()) {
        return refuse(
            "SELinux labels: this host's kernel enforces them, and rctr does not set them".into(),
        );
    }
    Ok(())
}

/// A line of the kernel's list is `name (mode)`.
fn is_loaded(list: &str, name: &str) -> bool {
    let names = list.lines().filter_map(|line| line.rsplit_once(" ("));
    names.into_iter().any(|(loaded, _)| loaded == name)
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
        let own = check_on(true, false, apparmor(PodApparmor::RuntimeDefault));
        assert!(own.expect("refused").contains("no AppArmor profile"));
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

    #[test]
    fn profiles_are_found_by_their_whole_name() {
        let list = "docker-default (enforce)\nmy profile (complain)\n";
        assert!(is_loaded(list, "docker-default") && is_loaded(list, "my profile"));
        assert!(!is_loaded(list, "docker") && !is_loaded(list, ""));
    }
}
