//! Capabilities: Docker's arithmetic over `--cap-add` and `--cap-drop`.

use std::collections::HashSet;
use std::str::FromStr;

use oci_spec::runtime::{Capability, LinuxCapabilities, LinuxCapabilitiesBuilder};

use super::{HostFacts, SpecError};
use crate::options::{ParseError, RunOptions};

pub(crate) type Set = HashSet<Capability>;

/// What `--cap-add` and `--cap-drop` take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    All,
    One(Capability),
}

/// Reads `ALL`, `NET_ADMIN`, `CAP_NET_ADMIN`, in either case.
///
/// # Errors
/// [`ParseError::Capability`] with the text.
pub(crate) fn parse(text: &str) -> Result<Named, ParseError> {
    let upper = text.trim().to_ascii_uppercase();
    match upper.as_str() {
        "ALL" => Ok(Named::All),
        name => Capability::from_str(name.strip_prefix("CAP_").unwrap_or(name))
            .map(Named::One)
            .map_err(|_| ParseError::Capability {
                value: text.to_owned(),
            }),
    }
}

/// The container's capabilities; those that the host cannot give are left out, with a warning if they were asked for
/// by name.
pub(super) fn of_container(
    options: &RunOptions,
    facts: &HostFacts,
    warnings: &mut Vec<String>,
) -> Result<Set, SpecError> {
    if options.privileged {
        return Ok(facts.capabilities.clone());
    }
    let read = |names: &[String]| {
        names
            .iter()
            .map(|n| parse(n))
            .collect::<Result<Vec<_>, _>>()
    };
    let (add, drop) = (read(&options.cap_add)?, read(&options.cap_drop)?);
    let dropped = |c: &Capability| drop.contains(&Named::One(*c));
    let added = add.iter().filter_map(|named| match named {
        Named::One(capability) => Some(*capability),
        Named::All => None,
    });
    let wanted: Set = if add.contains(&Named::All) {
        facts
            .capabilities
            .iter()
            .filter(|c| !dropped(c))
            .copied()
            .collect()
    } else if drop.contains(&Named::All) {
        added.collect()
    } else {
        rctr_runtime::defaults::capabilities()
            .into_iter()
            .filter(|c| !dropped(c))
            .chain(added)
            .collect()
    };
    let mut missing: Vec<String> = wanted
        .difference(&facts.capabilities)
        .map(|c| format!("CAP_{c}"))
        .collect();
    missing.sort();
    if !missing.is_empty() {
        warnings.push(format!(
            "This host cannot give {}. Capability discarded.",
            missing.join(", ")
        ));
    }
    Ok(wanted.intersection(&facts.capabilities).copied().collect())
}

/// The sets of a process. One that is not root starts with none, and can regain them only through files with
/// capabilities or set-user-id, within the bounding set. Inheritable and ambient sets are always empty.
pub(super) fn sets(bounding: Set, uid: u32) -> Result<LinuxCapabilities, SpecError> {
    let own = if uid == 0 {
        bounding.clone()
    } else {
        Set::new()
    };
    Ok(LinuxCapabilitiesBuilder::default()
        .bounding(bounding)
        .effective(own.clone())
        .permitted(own)
        .inheritable(Set::new())
        .ambient(Set::new())
        .build()?)
}

/// None at all.
pub(crate) fn none() -> Result<LinuxCapabilities, oci_spec::OciSpecError> {
    LinuxCapabilitiesBuilder::default()
        .bounding(Set::new())
        .effective(Set::new())
        .permitted(Set::new())
        .inheritable(Set::new())
        .ambient(Set::new())
        .build()
}

#[cfg(test)]
mod tests {
    use super::super::tests::facts;
    use super::*;

    fn names(add: &[&str], drop: &[&str]) -> Set {
        let list = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect();
        let options = RunOptions {
            cap_add: list(add),
            cap_drop: list(drop),
            ..Default::default()
        };
        of_container(&options, &facts(), &mut Vec::new()).unwrap()
    }

    #[test]
    fn dockers_arithmetic() {
        use Capability::*;
        assert_eq!(names(&[], &[]).len(), 14);
        assert!(
            names(&["net_admin"], &[]).contains(&NetAdmin)
                && names(&["CAP_NET_ADMIN"], &[]).len() == 15
        );
        assert!(!names(&[], &["NET_RAW"]).contains(&NetRaw));
        assert_eq!(names(&["CHOWN"], &["ALL"]), [Chown].into());
        assert_eq!(names(&[], &["ALL"]), Set::new());
        let all_but_one = names(&["ALL"], &["SYS_ADMIN"]);
        assert!(
            !all_but_one.contains(&SysAdmin) && all_but_one.len() == facts().capabilities.len() - 1
        );
        assert_eq!(names(&["ALL"], &["ALL"]), facts().capabilities);
    }

    #[test]
    fn what_the_host_lacks_is_told() {
        let mut facts = facts();
        facts.capabilities.remove(&Capability::SysResource);
        let mut warnings = Vec::new();
        let options = RunOptions {
            cap_add: vec!["SYS_RESOURCE".into()],
            ..Default::default()
        };
        assert_eq!(
            of_container(&options, &facts, &mut warnings).unwrap().len(),
            14
        );
        assert_eq!(
            warnings,
            ["This host cannot give CAP_SYS_RESOURCE. Capability discarded."]
        );
        let options = RunOptions {
            privileged: true,
            ..Default::default()
        };
        assert_eq!(
            of_container(&options, &facts, &mut warnings).unwrap(),
            facts.capabilities
        );
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn only_root_holds_any() {
        let bounding: Set = [Capability::Chown].into();
        let root = sets(bounding.clone(), 0).unwrap();
        assert_eq!(
            (root.effective(), root.permitted()),
            (&Some(bounding.clone()), &Some(bounding.clone()))
        );
        let user = sets(bounding.clone(), 1000).unwrap();
        assert_eq!(user.bounding(), &Some(bounding));
        for set in [
            user.effective(),
            user.permitted(),
            user.ambient(),
            user.inheritable(),
            root.inheritable(),
        ] {
            assert_eq!(set, &Some(Set::new()));
        }
    }
}
