//! The ImageService as a kubelet uses it.

use std::time::Duration;

use rctr_cri::api;
use rctr_tests::cri::{Cri, container, image, refused, within};
use rctr_tests::{OwnRegistry, Proxy, Verdict};
use tonic::{Code, Status};

fn status(cri: &Cri, name: &str) -> Option<api::Image> {
    let request = api::ImageStatusRequest {
        image: Some(image(name)),
        verbose: false,
    };
    cri.images(async |c| c.image_status(request).await)
        .expect("ImageStatus")
        .image
}

fn list(cri: &Cri, name: Option<&str>) -> Vec<api::Image> {
    let filter = name.map(|name| api::ImageFilter {
        image: Some(image(name)),
    });
    cri.images(async |c| c.list_images(api::ListImagesRequest { filter }).await)
        .expect("ListImages")
        .images
}

fn remove(cri: &Cri, name: &str) {
    let request = api::RemoveImageRequest {
        image: Some(image(name)),
    };
    cri.images(async |c| c.remove_image(request).await)
        .expect("RemoveImage");
}

fn pull_as(cri: &Cri, name: &str, auth: api::AuthConfig) -> Result<String, Status> {
    let request = api::PullImageRequest {
        image: Some(image(name)),
        auth: Some(auth),
        sandbox_config: None,
    };
    cri.images(async |c| c.pull_image(request).await)
        .map(|answer| answer.image_ref)
}

#[test]
fn an_image_is_the_same_by_tag_digest_and_id() {
    let cri = Cri::new();
    assert_eq!(status(&cri, "busybox"), None);
    let id = cri.pull("busybox");
    let by_tag = status(&cri, "docker.io/library/busybox:latest").expect("pulled");
    assert_eq!(by_tag.id, id);
    assert_eq!(by_tag.repo_tags, ["docker.io/library/busybox:latest"]);
    assert!(by_tag.size > 0 && by_tag.repo_digests.len() == 1);
    let hex = id.strip_prefix("sha256:").expect("a digest");
    for name in ["busybox", &by_tag.repo_digests[0], &id, hex, &hex[..12]] {
        assert_eq!(status(&cri, name).as_ref(), Some(&by_tag), "{name}");
        assert_eq!(
            list(&cri, Some(name)),
            std::slice::from_ref(&by_tag),
            "{name}"
        );
    }
    assert_eq!(list(&cri, None), [by_tag]);
    assert!(list(&cri, Some("nosuch")).is_empty());
    assert_eq!(cri.pull("busybox"), id, "again");
}

#[test]
fn users_of_images_are_told() {
    let cri = Cri::new();
    cri.pull("busybox");
    let user = |image: &api::Image| (image.uid.map(|uid| uid.value), image.username.clone());
    let root = status(&cri, "busybox").expect("pulled");
    assert_eq!(user(&root), (Some(0), String::new()));
    assert_eq!(user(&list(&cri, None)[0]), (Some(0), String::new()));
}

#[test]
fn removal_takes_all_names_and_the_second_is_fine() {
    let cri = Cri::new();
    let id = cri.pull("busybox");
    cri.env().rctr(["tag", "busybox", "other:1"]).ok();
    assert_eq!(status(&cri, &id).expect("there").repo_tags.len(), 2);
    remove(&cri, "other:1");
    assert_eq!(status(&cri, &id), None);
    remove(&cri, &id);
    remove(&cri, "busybox");
    assert!(list(&cri, None).is_empty());
}

#[test]
fn what_cannot_be_pulled_is_an_error_with_its_reason() {
    let cri = Cri::new();
    let pull = |name: &str| pull_as(&cri, name, api::AuthConfig::default());
    // The mirror does not have it, and nobody can be asked after that.
    let said = pull("nosuch-image").expect_err("no such image");
    assert!(said.message().contains("nosuch-image"), "{said:?}");
    assert!(matches!(said.code(), Code::NotFound | Code::Unavailable));
    refused(pull("UPPER//case"), Code::InvalidArgument);
    refused(pull(""), Code::InvalidArgument);
    assert!(list(&cri, None).is_empty());
}

#[test]
fn an_account_opens_a_registry_and_a_wrong_one_does_not() {
    let cri = Cri::new();
    let registry = OwnRegistry::with_password(&cri.env().path("registry"));
    let name = format!("{}/private:1", registry.host());
    cri.pull("busybox");
    cri.env().rctr(["tag", "busybox", &name]).ok();
    cri.env()
        .rctr_with_input(
            [
                "login",
                "--username",
                OwnRegistry::USER,
                "--password-stdin",
                registry.host(),
            ],
            OwnRegistry::PASSWORD.as_bytes(),
        )
        .ok();
    cri.env().rctr(["push", &name]).ok();
    cri.env().rctr(["logout", registry.host()]).ok();
    remove(&cri, &name);

    refused(
        pull_as(&cri, &name, api::AuthConfig::default()),
        Code::Unauthenticated,
    );
    let account = |password: &str| api::AuthConfig {
        username: OwnRegistry::USER.into(),
        password: password.into(),
        ..Default::default()
    };
    refused(
        pull_as(&cri, &name, account("wrong")),
        Code::Unauthenticated,
    );
    let id = pull_as(&cri, &name, account(OwnRegistry::PASSWORD)).expect("the right password");
    assert_eq!(status(&cri, &name).expect("pulled").id, id);
}

