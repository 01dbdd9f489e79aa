//! `save` and `load`: archives as Docker writes them, read by other tools, and archives of others, also hostile ones.

use std::fs;
use std::path::{Path, PathBuf};

use rctr_tests::{
    Env, Mounted, OwnRegistry, Terminal, entries, installed, parsed, skopeo_inspect, skopeo_raw,
    text, tool,
};
use serde_json::{Value, json};

/// One member of an archive.
fn member(archive: &Path, name: &str) -> Value {
    parsed(&tool("tar", &["-xOf", &text(archive), name]))
}

/// An image built here, with a file to know it by.
fn build(env: &Env, name: &str, word: &str) {
    let file = format!("FROM busybox\nRUN echo {word} > /word\nCMD [\"cat\", \"/word\"]\n");
    env.build_image(name, &file);
}

/// What `load` must leave of an archive that it refuses: nothing.
fn assert_empty(env: &Env) {
    env.rctr(["images", "-aq"]).ok().stdout_is("");
    assert_eq!(entries(&env.root().join("tmp")), [""; 0]);
}

#[test]
fn an_image_goes_into_an_archive_and_comes_out_as_it_was() {
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    build(&env, "me/app:1", "one");
    env.rctr(["tag", "me/app:1", "me/app:2"]).ok();
    let file = env.path("images.tar");
    env.rctr(["save", "-o", &text(&file), "me/app", "busybox:latest"])
        .ok()
        .stdout_is("");
    let again = env.rctr(["save", "me/app", "busybox:latest"]);
    assert_eq!(again.ok().stdout_bytes(), fs::read(&file).expect("a file"));

    let listed = String::from_utf8(tool("tar", &["-tf", &text(&file)])).expect("names");
    for name in [
        "blobs/sha256/",
        "index.json",
        "manifest.json",
        "oci-layout",
        "repositories",
    ] {
        assert!(
            listed.lines().any(|line| line == name),
            "{name} in\n{listed}"
        );
    }
    let manifest = member(&file, "manifest.json");
    assert_eq!(manifest[0]["RepoTags"], json!(["me/app:1", "me/app:2"]));
    assert_eq!(manifest[1]["RepoTags"], json!(["busybox:latest"]));
    let index = member(&file, "index.json");
    let names = index["manifests"].as_array().expect("entries").iter();
    let names: Vec<_> = names
        .map(|entry| entry["annotations"]["io.containerd.image.name"].clone())
        .collect();
    assert_eq!(
        names,
        [
            "docker.io/me/app:1",
            "docker.io/me/app:2",
            "docker.io/library/busybox:latest"
        ]
    );

    let other = Env::new();
    other
        .rctr(["load", "-i", &text(&file)])
        .ok()
        .stdout_is("Loaded image: me/app:1\nLoaded image: me/app:2\nLoaded image: busybox:latest");
    other.run_alone(&["me/app:2"]).ok().stdout_is("one");
    for name in ["me/app:1", "busybox"] {
        assert_eq!(other.inspect(name)["Id"], env.inspect(name)["Id"], "{name}");
        assert_eq!(other.inspect(name)["RootFS"], env.inspect(name)["RootFS"]);
    }
    let saved = other.rctr(["save", "busybox:latest"]);
    assert_eq!(
        saved.ok().stdout_bytes(),
        env.rctr(["save", "busybox:latest"]).stdout_bytes(),
        "once more round"
    );
}

#[test]
fn archives_come_packed_and_through_pipes() {
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let file = env.path("b.tar");
    env.rctr(["save", "-o", &text(&file), "busybox"]).ok();
    for (program, end) in [
        ("gzip", "gz"),
        ("zstd", "zst"),
        ("xz", "xz"),
        ("bzip2", "bz2"),
    ] {
        let arguments: &[&str] = match program {
            "zstd" => &["-q", "-k"],
            _ => &["-k"],
        };
        tool(program, &[arguments, &[&text(&file)]].concat());
        let packed = env.path(&format!("b.tar.{end}"));
        let other = Env::new();
        other
            .rctr(["load", "-q", "-i", &text(&packed)])
            .ok()
            .stdout_is("Loaded image: busybox:latest");
        assert_eq!(entries(&other.root().join("tmp")), [""; 0]);
        let piped = Env::new();
        piped
            .rctr_with_input(["load"], &fs::read(&packed).expect("a file"))
            .ok()
            .stdout_is("Loaded image: busybox:latest");
        piped
            .run_alone(&["busybox", "echo", end])
            .ok()
            .stdout_is(end);
    }
}

