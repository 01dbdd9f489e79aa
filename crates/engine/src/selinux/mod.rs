//! SELinux labels of containers and of pods.
//!
//! Each has a level of its own, two categories that nobody else has, so that the processes of one cannot touch another's
//! files. The containers of a pod have its label, or one of their own at its level.

mod files;

use std::collections::BTreeSet;

use rctr_runtime::selinux::{self, Defaults, Label};
use rctr_store::{Lease, Tx};
use serde::{Deserialize, Serialize};

use crate::model::Container;
use crate::names::random_pair;
use crate::options::{IpcMode, PidMode, RunOptions, SelinuxOptions};
use crate::pod::{Pod, PodSecurity};
use crate::spec::HostFacts;
use crate::{Error, Result};

pub(crate) use files::label_upper;

/// Categories of a policy, as distributions have it.
const CATEGORIES: u32 = 1024;
/// Of the files of containers without a label: those that have one cannot touch them.
const UNLABELLED: (u32, u32) = (1022, 1023);
/// Of what several containers share.
const SHARED: &str = "s0";

/// Whole labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelinuxLabels {
    /// Of processes; empty where they run as what the policy makes of their programs.
    pub process: String,
    /// Of files.
    pub mount: String,
}

impl SelinuxLabels {
    /// The policy's labels for containers with what is asked for in place of its words.
    fn new(defaults: Defaults, wanted: &SelinuxOptions, level: Option<&str>) -> Self {
        let Defaults { process, file, .. } = defaults;
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
            kind: or(&wanted.file_type, &file.kind),
            level: level.or(file.level),
            ..file
        };
        Self {
            process: match wanted.disable {
                true => String::new(),
                false => process.to_string(),
            },
            mount: file.to_string(),
        }
    }

    fn level(&self) -> Option<String> {
        self.mount.parse::<Label>().ok()?.level
    }

    /// The label of files that other containers may use, too.
    fn shared(&self) -> String {
        match self.mount.parse::<Label>() {
            Ok(mut label) => {
                label.level = label.level.map(|_| SHARED.to_owned());
                label.to_string()
            }
            Err(()) => self.mount.clone(),
        }
    }

    /// What another container is asked for that shares processes or memory with this one.
    pub(crate) fn as_options(&self) -> Option<SelinuxOptions> {
        let label: Label = self.process.parse().ok()?;
        Some(SelinuxOptions {
            user: label.user,
            role: label.role,
            r#type: label.kind,
            level: label.level.unwrap_or_default(),
            ..SelinuxOptions::default()
        })
    }
}

/// Refuses words that no label has.
///
/// # Errors
/// [`Error::Selinux`].
pub(crate) fn check(wanted: Option<&SelinuxOptions>) -> Result<()> {
    match wanted.and_then(SelinuxOptions::wrong) {
        None => Ok(()),
        Some((name, word)) => Err(Error::Selinux {
            reason: format!("{name} {word:?} is none that there can be"),
        }),
    }
}

/// The labels of a new pod, its level one that nobody else has unless it is given; none where SELinux is not enabled, or has
/// no policy for containers.
pub(crate) fn of_pod(
    facts: &HostFacts,
    wanted: Option<&SelinuxOptions>,
    tx: &Tx<'_>,
) -> Result<Option<SelinuxLabels>> {
    choose(facts, &wanted.cloned().unwrap_or_default(), None, tx)
}

/// Gives a container its labels, unless it has them, or there are none to be had.
///
/// # Errors
/// [`Error::Selinux`]; the store's.
pub(crate) fn settle(facts: &HostFacts, container: &mut Container, tx: &Tx<'_>) -> Result<()> {
    if container.selinux.is_some() || !facts.selinux {
        return Ok(());
    }
    container.selinux = match &container.pod {
        Some(member) => {
            let pod = tx.pods::<Pod>(&member.pod)?.into_iter().next();
            let of_pod = pod.and_then(|pod| pod.selinux);
            in_pod(facts, of_pod, &member.options.security, tx)?
        }
        None => choose(facts, &wanted(&container.options, tx)?, None, tx)?,
    };
    Ok(())
}

/// The labels of a build's step, as of a container that has no record: `lease` keeps its level from others.
///
/// # Errors
/// [`Error::Selinux`]; the store's.
pub(crate) fn of_step(
    facts: &HostFacts,
    options: &RunOptions,
    lease: &Lease,
    tx: &Tx<'_>,
) -> Result<Option<SelinuxLabels>> {
    let labels = choose(facts, &wanted(options, tx)?, None, tx)?;
    if let Some(level) = labels.as_ref().and_then(SelinuxLabels::level) {
        lease.take_level(tx, &level)?;
    }
    Ok(labels)
}

