//! Layers whose files can be had one by one.

use std::fs;
use std::path::Path;

use rctr_tests::{Env, OwnRegistry, parsed, skopeo_inspect, skopeo_raw, text, tool, workspace};
use serde_json::{Value, json};

/// A file of three chunks, small ones, links and a fifo.
const VARIED: &str = "FROM busybox\nRUN mkdir /d && head -c 5000000 /dev/zero > /d/large && echo small > /d/small\n\
    RUN ln -s small /d/link && ln /d/small /d/hard && mkfifo /d/fifo && touch /d/empty\n\
    CMD [\"sh\", \"-c\", \"cat /d/link; wc -c < /d/large\"]\n";
const SAYS: &str = "small\n5000000";

/// Checks a layout with a program of its own: the files and chunks of each layer.
fn estargz(layout: &Path) -> Vec<String> {
    let script = text(&workspace().join("tests/estargz.py"));
    let out = tool("python3", &[&script, &text(layout)]);
    let out = String::from_utf8(out).expect("text");
    out.lines().map(str::to_owned).collect()
}

#[test]
fn files_of_estargz_layers_can_be_had_one_by_one() {
    let env = Env::new();
    let registry = OwnRegistry::start(&env.path("registry"));
    let name = format!("{}/me/lazy:1", registry.host());
    let context = env.dockerfile(VARIED);
    let output = format!(
        "type=registry,name={name},compression=estargz,force-compression=true,compression-level=9"
    );
    env.build(&["-q", "-o", &output], &context).ok();
    let layout = env.path("pulled");
    let copied = format!("oci:{}:1", text(&layout));
    let pushed = format!("docker://{name}");
    tool(
        "skopeo",
        &["copy", "-q", "--src-tls-verify=false", &pushed, &copied],
    );
    let layers = estargz(&layout);
    assert_eq!(layers.len(), 3);
    assert_eq!(layers[1], "files=4 chunks=3");

    // What was pushed is what is here, and runs here and elsewhere.
    env.run_alone(&[&name]).ok().stdout_is(SAYS);
    let digest = skopeo_inspect(&pushed)["Digest"].clone();
    let here = env.inspect(&name)["RepoDigests"].clone();
    assert_eq!(
        here[0],
        json!(format!(
            "{}@{}",
            name.trim_end_matches(":1"),
            digest.as_str().expect("one")
        ))
    );
    let other = Env::new();
    other.rctr(["pull", "-q", &name]).ok();
    other.run_alone(&[&name]).ok().stdout_is(SAYS);
    other.rctr(["push", "-q", &name]).ok();
    assert_eq!(skopeo_inspect(&pushed)["Digest"], digest);

    // An image made upon it keeps its layers as they are, with what its manifest says of them.
    let upon = other.dockerfile(&format!("FROM {name}\nRUN echo more > /more\n"));
    let above = format!("{}/me/above:1", registry.host());
    other.build(&["-q", "-t", &above, "--push"], &upon).ok();
    let (below, above) = (
        parsed(&skopeo_raw(&pushed)),
        parsed(&skopeo_raw(&format!("docker://{above}"))),
    );
    let layers = |of: &Value| of["layers"].as_array().expect("layers").clone();
    assert_eq!(layers(&above)[..3], layers(&below)[..]);
    assert!(layers(&above)[3]["annotations"].is_null());

    // Packed otherwise, they are not said to be eStargz any more.
    other
        .rctr(["push", "-q", "--compression", "zstd", &name])
        .ok();
    for layer in layers(&parsed(&skopeo_raw(&pushed))) {
        assert!(
            layer["annotations"].is_null()
                && layer["mediaType"]
                    .as_str()
                    .is_some_and(|t| t.ends_with("zstd"))
        );
    }
    other
        .rctr(["push", "--compression", "estargz", &name])
        .refused(125, "build it with --compression estargz");
}

#[test]
fn archives_have_estargz_layers_too() {
    let env = Env::new();
    let context = env.dockerfile(VARIED);
    let (oci, docker, layout) = (env.path("oci.tar"), env.path("docker.tar"), env.path("dir"));
    let forced = "force-compression=true";
    let outputs = [
        format!("type=oci,dest={},{forced}", text(&oci)),
        format!("type=docker,dest={},{forced}", text(&docker)),
        format!("type=oci,tar=false,dest={},{forced}", text(&layout)),
    ];
    let mut flags = vec!["-q", "-t", "me/lazy:1", "--compression", "estargz"];
    for output in &outputs {
        flags.extend(["-o", output]);
    }
    let id = env.build(&flags, &context);
    assert_eq!(estargz(&layout).len(), 3);
    // The configuration is another one than that of the plain image: its layers hold more.
    let plain = env.build(&["-q"], &context);
    assert_ne!(plain.ok().stdout(), id.ok().stdout());
    for archive in [&oci, &docker] {
        let other = Env::new();
        other.rctr(["load", "-q", "-i", &text(archive)]).ok();
        other.run_alone(&["me/lazy:1"]).ok().stdout_is(SAYS);
        let id = id.stdout();
        assert_eq!(other.inspect("me/lazy:1")["Id"], id.trim());
        let unpacked = env.path("unpacked");
        let source = format!("oci-archive:{}", text(archive));
        tool(
            "skopeo",
            &["copy", "-q", &source, &format!("oci:{}:1", text(&unpacked))],
        );
        assert_eq!(estargz(&unpacked).len(), 3);
        fs::remove_dir_all(&unpacked).expect("a directory");
    }
    env.build(
        &["--cache-to", "type=local,dest=x,compression=estargz"],
        &context,
    )
    .refused(125, "a cache cannot have compression=estargz");
}