#[test]
fn by_id_there_is_no_name_and_a_name_can_move() {
    let env = Env::new();
    build(&env, "app", "one");
    let id = env.inspect("app")["Id"].as_str().expect("an id").to_owned();
    let (by_id, by_name) = (env.path("id.tar"), env.path("name.tar"));
    env.rctr(["save", "-o", &text(&by_id), &id]).ok();
    assert_eq!(member(&by_id, "manifest.json")[0]["RepoTags"], Value::Null);
    env.rctr(["save", "-o", &text(&by_name), "app"]).ok();

    let other = Env::new();
    build(&other, "app", "two");
    let before = other.inspect("app")["Id"]
        .as_str()
        .expect("an id")
        .to_owned();
    other
        .rctr(["load", "-i", &text(&by_id)])
        .ok()
        .stdout_is(&format!("Loaded image ID: {id}"));
    other.rctr(["load", "-i", &text(&by_name)]).ok().stdout_is(&format!(
        "The image app:latest already exists, renaming the old one with ID {before} to empty string\n\
         Loaded image: app:latest"
    ));
    assert_eq!(other.inspect("app")["Id"], id.as_str());
    other.inspect(&before);
}

#[test]
fn layouts_and_platforms() {
    let env = Env::new();
    let layout = env.path("layout");
    let place = format!("oci:{}:all", text(&layout));
    env.rctr(["copy", "-q", "--all", "docker://multiarch", &place])
        .ok();
    let loaded = |flags: &[&str]| {
        let other = Env::new();
        let path = text(&layout);
        let out = other.rctr([&["load", "-i", &path], flags].concat());
        let id = out.ok().stdout().replace("Loaded image ID: ", "");
        other.inspect(&id)["Architecture"].clone()
    };
    assert_eq!(loaded(&[]), "amd64");
    assert_eq!(loaded(&["--platform", "linux/arm64"]), "arm64");
    let other = Env::new();
    other
        .rctr(["load", "-i", &text(&layout), "--platform", "linux/riscv64"])
        .refused(1, "has no image for linux/riscv64, only for");
    assert_empty(&other);

    env.rctr(["pull", "-q", "busybox"]).ok();
    env.rctr(["save", "--platform", "linux/s390x", "busybox"])
        .refused(1, "does not provide the specified platform (linux/s390x)");
    let file = env.path("amd64.tar");
    env.rctr([
        "save",
        "--platform",
        "linux/amd64",
        "-o",
        &text(&file),
        "busybox",
    ])
    .ok();
    other
        .rctr(["load", "-i", &text(&file), "--platform", "linux/arm64"])
        .refused(1, "the image is for linux/amd64, not for linux/arm64");
    other.rctr(["images", "-aq"]).ok().stdout_is("");
}

#[test]
fn what_cannot_be_saved_leaves_no_file() {
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let file = env.path("no.tar");
    env.rctr(["save", "-o", &text(&file), "busybox", "nosuch"])
        .refused(1, "No such image: nosuch");
    env.rctr(["save"])
        .exits(1)
        .stderr_has("requires at least 1 argument");
    env.rctr(["save", "-o", &text(&env.path("no/dir/x.tar")), "busybox"])
        .refused(1, "No such file or directory");
    env.rctr(["save", "-o", &text(&env.home()), "busybox"])
        .refused(1, "directory");
    let left = entries(file.parent().expect("a directory"));
    assert!(!left.iter().any(|name| name.contains("no")), "{left:?}");
    env.rctr(["save", "-o", "/dev/null", "busybox"]).ok();
    let terminal = Terminal::start(env.command(["save", "busybox"]), 24, 80);
    terminal.wait_shown("cowardly refusing to save to a terminal");
    assert_eq!(terminal.finish(), 1);
    let terminal = Terminal::start(env.command(["load"]), 24, 80);
    terminal.wait_shown("requested load from stdin, but stdin is empty");
    assert_eq!(terminal.finish(), 1);
}