/// The labels of a pod's container.
fn in_pod(
    facts: &HostFacts,
    of_pod: Option<SelinuxLabels>,
    security: &PodSecurity,
    tx: &Tx<'_>,
) -> Result<Option<SelinuxLabels>> {
    match &security.selinux {
        Some(wanted) if wanted.is_said() => {
            let level = of_pod.as_ref().and_then(SelinuxLabels::level);
            choose(facts, wanted, level, tx)
        }
        _ => Ok(of_pod),
    }
}

/// What a container of `rctr run` is to have. As with Docker, who sees the host's processes or memory, or is privileged,
/// has no label, and who sees another container's has that one's, unless something is said.
fn wanted(options: &RunOptions, tx: &Tx<'_>) -> Result<SelinuxOptions> {
    let said = &options.security.selinux;
    if said.is_said() {
        return Ok(said.clone());
    }
    if options.privileged || options.isolation.shares_processes_with_host() {
        return Ok(SelinuxOptions {
            disable: true,
            ..SelinuxOptions::default()
        });
    }
    let of = |other: &str| -> Result<Option<SelinuxOptions>> {
        let other = tx.container::<Container>(other)?;
        let labels = other.and_then(|other| other.doc.selinux);
        Ok(labels.and_then(|labels| labels.as_options()))
    };
    let ipc = match &options.isolation.ipc {
        IpcMode::Container(other) => Some(of(other)?),
        _ => None,
    };
    let pid = match &options.isolation.pid {
        PidMode::Container(other) => Some(of(other)?),
        _ => None,
    };
    let shared = match (ipc, pid) {
        (Some(Some(ipc)), Some(Some(pid))) if ipc != pid => {
            return Err(Error::Selinux {
                reason: "--ipc and --pid containers SELinux labels aren't the same".to_owned(),
            });
        }
        // With both, one of them without a label: there is none that would do.
        (Some(ipc), Some(pid)) => ipc.and(pid),
        (one, other) => one.or(other).flatten(),
    };
    Ok(shared.unwrap_or_default())
}

/// Labels at the level that is asked for, else at `level`, else at one that nobody has.
fn choose(
    facts: &HostFacts,
    wanted: &SelinuxOptions,
    level: Option<String>,
    tx: &Tx<'_>,
) -> Result<Option<SelinuxLabels>> {
    let Some(defaults) = policy(facts, wanted)? else {
        return Ok(None);
    };
    let said = Some(&wanted.level).filter(|level| !level.is_empty());
    let level = match said.cloned().or(level) {
        // A policy without levels has none for anybody.
        _ if defaults.process.level.is_none() && said.is_none() => None,
        _ if wanted.disable => Some(level_of(UNLABELLED)),
        Some(level) => Some(level),
        None => {
            let taken = taken(tx)?;
            Some(unused(|level| taken.contains(&categories(level))))
        }
    };
    let labels = SelinuxLabels::new(defaults, wanted, level.as_deref());
    Ok(Some(labels))
}

fn policy(facts: &HostFacts, wanted: &SelinuxOptions) -> Result<Option<Defaults>> {
    if !facts.selinux {
        return Ok(None);
    }
    match selinux::defaults() {
        None if wanted.is_said() && !wanted.disable => Err(Error::Selinux {
            reason:
                "this host's policy has no lxc_contexts, which say what the labels of containers are"
                    .to_owned(),
        }),
        defaults => Ok(defaults),
    }
}

/// The categories that pods and containers have, whether they run or not, and those of builds' steps.
fn taken(tx: &Tx<'_>) -> Result<BTreeSet<BTreeSet<u32>>> {
    let pods = tx.pods::<Pod>("")?.into_iter();
    let pods = pods.filter_map(|pod| pod.selinux);
    let containers = tx.containers::<Container>()?.into_iter();
    let containers = containers.filter_map(|container| container.doc.selinux);
    let levels = pods.chain(containers).filter_map(|labels| labels.level());
    let levels = levels.chain(tx.leased_levels()?);
    Ok(levels.map(|level| categories(&level)).collect())
}

/// The categories of a level, however they are written.
fn categories(level: &str) -> BTreeSet<u32> {
    let number = |text: &str| text.strip_prefix('c')?.parse::<u32>().ok();
    let range = |item: &str| {
        let (first, last) = item.split_once('.').unwrap_or((item, item));
        Some(number(first)?..=number(last)?)
    };
    let listed = level.rsplit_once(':').map_or("", |(_, listed)| listed);
    listed.split(',').filter_map(range).flatten().collect()
}

fn level_of((low, high): (u32, u32)) -> String {
    format!("s0:c{low},c{high}")
}

fn unused(taken: impl Fn(&str) -> bool) -> String {
    loop {
        let pair = random_pair(CATEGORIES);
        let level = level_of(pair);
        if pair != UNLABELLED && !taken(&level) {
            return level;
        }
    }
}

