//! Capabilities and options of security.

use std::collections::BTreeSet;

use crate::options::{IpcMode, PidMode, RunOptions, SecurityOptions};
use crate::selinux::SelinuxLabels;

/// As Docker's command line writes them: upper case, with `CAP_`, in order, each once; what is added is not dropped.
pub(super) fn capabilities(options: &RunOptions) -> (Vec<String>, Vec<String>) {
    let names = |list: &[String]| -> BTreeSet<String> {
        let upper = list.iter().map(|name| name.trim().to_ascii_uppercase());
        let full = upper.map(|name| match name.as_str() {
            "ALL" => name,
            _ if name.starts_with("CAP_") => name,
            _ => format!("CAP_{name}"),
        });
        let all: BTreeSet<String> = full.collect();
        match all.contains("ALL") {
            true => BTreeSet::from(["ALL".to_owned()]),
            false => all,
        }
    };
    let (add, drop) = (names(&options.cap_add), names(&options.cap_drop));
    let drop = drop
        .into_iter()
        .filter(|name| name == "ALL" || !add.contains(name))
        .collect();
    (add.into_iter().collect(), drop)
}

/// `systempaths` shows in the paths; a container that is privileged or sees the host's processes has no label unless
/// something else was asked for, and one that sees another container's has that one's.
pub(super) fn security_options(
    security: &SecurityOptions,
    unlabelled: bool,
    shared: Option<&SelinuxLabels>,
) -> Vec<String> {
    if unlabelled && security.raw.is_empty() {
        return vec!["label=disable".to_owned()];
    }
    let shown = security
        .raw
        .iter()
        .filter(|option| !option.starts_with("systempaths"));
    let mut shown: Vec<String> = shown.cloned().collect();
    let others = shared.filter(|_| !unlabelled && !security.selinux.is_said());
    if let Some(label) = others.and_then(SelinuxLabels::as_options) {
        let words = [
            ("user", label.user),
            ("role", label.role),
            ("type", label.r#type),
            ("level", label.level),
        ];
        let said = words.into_iter().filter(|(_, word)| !word.is_empty());
        shown.extend(said.map(|(name, word)| format!("label={name}:{word}")));
    }
    shown
}

/// Whether it joins what another container has, and with it that one's label.
pub(super) fn shares(options: &RunOptions) -> bool {
    let shared = &options.isolation;
    matches!(shared.ipc, IpcMode::Container(_)) || matches!(shared.pid, PidMode::Container(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_as_docker_writes_them() {
        let shown = |add: &[&str], drop: &[&str]| {
            let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
            let (add, drop) = capabilities(&RunOptions {
                cap_add: words(add),
                cap_drop: words(drop),
                ..RunOptions::default()
            });
            format!("+{} -{}", add.join(","), drop.join(","))
        };
        assert_eq!(
            shown(
                &["sys_time", "NET_ADMIN", "cap_net_admin"],
                &["CAP_MKNOD", "net_admin"]
            ),
            "+CAP_NET_ADMIN,CAP_SYS_TIME -CAP_MKNOD"
        );
        assert_eq!(shown(&["chown", "all"], &["ALL"]), "+ALL -ALL");
    }

    #[test]
    fn what_is_privileged_has_no_label_and_hides_nothing() {
        let raw = |words: &[&str]| SecurityOptions {
            raw: words.iter().map(|word| (*word).to_owned()).collect(),
            ..SecurityOptions::default()
        };
        assert_eq!(security_options(&raw(&[]), true, None), ["label=disable"]);
        assert!(security_options(&raw(&[]), false, None).is_empty());
        let said = raw(&["systempaths=unconfined", "no-new-privileges"]);
        assert_eq!(security_options(&said, true, None), ["no-new-privileges"]);
        let labels = SelinuxLabels {
            process: "u:r:t:s0:c1,c2".into(),
            mount: "u:object_r:f:s0:c1,c2".into(),
        };
        assert_eq!(
            security_options(&raw(&[]), false, Some(&labels)),
            [
                "label=user:u",
                "label=role:r",
                "label=type:t",
                "label=level:s0:c1,c2"
            ]
        );
    }
}
