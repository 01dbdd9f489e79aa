//! Profiles of AppArmor and seccomp.

use std::path::Path;

use rctr_cri::api;
use rctr_tests::cri::{Pod, secured, shell};

use super::sleeper;

#[test]
fn profiles_that_the_kernel_does_not_enforce_are_refused() {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if enabled.is_ok_and(|answer| answer.starts_with('Y')) {
        eprintln!("this kernel has AppArmor");
        return;
    }
    let pod = Pod::new("profiles");
    let with = |profile: api::security_profile::ProfileType, name: &str| api::ContainerConfig {
        linux: Some(secured(|c| {
            c.apparmor = Some(api::SecurityProfile {
                profile_type: profile.into(),
                localhost_ref: name.into(),
            });
        })),
        ..shell("c", "true")
    };
    use api::security_profile::ProfileType::{Localhost, RuntimeDefault, Unconfined};
    for named in [with(Localhost, "k8s-apparmor"), with(RuntimeDefault, "")] {
        let said = pod.refused(named);
        assert!(said.contains("AppArmor is not supported"), "{said}");
    }
    assert!(pod.cri.containers(None).is_empty());
    pod.create(with(Unconfined, ""));
}

#[test]
fn system_calls_are_filtered_as_the_profile_says() {
    use api::security_profile::ProfileType::{Localhost, RuntimeDefault, Unconfined};
    let pod = Pod::new("seccomp");
    let file = pod.dir("profiles").join("no-mkdir.json");
    let profile = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    });
    std::fs::write(&file, profile.to_string()).expect("a file");
    let with = |name: &str, profile: Option<(api::security_profile::ProfileType, &Path)>| {
        sleeper(name, |context| {
            context.seccomp = profile.map(|(kind, path)| api::SecurityProfile {
                profile_type: kind.into(),
                localhost_ref: path.to_string_lossy().into_owned(),
            });
        })
    };
    let told = |config: api::ContainerConfig| {
        let script = "grep -w Seccomp: /proc/1/status | cut -f2; mkdir /d 2>/dev/null && echo made";
        let id = pod.run(config);
        let done = pod.cri.try_exec(&id, &["sh", "-c", script], 10);
        rctr_tests::cri::text(&done.expect("ExecSync").stdout)
    };
    assert_eq!(told(with("unsaid", None)), "0\nmade\n");
    let nowhere = Path::new("");
    let unconfined = with("unconfined", Some((Unconfined, nowhere)));
    assert_eq!(told(unconfined), "0\nmade\n");
    let usual = with("usual", Some((RuntimeDefault, nowhere)));
    assert_eq!(told(usual), "2\nmade\n");
    assert_eq!(told(with("own", Some((Localhost, &file)))), "2\n");
    let missing = with("missing", Some((Localhost, Path::new("/nosuch.json"))));
    let outcome = pod.cri.try_create(&pod.id, &pod.config, missing);
    let said = outcome.expect_err("no such profile");
    assert!(said.message().contains("/nosuch.json"), "{said:?}");
}