#[cfg(test)]
mod tests {
    use rctr_runtime::selinux::is_level;

    use super::*;

    fn defaults() -> Defaults {
        let label = |text: &str| text.parse().unwrap();
        Defaults {
            process: label("system_u:system_r:container_t:s0"),
            file: label("system_u:object_r:container_file_t:s0"),
            read_only: label("system_u:object_r:container_ro_file_t:s0"),
        }
    }

    fn wanted(user: &str, role: &str, kind: &str, level: &str) -> SelinuxOptions {
        SelinuxOptions {
            user: user.into(),
            role: role.into(),
            r#type: kind.into(),
            level: level.into(),
            ..SelinuxOptions::default()
        }
    }

    fn labels(wanted: &SelinuxOptions, level: Option<&str>) -> (String, String) {
        let labels = SelinuxLabels::new(defaults(), wanted, level);
        (labels.process, labels.mount)
    }

    fn pair(process: &str, mount: &str) -> (String, String) {
        (process.to_owned(), mount.to_owned())
    }

    #[test]
    fn what_is_not_asked_for_is_the_policy_s() {
        assert_eq!(
            labels(&SelinuxOptions::default(), Some("s0:c1,c2")),
            pair(
                "system_u:system_r:container_t:s0:c1,c2",
                "system_u:object_r:container_file_t:s0:c1,c2"
            )
        );
        // A process's role and type are none that a file has.
        assert_eq!(
            labels(
                &wanted("user_u", "user_r", "user_t", "s0:c3"),
                Some("s0:c3")
            ),
            pair(
                "user_u:user_r:user_t:s0:c3",
                "user_u:object_r:container_file_t:s0:c3"
            )
        );
        assert_eq!(
            labels(&wanted("", "", "spc_t", ""), None),
            pair(
                "system_u:system_r:spc_t:s0",
                "system_u:object_r:container_file_t:s0"
            )
        );
        let files = SelinuxOptions {
            file_type: "app_file_t".into(),
            ..SelinuxOptions::default()
        };
        assert_eq!(
            labels(&files, Some("s0:c1,c2")),
            pair(
                "system_u:system_r:container_t:s0:c1,c2",
                "system_u:object_r:app_file_t:s0:c1,c2"
            )
        );
    }

    #[test]
    fn who_has_no_label_has_files_that_nobody_else_may_touch() {
        let disable = SelinuxOptions {
            disable: true,
            ..SelinuxOptions::default()
        };
        assert_eq!(
            labels(&disable, Some(&level_of(UNLABELLED))),
            pair("", "system_u:object_r:container_file_t:s0:c1022,c1023")
        );
    }

    #[test]
    fn what_is_shared_is_at_the_lowest_level() {
        let labels = SelinuxLabels::new(defaults(), &SelinuxOptions::default(), Some("s0:c1,c2"));
        assert_eq!(labels.shared(), "system_u:object_r:container_file_t:s0");
        assert_eq!(
            labels.as_options(),
            Some(wanted("system_u", "system_r", "container_t", "s0:c1,c2"))
        );
        let without = SelinuxLabels {
            process: String::new(),
            mount: "u:r:t".into(),
        };
        assert_eq!(without.shared(), "u:r:t");
        assert_eq!(without.as_options(), None);
    }

    #[test]
    fn words_that_no_label_has_are_refused() {
        check(None).unwrap();
        check(Some(&SelinuxOptions::default())).unwrap();
        check(Some(&wanted("a_u", "b_r", "c_t", "s0:c1,c2"))).unwrap();
        for (wrong, name) in [
            (wanted("a:b", "", "", ""), "user"),
            (wanted("", "r\"", "", ""), "role"),
            (wanted("", "", "t,x=1", ""), "type"),
            (wanted("", "", "t\nx", ""), "type"),
            (wanted("", "", "", "s0,c4,c5"), "level"),
            (wanted("", "", "", "s0:c1\0"), "level"),
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
    fn a_level_is_taken_however_it_is_written() {
        let taken = categories("s0:c1,c2");
        for same in ["s0:c2,c1", "s0:c1.c2", "s0-s0:c1,c2", "s0:c01,c2"] {
            assert_eq!(categories(same), taken, "{same}");
        }
        for other in ["s0", "s0:c1", "s0:c1.c3"] {
            assert_ne!(categories(other), taken, "{other}");
        }
        assert!(categories("s0").is_empty());
    }

    #[test]
    fn without_selinux_there_are_no_labels() {
        let facts = HostFacts {
            selinux: false,
            ..HostFacts::gather()
        };
        let asked = wanted("", "", "", "s0:c1,c2");
        assert_eq!(policy(&facts, &asked).unwrap(), None);
    }
}