#[test]
fn pulls_of_one_image_at_once_are_one_pull() {
    let proxy = Proxy::start(|_| Verdict::Forward);
    let cri = Cri::over(rctr_tests::Env::builder().mirror(&proxy.url()));
    let pulls = (0..8).map(|_| {
        let mut client = cri.image_client();
        async move {
            let request = api::PullImageRequest {
                image: Some(image("busybox")),
                ..Default::default()
            };
            client.pull_image(request).await
        }
    });
    let ids = cri.wait(futures_util::future::join_all(pulls));
    let mut ids: Vec<_> = ids
        .into_iter()
        .map(|id| id.expect("a pull").into_inner().image_ref)
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    let manifests = proxy.requests();
    let manifests = manifests
        .iter()
        .filter(|r| r.path.contains("/manifests/latest"));
    assert_eq!(manifests.count(), 1);
}

#[test]
fn a_pull_nobody_waits_for_goes_on_and_the_retry_joins_it() {
    let proxy = Proxy::start(|request| match request.path.contains("/blobs/") {
        true => Verdict::Delay(Duration::from_millis(300)),
        false => Verdict::Forward,
    });
    let cri = Cri::over(rctr_tests::Env::builder().mirror(&proxy.url()));
    let request = || api::PullImageRequest {
        image: Some(image("busybox")),
        ..Default::default()
    };
    let hasty = within(Duration::from_millis(1), request());
    let said = cri.images(async |c| c.pull_image(hasty).await);
    assert!(matches!(
        said.expect_err("too hasty").code(),
        Code::DeadlineExceeded | Code::Cancelled
    ));
    let id = cri.pull("busybox");
    assert_eq!(status(&cri, "busybox").expect("pulled").id, id);
    let manifests = proxy.requests();
    let manifests = manifests
        .iter()
        .filter(|r| r.path.contains("/manifests/latest"));
    assert_eq!(manifests.count(), 1);
}

#[test]
fn the_file_system_of_images_is_one_the_kubelet_can_see() {
    let cri = Cri::new();
    let usage = || {
        let told = cri
            .images(async |c| c.image_fs_info(api::ImageFsInfoRequest {}).await)
            .expect("ImageFsInfo");
        assert_eq!(told.image_filesystems.len(), 1);
        assert_eq!(told.container_filesystems, told.image_filesystems);
        told.image_filesystems[0].clone()
    };
    let before = usage();
    let mountpoint = before.fs_id.expect("an identifier").mountpoint;
    assert!(std::path::Path::new(&mountpoint).is_dir());
    cri.pull("busybox");
    let after = usage();
    assert!(after.timestamp > before.timestamp);
    let bytes = |usage: &api::FilesystemUsage| usage.used_bytes.expect("bytes").value;
    assert!(bytes(&after) > 500_000, "{}", bytes(&after));
    assert!(after.inodes_used.expect("inodes").value > 10);
    remove(&cri, "busybox");
    assert!(bytes(&usage()) < bytes(&after) / 2);
}

#[test]
fn images_are_told_in_a_stream_too() {
    let cri = Cri::new();
    let id = cri.pull("busybox");
    let mut client = cri.image_client();
    let told = cri.wait(async {
        let request = api::StreamImagesRequest::default();
        let mut stream = client.stream_images(request).await?.into_inner();
        let mut images = Vec::new();
        while let Some(part) = stream.message().await? {
            images.extend(part.images);
        }
        Ok::<_, Status>(images)
    });
    let ids: Vec<_> = told.expect("a stream").into_iter().map(|i| i.id).collect();
    assert_eq!(ids, [id]);
}

#[test]
fn of_several_platforms_the_nodes_own_is_pulled() {
    let cri = Cri::new();
    for name in ["multiarch", "multiarch-docker"] {
        let id = cri.pull(name);
        let config = cri.pod_config(name);
        let pod = cri.run_pod(&config);
        let arch = container("c", &id, &["cat", "/arch"]);
        let ended = cri.wait_exit(&cri.run(&pod, &config, arch));
        let log = std::fs::read_to_string(ended.log_path).expect("a log");
        assert!(log.ends_with(" stdout F amd64\n"), "{log}");
    }
    let said = pull_as(&cri, "arm64index", api::AuthConfig::default());
    let said = said.expect_err("nothing for this processor");
    assert!(said.message().contains("arm64index"), "{said:?}");
}
