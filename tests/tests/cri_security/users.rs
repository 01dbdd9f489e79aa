//! Users and groups, of the request and of the image.

use rctr_cri::api;
use rctr_tests::cri::{Pod, image, refused, secured, shell};
use tonic::Code;

use super::sleeper;

#[test]
fn users_and_groups() {
    let pod = Pod::new("users");
    let id = |change: &dyn Fn(&mut api::LinuxContainerSecurityContext), name: &str| {
        let mut config = shell(name, "id -u; id -g; id -G");
        config.linux = Some(secured(change));
        pod.output(config).replace('\n', " | ")
    };
    let number = |value| Some(api::Int64Value { value });
    let plain = id(&|_| {}, "root");
    assert!(plain.starts_with("0 | 0 | 0"), "{plain}");
    let user = id(
        &|c| {
            c.run_as_user = number(1000);
            c.run_as_group = number(2000);
            c.supplemental_groups = vec![3000, 4000];
        },
        "user",
    );
    assert_eq!(user, "1000 | 2000 | 2000 3000 4000");
    let named = id(&|c| c.run_as_username = "www-data".into(), "named");
    assert_eq!(named, "33 | 33 | 33");
    let mut config = shell("nouser", "true");
    config.linux = Some(secured(|c| c.run_as_group = number(1)));
    refused(
        pod.cri.try_create(&pod.id, &pod.config, config),
        Code::InvalidArgument,
    );
}

#[test]
fn groups_of_the_image_count_unless_the_policy_is_strict() {
    let pod = Pod::new("groups");
    let groups = |name: &str, policy: api::SupplementalGroupsPolicy| {
        let mut config = shell(name, "id -G; sleep 1000");
        config.linux = Some(secured(|c| {
            c.run_as_user = Some(api::Int64Value { value: 0 });
            c.supplemental_groups = vec![5000];
            c.supplemental_groups_policy = policy.into();
        }));
        let id = pod.run(config);
        let user = pod
            .cri
            .status(&id)
            .user
            .expect("a user")
            .linux
            .expect("linux");
        (pod.cri.sh(&id, "id -G"), user)
    };
    let (strict, user) = groups("strict", api::SupplementalGroupsPolicy::Strict);
    assert_eq!(strict, "0 5000");
    assert_eq!((user.uid, user.gid), (0, 0));
    assert_eq!(user.supplemental_groups, [0, 5000]);
    let (merged, _) = groups("merge", api::SupplementalGroupsPolicy::Merge);
    assert!(
        merged.starts_with('0') && merged.ends_with("5000"),
        "{merged}"
    );
}

#[test]
fn groups_of_the_image_count_unless_they_shall_not() {
    let pod = Pod::new("groups");
    let user = pod.cri.pull("user");
    let groups = |name: &str, policy: api::SupplementalGroupsPolicy| {
        let mut config = sleeper(name, |context| {
            context.run_as_user = Some(api::Int64Value { value: 0 });
            context.run_as_group = Some(api::Int64Value { value: 5 });
            context.supplemental_groups = vec![7777];
            context.supplemental_groups_policy = policy.into();
        });
        config.image = Some(image(&user));
        let id = pod.run(config);
        pod.cri.sh(&id, "id -G")
    };
    let strict = groups("strict", api::SupplementalGroupsPolicy::Strict);
    assert_eq!(strict, "5 7777");
    let merged = groups("merged", api::SupplementalGroupsPolicy::Merge);
    assert!(
        merged.starts_with("5 ") && merged.ends_with(" 7777"),
        "{merged}"
    );
}

#[test]
fn users_that_make_no_sense_are_refused() {
    let pod = Pod::new("nousers");
    let with = |change: &dyn Fn(&mut api::LinuxContainerSecurityContext)| {
        pod.refused(api::ContainerConfig {
            linux: Some(secured(change)),
            ..shell("x", "true")
        })
    };
    let both = with(&|c| {
        c.run_as_user = Some(api::Int64Value { value: 1 });
        c.run_as_username = "root".into();
    });
    assert!(both.contains("user"), "{both}");
    let unknown = with(&|c| c.run_as_username = "nobody-here".into());
    assert!(unknown.contains("nobody-here"), "{unknown}");
    with(&|c| c.run_as_username = "root:0".into());
}
