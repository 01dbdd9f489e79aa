//! What a registry may serve, and what is refused.

use std::time::Duration;

use oci_spec::image::{Descriptor, Digest, MediaType};
use serde_json::{Value, json};

use super::image::{
    Content, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, noise, sha,
};
use super::server::{Reply, Server};
use super::sink::{MemorySink, client, pull, pull_by, pull_into};
use crate::{Error, HostConfigs, Lookup, Platform, parse_reference};

async fn serve(content: Content) -> Server {
    Server::start(move |request| content.answer(request)).await
}

/// Pulls an image that consists of a manifest of this type.
async fn pull_manifest(media_type: &str, manifest: &Value) -> Result<crate::Pulled, Error> {
    let mut content = Content::default();
    content.add_image("amd64", &[b"layer".to_vec()]);
    content.tag("latest", media_type, manifest);
    pull_into(&MemorySink::default(), &serve(content).await).await
}

fn good_manifest() -> Value {
    Content::default().add_image("amd64", &[b"layer".to_vec()])
}

async fn refusal(media_type: &str, manifest: &Value) -> String {
    let error = pull_manifest(media_type, manifest).await.unwrap_err();
    assert!(
        matches!(error, Error::UnsupportedManifest { .. }),
        "{error}"
    );
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_arrives_whole() {
    let layers: Vec<Vec<u8>> = (0..12).map(|i| noise(i, 50_000 + i as usize)).collect();
    let server = serve(Content::image(&layers)).await;
    let sink = MemorySink::default();
    let pulled = pull_into(&sink, &server).await.unwrap();

    assert_eq!(pulled.target, pulled.manifest);
    assert_eq!(pulled.layers.len(), 12);
    assert_eq!(pulled.platform, "linux/amd64".parse().unwrap());
    assert_eq!(sha(&pulled.config_json), pulled.config.digest().as_ref());
    let mut chain = String::new();
    for (layer, bytes) in pulled.layers.iter().zip(&layers) {
        chain = if chain.is_empty() {
            sha(bytes)
        } else {
            sha(format!("{chain} {}", sha(bytes)).as_bytes())
        };
        assert_eq!(layer.chain_id.as_ref(), chain);
        assert_eq!(sink.state().layers[&chain], *bytes);
    }
    assert_eq!(sink.state().blobs.len(), 2);

    // A second pull asks what the tag names, and nothing else.
    let before = server.seen().len();
    assert_eq!(pull_into(&sink, &server).await.unwrap(), pulled);
    let after = server.seen();
    assert_eq!(after.len(), before + 1);
    assert!(after[before].is("HEAD", "/manifests/latest"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_here_is_fetched_without_asking_first() {
    let server = serve(Content::image(&[noise(1, 1000)])).await;
    let name = format!("{}/test/app", server.host());
    let (client, sink) = (client(HostConfigs::new()), MemorySink::default());
    pull_by(Lookup::Get, &client, &name, None, &sink)
        .await
        .unwrap();
    assert_eq!(server.count("HEAD", ""), 0);
    assert_eq!(server.count("GET", "/manifests/"), 1);
    assert_eq!(sink.state().blobs.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_blob_may_occur_twice() {
    let (a, b) = (noise(1, 1000), noise(2, 1000));
    let layers = [a.clone(), a.clone(), b.clone(), a.clone(), a, b];
    let server = serve(Content::image(&layers)).await;
    for early in [false, true] {
        let sink = MemorySink::default();
        sink.state().early = early;
        pull_into(&sink, &server).await.unwrap();
        assert_eq!(sink.state().layers.len(), 6);
    }
}

/// It says what the layers are, whatever they were packed as when they came: `rctr load` may have brought them.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_begun_early_if_the_configuration_is_here() {
    let server = serve(Content::image(&[noise(1, 1000), noise(2, 10)])).await;
    let sink = MemorySink::default();
    sink.state().early = true;
    pull_into(&sink, &server).await.unwrap();
    assert_eq!(server.count("GET", "/blobs/"), 3);
    pull_into(&sink, &server).await.unwrap();
    assert_eq!(server.count("GET", "/blobs/"), 3);
}

/// As in two pulls, of images whose blobs are in another order.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_another_process_holds_nothing_that_it_waits_for() {
    let layers = [noise(1, 1000), noise(2, 300_000), noise(3, 10)];
    let server = serve(Content::image(&layers)).await;
    let sink = MemorySink::default();
    let (let_go, held) = std::sync::mpsc::channel();
    sink.state().elsewhere = Some((sha(&layers[0]), held));
    sink.state().let_go = Some(let_go);
    pull_into(&sink, &server).await.unwrap();
    assert_eq!(sink.state().layers.len(), 3);
    for layer in &layers {
        assert_eq!(server.count("GET", &sha(layer)), 1, "it is fetched once");
    }
}

/// Its answer for the configuration waits until a layer was asked for.
async fn slow_to_tell(content: Content, config: String) -> Server {
    let (asked, wanted) = std::sync::mpsc::channel();
    let wanted = std::sync::Mutex::new(wanted);
    Server::start(move |request| {
        if request.is("GET", &config) {
            let layer = wanted.lock().unwrap().recv_timeout(Duration::from_secs(20));
            layer.expect("a layer is asked for before the configuration is here");
        } else if request.is("GET", "/blobs/") {
            asked.send(()).unwrap();
        }
        content.answer(request)
    })
    .await
}

fn config_of(manifest: &Value) -> String {
    manifest["config"]["digest"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn layers_come_while_the_configuration_does() {
    let layers = [noise(1, 1000), noise(2, 300_000), noise(3, 10)];
    let mut content = Content::default();
    let manifest = content.add_image("amd64", &layers);
    content.tag("latest", OCI_MANIFEST, &manifest);
    let server = slow_to_tell(content, config_of(&manifest)).await;
    let sink = MemorySink::default();
    sink.state().early = true;
    let pulled = pull_into(&sink, &server).await.unwrap();
    for (layer, bytes) in pulled.layers.iter().zip(&layers) {
        assert_eq!(sink.state().layers[layer.chain_id.as_ref()], *bytes);
        assert_eq!(server.count("GET", layer.descriptor.digest().as_ref()), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_layer_that_came_early_is_none_of_an_image_that_is_refused() {
    let mut content = Content::default();
    let manifest = content.add_image("s390x", &[noise(1, 1000)]);
    content.tag("latest", OCI_MANIFEST, &manifest);
    let server = slow_to_tell(content, config_of(&manifest)).await;
    let sink = MemorySink::default();
    sink.state().early = true;
    let name = format!("{}/test/app", server.host());
    let client = client(HostConfigs::new());
    let refused = pull(&client, &name, Some("linux/amd64"), &sink).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, Error::NoMatchingPlatform { .. }), "{error}");
    assert!(sink.state().layers.is_empty() && sink.state().blobs.is_empty());
    assert!(sink.state().events.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_layers_is_an_image() {
    let server = serve(Content::image(&[])).await;
    let pulled = pull_into(&MemorySink::default(), &server).await.unwrap();
    assert!(pulled.layers.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_without_head_or_digest_header_work() {
    let content = Content::image(&[noise(1, 1000)]);
    let server = Server::start(move |request| {
        if request.method == "HEAD" {
            return Reply::new(405, "");
        }
        let mut reply = content.answer(request);
        reply.headers.retain(|(name, _)| name == "Content-Type");
        reply
    })
    .await;
    pull_into(&MemorySink::default(), &server).await.unwrap();
    assert_eq!(server.count("GET", "/manifests/"), 1);
}

fn index_of(platforms: &[(&str, &str, Option<&str>)]) -> Content {
    let mut content = Content::default();
    let mut entries = Vec::new();
    for (i, (os, architecture, variant)) in platforms.iter().enumerate() {
        let manifest = content.add_image(architecture, &[noise(i as u64, 100)]);
        let mut entry = content.tag("unused", OCI_MANIFEST, &manifest);
        entry["platform"] = json!({"os": os, "architecture": architecture});
        if let Some(variant) = variant {
            entry["platform"]["variant"] = json!(variant);
        }
        entries.push(entry);
    }
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    content.tag("latest", OCI_INDEX, &index);
    content
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_searched_for_the_platform() {
    let server = serve(index_of(&[
        ("linux", "s390x", None),
        ("linux", "386", None),
        ("linux", "arm64", Some("v8")),
        ("linux", "amd64", None),
        ("unknown", "unknown", None),
    ]))
    .await;
    let name = format!("{}/test/app", server.host());
    let client = client(HostConfigs::new());
    let sink = MemorySink::default();
    for (asked, got) in [
        ("linux/arm64", "arm64"),
        ("linux/amd64/v3", "amd64"),
        ("386", "386"),
    ] {
        let pulled = pull(&client, &name, Some(asked), &sink).await.unwrap();
        assert_eq!(pulled.platform.architecture, got);
        assert_ne!(pulled.target, pulled.manifest);
        assert_eq!(pulled.warning, None);
    }
    let pulled = pull(&client, &name, None, &sink).await.unwrap();
    assert_eq!(pulled.platform, Platform::host());

    let error = pull(&client, &name, Some("linux/riscv64"), &sink)
        .await
        .unwrap_err();
    assert!(matches!(&error, Error::NoMatchingPlatform { available, .. } if available.len() == 4));
    assert_eq!(
        error.to_string(),
        format!(
            "{name}:latest has no image for linux/riscv64, only for linux/s390x, linux/386, linux/arm64, linux/amd64; choose one with --platform"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_image_for_another_machine() {
    let other = if Platform::host().architecture == "s390x" {
        "amd64"
    } else {
        "s390x"
    };
    let mut content = Content::default();
    let manifest = content.add_image(other, &[noise(1, 10)]);
    content.tag("latest", OCI_MANIFEST, &manifest);
    let server = serve(content).await;
    let name = format!("{}/test/app", server.host());
    let client = client(HostConfigs::new());
    let sink = MemorySink::default();
    let error = pull(&client, &name, Some("linux/arm64"), &sink)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoMatchingPlatform { .. }), "{error}");
    assert!(sink.state().layers.is_empty());
    let pulled = pull(&client, &name, None, &sink).await.unwrap();
    assert!(pulled.warning.unwrap().contains(other));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_names_exactly_itself() {
    let mut content = Content::image(&[noise(1, 1000)]);
    let manifest = content.add_image("amd64", &[noise(2, 1000)]);
    let descriptor = content.tag("other", OCI_MANIFEST, &manifest);
    let server = serve(content).await;
    let digest = descriptor["digest"].as_str().unwrap();
    let client = client(HostConfigs::new());
    let sink = MemorySink::default();
    for name in [
        format!("test/app@{digest}"),
        format!("test/app:latest@{digest}"),
    ] {
        let name = format!("{}/{name}", server.host());
        let pulled = pull(&client, &name, None, &sink).await.unwrap();
        assert_eq!(pulled.target.digest().as_ref(), digest);
    }

    let lying = Server::start({
        let content = Content::image(&[noise(1, 1000)]);
        move |request| {
            let mut request = request.clone();
            request.target = request
                .target
                .replace("manifests/sha256:", "manifests/latest?");
            content.answer(&request)
        }
    })
    .await;
    let name = format!("{}/test/app@{digest}", lying.host());
    let error = pull(&client, &name, None, &sink).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() {
    let server = serve(Content::image(&[])).await;
    let reference = parse_reference(&format!("{}/test/app:nope", server.host())).unwrap();
    let error = client(HostConfigs::new())
        .resolve(&reference)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }));
    assert_eq!(
        error.to_string(),
        format!("{reference} not found (manifest unknown)")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_schema_2_is_an_image() {
    let mut manifest = good_manifest();
    manifest["mediaType"] = json!(DOCKER_MANIFEST);
    manifest["config"]["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
    manifest["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.diff.tar");
    pull_manifest(DOCKER_MANIFEST, &manifest).await.unwrap();
    manifest["config"]["mediaType"] = json!("application/octet-stream");
    pull_manifest(DOCKER_MANIFEST, &manifest).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_1_is_refused_clearly() {
    let manifest = json!({"schemaVersion": 1, "name": "a", "fsLayers": [], "history": []});
    for media_type in [
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/json",
    ] {
        let text = refusal(media_type, &manifest).await;
        assert!(text.contains("schema 1"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_manifests_are_refused() {
    let mut both = good_manifest();
    both["manifests"] = json!([]);
    assert!(refusal(OCI_MANIFEST, &both).await.contains("index"));
    both["mediaType"] = json!(OCI_INDEX);
    assert!(refusal(OCI_INDEX, &both).await.contains("image manifest"));
    assert!(refusal(OCI_MANIFEST, &both).await.contains("calls itself"));
    let text = refusal(DOCKER_MANIFEST, &good_manifest()).await;
    assert!(text.contains("announced as"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_content_is_refused_by_name() {
    let mut chart = good_manifest();
    chart["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
    assert!(refusal(OCI_MANIFEST, &chart).await.contains("helm"));

    let mut odd = good_manifest();
    odd["layers"][0]["mediaType"] = json!("application/x-odd");
    assert!(
        refusal(OCI_MANIFEST, &odd)
            .await
            .contains("application/x-odd")
    );
    odd["layers"][0]["mediaType"] =
        json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    assert!(
        refusal(OCI_MANIFEST, &odd)
            .await
            .contains("may not distribute")
    );

    let mut big = good_manifest();
    big["config"]["size"] = json!(9 << 20);
    assert!(refusal(OCI_MANIFEST, &big).await.contains("configuration"));

    let mut extra = good_manifest();
    let twice = extra["layers"][0].clone();
    extra["layers"].as_array_mut().unwrap().push(twice);
    assert!(refusal(OCI_MANIFEST, &extra).await.contains("2 layers"));

    assert!(
        refusal(OCI_MANIFEST, &json!([1]))
            .await
            .contains("malformed")
    );
    let unknown = json!({"schemaVersion": 2, "mediaType": "application/x-what"});
    assert!(
        refusal("application/x-what", &unknown)
            .await
            .contains("application/x-what")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_without_a_type_are_known_by_their_fields() {
    let mut manifest = good_manifest();
    manifest.as_object_mut().unwrap().remove("mediaType");
    let pulled = pull_manifest("application/json", &manifest).await.unwrap();
    assert_eq!(pulled.target.media_type().to_string(), OCI_MANIFEST);
    pull_manifest(&format!("{OCI_MANIFEST}; charset=utf-8"), &manifest)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_lies_about_its_size_or_digest_is_refused() {
    for (field, value) in [("size", json!(5)), ("digest", json!(sha(b"layer")))] {
        let mut content = Content::default();
        let mut manifest = content.add_image("amd64", &[b"layer".to_vec()]);
        content.add_blob(OCI_CONFIG, b"{}".to_vec());
        content.add_blob(OCI_LAYER, b"layer".to_vec());
        manifest["config"][field] = value;
        content.tag("latest", OCI_MANIFEST, &manifest);
        let error = pull_into(&MemorySink::default(), &serve(content).await)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::SizeMismatch { .. }), "{error}");
    }

    let good = Content::image(&[]);
    let server = Server::start(move |request| {
        let mut reply = good.answer(request);
        if request.target.contains("/blobs/") {
            reply.body[0] = b' ';
        }
        reply
    })
    .await;
    let error = pull_into(&MemorySink::default(), &server)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_manifests_are_not_read() {
    let server = Server::start(|_| {
        Reply::new(200, vec![b' '; 5 << 20]).header("Content-Type", OCI_MANIFEST)
    })
    .await;
    let error = pull_into(&MemorySink::default(), &server)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_claims_to_be_huge_is_not_asked_for() {
    let server = Server::start(|_| Reply::new(200, "{}")).await;
    let reference = parse_reference(&format!("{}/test/app", server.host())).unwrap();
    let huge = |size| {
        let digest = Digest::try_from(sha(b"{}")).unwrap();
        Descriptor::new(MediaType::ImageConfig, size, digest)
    };
    let client = client(HostConfigs::new());
    for size in [9 << 20, u64::MAX] {
        let blob = client.fetch_blob(&reference, &huge(size)).await;
        let document = client.fetch_document(&reference, &huge(size)).await;
        for error in [blob.unwrap_err(), document.unwrap_err()] {
            assert!(
                matches!(error, Error::UnsupportedManifest { .. }),
                "{error}"
            );
        }
    }
    assert!(server.seen().is_empty());
}