/// An archive of busybox taken apart in a directory, changed, and put together again.
fn changed(env: &Env, name: &str, change: impl FnOnce(&Path)) -> PathBuf {
    let whole = env.path("whole.tar");
    if !whole.exists() {
        env.rctr(["pull", "-q", "busybox"]).ok();
        env.rctr(["save", "-o", &text(&whole), "busybox"]).ok();
        env.rctr(["rmi", "-f", "busybox"]).ok();
    }
    let dir = env.path(name);
    fs::create_dir(&dir).expect("a directory");
    tool("tar", &["-xf", &text(&whole), "-C", &text(&dir)]);
    change(&dir);
    let file = env.path(&format!("{name}.tar"));
    tool("tar", &["-cf", &text(&file), "-C", &text(&dir), "."]);
    file
}

/// A document in a taken-apart archive.
fn document(path: &Path) -> Value {
    parsed(&fs::read(path).expect("a document"))
}

fn only_docker(dir: &Path) -> Value {
    fs::remove_file(dir.join("index.json")).expect("removed");
    document(&dir.join("manifest.json"))
}

#[test]
fn hostile_archives_are_refused() {
    let env = Env::new();
    let layer = |dir: &Path| {
        let manifest = document(&dir.join("manifest.json"));
        dir.join(manifest[0]["Layers"][0].as_str().expect("a path"))
    };
    let spoil = |path: &Path| {
        let mut bytes = fs::read(path).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        fs::write(path, bytes).expect("written");
    };
    let refused = |name: &str, change: &dyn Fn(&Path), word: &str| {
        let file = changed(&env, name, change);
        env.rctr(["load", "-i", &text(&file)]).refused(1, word);
        env.rctr(["images", "-aq"]).ok().stdout_is("");
    };
    refused("layer", &|dir| spoil(&layer(dir)), "sha256:");
    refused(
        "manifest",
        &|dir| {
            let index = document(&dir.join("index.json"));
            let digest = index["manifests"][0]["digest"].as_str().expect("a digest");
            spoil(&dir.join("blobs").join(digest.replace(':', "/")));
        },
        "is damaged",
    );
    refused(
        "missing",
        &|dir| fs::remove_file(layer(dir)).expect("removed"),
        "lacks sha256:",
    );
    refused(
        "symlink",
        &|dir| {
            let mut manifest = only_docker(dir);
            std::os::unix::fs::symlink("/etc/passwd", dir.join("config")).expect("a link");
            manifest[0]["Config"] = json!("config");
            fs::write(dir.join("manifest.json"), manifest.to_string()).expect("written");
        },
        "lacks config",
    );
    refused(
        "escape",
        &|dir| {
            let mut manifest = only_docker(dir);
            manifest[0]["Layers"] = json!(["../../../../etc/passwd"]);
            fs::write(dir.join("manifest.json"), manifest.to_string()).expect("written");
        },
        "lacks ../../../../etc/passwd",
    );
    refused(
        "other-layer",
        &|dir| {
            only_docker(dir);
            let path = layer(dir);
            tool("tar", &["-cf", &text(&path), "-C", "/etc", "hostname"]);
        },
        "sha256:",
    );
    refused(
        "garbage",
        &|dir| {
            only_docker(dir);
            fs::write(dir.join("manifest.json"), "[{]").expect("written");
        },
        "manifest.json is malformed",
    );
    refused(
        "nothing",
        &|dir| {
            only_docker(dir);
            fs::remove_file(dir.join("manifest.json")).expect("removed");
        },
        "has no images",
    );
    env.rctr(["load"]).exits(1).one_error("standard input");
    env.rctr_with_input(["load"], &[7; 5000])
        .refused(1, "is no archive of images");
    env.rctr(["load", "-i", "/no/such"]).refused(1, "/no/such");
    let whole = fs::read(env.path("whole.tar")).expect("the archive");
    env.rctr_with_input(["load"], &whole[..whole.len() / 2])
        .exits(1)
        .one_error("standard input");
    env.rctr(["internal", "gc"]).ok();
    assert_empty(&env);
}

#[test]
fn what_unpacks_to_more_than_the_disk_holds_is_given_up() {
    let env = Env::new();
    let bomb = env.path("bomb.tar.gz");
    let make = format!(
        "truncate -s 400M {0}.big && tar -cPf - {0}.big | gzip -1 > {0}; rm {0}.big",
        text(&bomb)
    );
    tool("sh", &["-c", &make]);
    assert!(fs::metadata(&bomb).expect("an archive").len() < 40 << 20);
    let _disk = Mounted::tmpfs(&env.root(), "60m");
    env.rctr(["load", "-i", &text(&bomb)])
        .refused(1, "o space left");
    assert_empty(&env);
    env.rctr(["pull", "-q", "busybox"]).ok();
    env.rctr(["rmi", "busybox"]).ok();
}

