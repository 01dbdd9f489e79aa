//! SELinux labels of pods and of the containers in them.
//!
//! A pod has a level of its own, two categories that no other pod has, so that the processes of one cannot touch another's
//! files. Its containers have its label, or one of their own at its level.

use rctr_runtime::selinux::{self, Label, is_level, is_word};
use rctr_store::Tx;
use serde::{Deserialize, Serialize};

use super::{Pod, PodSecurity, PodSelinux};
use crate::names::random_pair;
use crate::spec::HostFacts;
use crate::{Error, Result};

/// Categories of a policy, as distributions have it.
const CATEGORIES: u32 = 1024;

/// Whole labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodLabels {
    /// Of processes.
    pub process: String,
    /// Of files.
    pub mount: String,
}

impl PodLabels {
    /// The policy's labels for containers with what is asked for in place of its words.
    fn new((process, file): (Label, Label), wanted: &PodSelinux, level: Option<&str>) -> Self {
        let or = |word: &str, default: &str| match word.is_empty() {
            true => default.to_owned(),
            false => word.to_owned(),
        };
        let level = level.map(str::to_owned);
        let process = Label {
            user: or(&wanted.user, &process.user),
            role: or(&wanted.role, &process.role),
            kind: or(&wanted.r#type, &process.kind),
            level: level.clone().or(process.level),
        };
        let file = Label {
            user: or(&wanted.user, &file.user),
            level: level.or(file.level),
            ..file
        };
        Self {
            process: process.to_string(),
            mount: file.to_string(),
        }
    }

    fn level(&self) -> Option<String> {
        self.process.parse::<Label>().ok()?.level
    }
}

/// Refuses words that no label has, be there SELinux or not.
///
/// # Errors
/// [`Error::PodOption`].
pub(super) fn check(wanted: Option<&PodSelinux>) -> Result<()> {
    let Some(wanted) = wanted else {
        return Ok(());
    };
    let words = [
        ("user", &wanted.user, is_word as fn(&str) -> bool),
        ("role", &wanted.role, is_word),
        ("type", &wanted.r#type, is_word),
        ("level", &wanted.level, is_level),
    ];
    for (name, word, valid) in words {
        if !word.is_empty() && !valid(word) {
            return Err(Error::PodOption {
                what: format!("SELinux options: {name} {word:?} is none that there can be"),
            });
        }
    }
    Ok(())
}

/// The labels of a new pod, its level one that no other has unless it is given; none where SELinux is not enabled, or has
/// no policy for containers.
pub(super) fn of_pod(
    facts: &HostFacts,
    wanted: Option<&PodSelinux>,
    tx: &Tx<'_>,
) -> Result<Option<PodLabels>> {
    let Some(defaults) = policy(facts, wanted)? else {
        return Ok(None);
    };
    let wanted = wanted.cloned().unwrap_or_default();
    // A policy without levels has none for anybody.
    if !wanted.level.is_empty() || defaults.0.level.is_none() {
        let level = Some(wanted.level.as_str()).filter(|level| !level.is_empty());
        return Ok(Some(PodLabels::new(defaults, &wanted, level)));
    }
    let pods = tx.pods::<Pod>("")?;
    let level = unused(|level| {
        let mut labels = pods.iter().filter_map(|pod| pod.selinux.as_ref());
        labels.any(|other| other.level().as_deref() == Some(level))
    });
    Ok(Some(PodLabels::new(defaults, &wanted, Some(&level))))
}

/// The labels of a pod's container.
pub(super) fn of_container(
    facts: &HostFacts,
    pod: &Pod,
    security: &PodSecurity,
) -> Result<Option<PodLabels>> {
    let wanted = security
        .selinux
        .as_ref()
        .filter(|wanted| **wanted != PodSelinux::default());
    let Some(wanted) = wanted else {
        return Ok(pod.selinux.clone());
    };
    let of_pod = pod.selinux.as_ref().and_then(PodLabels::level);
    let level = Some(wanted.level.clone())
        .filter(|level| !level.is_empty())
        .or(of_pod);
    let defaults = policy(facts, Some(wanted))?;
    Ok(defaults.map(|defaults| PodLabels::new(defaults, wanted, level.as_deref())))
}

fn policy(facts: &HostFacts, wanted: Option<&PodSelinux>) -> Result<Option<(Label, Label)>> {
    if !facts.selinux {
        return Ok(None);
    }
    match (selinux::defaults(), wanted) {
        (None, Some(wanted)) if *wanted != PodSelinux::default() => Err(Error::PodOption {
            what: "SELinux options: this host's policy has no lxc_contexts, which say what the labels of containers are"
                .to_owned(),
        }),
        (defaults, _) => Ok(defaults),
    }
}

fn unused(taken: impl Fn(&str) -> bool) -> String {
    loop {
        let (low, high) = random_pair(CATEGORIES);
        let level = format!("s0:c{low},c{high}");
        if !taken(&level) {
            return level;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> (Label, Label) {
        let label = |text: &str| text.parse().unwrap();
        (
            label("system_u:system_r:container_t:s0"),
            label("system_u:object_r:container_file_t:s0"),
        )
    }

    fn wanted(user: &str, role: &str, kind: &str, level: &str) -> PodSelinux {
        PodSelinux {
            user: user.into(),
            role: role.into(),
            r#type: kind.into(),
            level: level.into(),
        }
    }

    #[test]
    fn what_is_not_asked_for_is_the_policy_s() {
        let labels = |wanted: PodSelinux, level| {
            let labels = PodLabels::new(defaults(), &wanted, level);
            (labels.process, labels.mount)
        };
        let pair = |process: &str, mount: &str| (process.to_owned(), mount.to_owned());
        assert_eq!(
            labels(PodSelinux::default(), Some("s0:c1,c2")),
            pair(
                "system_u:system_r:container_t:s0:c1,c2",
                "system_u:object_r:container_file_t:s0:c1,c2"
            )
        );
        // A process's role and type are none that a file has.
        assert_eq!(
            labels(wanted("user_u", "user_r", "user_t", "s0:c3"), Some("s0:c3")),
            pair(
                "user_u:user_r:user_t:s0:c3",
                "user_u:object_r:container_file_t:s0:c3"
            )
        );
        assert_eq!(
            labels(wanted("", "", "spc_t", ""), None),
            pair(
                "system_u:system_r:spc_t:s0",
                "system_u:object_r:container_file_t:s0"
            )
        );
    }

    #[test]
    fn words_that_no_label_has_are_refused() {
        check(None).unwrap();
        check(Some(&PodSelinux::default())).unwrap();
        check(Some(&wanted("a_u", "b_r", "c_t", "s0:c1,c2"))).unwrap();
        for (wrong, name) in [
            (wanted("a:b", "", "", ""), "user"),
            (wanted("", "r\"", "", ""), "role"),
            (wanted("", "", "t,x=1", ""), "type"),
            (wanted("", "", "", "s0,c4,c5"), "level"),
        ] {
            let said = check(Some(&wrong)).unwrap_err().to_string();
            assert!(said.contains(name), "{said}");
        }
    }

    #[test]
    fn levels_that_are_taken_are_not_given_again() {
        let tries = std::cell::Cell::new(0);
        let level = unused(|_| tries.replace(tries.get() + 1) < 3);
        assert!(is_level(&level) && level.contains(','), "{level}");
        assert_eq!(tries.get(), 4);
    }

    #[test]
    fn without_selinux_there_are_no_labels() {
        let facts = HostFacts {
            selinux: false,
            ..HostFacts::gather()
        };
        let asked = wanted("", "", "", "s0:c1,c2");
        assert_eq!(policy(&facts, Some(&asked)).unwrap(), None);
    }
}