#[test]
fn the_archives_of_other_tools_are_loaded() {
    let env = Env::new();
    env.rctr(["pull", "-q", "busybox"]).ok();
    let file = env.path("skopeo.tar");
    let saved = env.path("saved.tar");
    env.rctr(["save", "-o", &text(&saved), "busybox"]).ok();
    let from = format!("docker-archive:{}", text(&saved));
    let to = format!("docker-archive:{}:me/theirs:1", text(&file));
    tool("skopeo", &["copy", "-q", &from, &to]);
    let other = Env::new();
    other
        .rctr(["load", "-i", &text(&file)])
        .ok()
        .stdout_is("Loaded image: me/theirs:1");
    other
        .run_alone(&["me/theirs:1", "echo", "runs"])
        .ok()
        .stdout_is("runs");

    // Its layers are plain; registries get packed ones, and the same ones again.
    let own = OwnRegistry::start(&other.path("registry"));
    let name = format!("{}/me/theirs:1", own.host());
    other.rctr(["tag", "me/theirs:1", &name]).ok();
    let pushed = other.rctr(["push", &name]).ok().lines();
    let place = format!("docker://{name}");
    let raw = parsed(&skopeo_raw(&place));
    let kind = raw["layers"][0]["mediaType"].as_str().expect("a type");
    assert!(kind.ends_with("gzip"), "{kind}");
    assert_eq!(
        other.rctr(["push", &name]).ok().lines().last(),
        pushed.last()
    );

    // What older ones of Docker wrote: a directory for each layer, those that are alike as links.
    let old = changed(&env, "old", |dir| {
        let mut manifest = only_docker(dir);
        let layer = manifest[0]["Layers"][0]
            .as_str()
            .expect("a path")
            .to_owned();
        let config = manifest[0]["Config"].as_str().expect("a path").to_owned();
        let blobs: Vec<u8> = tool(
            "sh",
            &["-c", &format!("zcat -f {}", text(&dir.join(&layer)))],
        );
        for name in ["aaa", "bbb"] {
            fs::create_dir(dir.join(name)).expect("a directory");
        }
        fs::write(dir.join("aaa/layer.tar"), blobs).expect("a layer");
        std::os::unix::fs::symlink("../aaa/layer.tar", dir.join("bbb/layer.tar")).expect("a link");
        fs::rename(dir.join(config), dir.join("config.json")).expect("renamed");
        manifest[0] =
            json!({"Config": "config.json", "RepoTags": ["old:1"], "Layers": ["bbb/layer.tar"]});
        fs::write(dir.join("manifest.json"), manifest.to_string()).expect("written");
        fs::remove_dir_all(dir.join("blobs")).expect("removed");
    });
    other
        .rctr(["load", "-i", &text(&old)])
        .ok()
        .stdout_is("Loaded image: old:1");
    other
        .run_alone(&["old:1", "echo", "old"])
        .ok()
        .stdout_is("old");
}

#[test]
fn other_tools_accept_what_is_saved() {
    let env = Env::new();
    build(&env, "me/app:1", "shipped");
    let file = env.path("app.tar");
    env.rctr(["save", "-o", &text(&file), "me/app:1"]).ok();
    for place in ["docker-archive", "oci-archive"] {
        let place = format!("{place}:{}", text(&file));
        let seen = skopeo_inspect(&place);
        assert_eq!(seen["Architecture"], "amd64", "{place}");
        assert_eq!(seen["Layers"].as_array().map(Vec::len), Some(2), "{place}");
    }
    if installed("umoci") {
        let layout = env.path("layout");
        fs::create_dir(&layout).expect("a directory");
        tool("tar", &["-xf", &text(&file), "-C", &text(&layout)]);
        let image = format!("{}:1", text(&layout));
        let bundle = text(&env.path("bundle"));
        tool("umoci", &["unpack", "--image", &image, &bundle]);
        let word = fs::read_to_string(env.path("bundle/rootfs/word"));
        assert_eq!(word.expect("a file"), "shipped\n");
    }
}
