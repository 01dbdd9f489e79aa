//! `build --cache-to` and `--cache-from`: results of one machine used on another.

use std::fs;

use rctr_tests::{Context, Env, Output, OwnRegistry, entries, parsed, text, tool};

const DOCKERFILE: &str = "FROM busybox AS made\nRUN cat /proc/sys/kernel/random/uuid > /made\nRUN mkdir /more && cat /proc/sys/kernel/random/uuid > /more/file\n\
     FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /when\nCOPY file /file\nCOPY --link --from=made /more /more\n";

/// A context that makes something else each time it is really built.
fn context(env: &Env) -> Context {
    env.context(&[("Dockerfile", DOCKERFILE), ("file", "content")])
}

fn build(env: &Env, context: &Context, more: &[&str]) -> Output {
    env.build(
        &[&["--progress", "plain", "-t", "built"], more].concat(),
        context,
    )
}

fn id(env: &Env) -> String {
    env.inspect("built")["Id"].to_string()
}

#[test]
fn a_directory_brings_all_steps_to_another_machine() {
    let (here, there) = (Env::new(), Env::new());
    let dir = context(&here);
    let cache = text(&here.path("cache"));
    for (compression, kind) in [("gzip", "tar+gzip"), ("zstd", "tar+zstd")] {
        let to =
            format!("type=local,dest={cache},mode=max,tag={compression},compression={compression}");
        build(&here, &dir, &["--cache-to", &to])
            .ok()
            .stderr_has("exporting cache to client directory")
            .stderr_has("writing cache manifest sha256:");
        let index = parsed(&fs::read(format!("{cache}/index.json")).expect("an index"));
        let listed = index["manifests"].as_array().expect("a list");
        let digest = listed.last().expect("one")["digest"]
            .as_str()
            .expect("a digest");
        let hex = digest.trim_start_matches("sha256:");
        let manifest =
            fs::read_to_string(format!("{cache}/blobs/sha256/{hex}")).expect("a manifest");
        assert!(manifest.contains(kind), "{manifest}");
        assert!(
            manifest.contains("application/vnd.buildkit.cacheconfig.v0"),
            "{manifest}"
        );
    }
    for tag in ["gzip", "zstd"] {
        let there = Env::new();
        let from = format!("type=local,src={cache},tag={tag}");
        let output = build(&there, &dir, &["--cache-from", &from]);
        assert_eq!(output.ok().cached().len(), 5, "{}", output.stderr());
        assert_eq!(id(&there), id(&here));
        there
            .run_alone(&["built", "cat", "/file"])
            .ok()
            .stdout_is("content");
    }
    // Only what the image has: nobody needs the other stage.
    let least = format!("type=local,dest={cache},tag=least");
    build(&here, &dir, &["--cache-to", &least]).ok();
    let from = format!("type=local,src={cache},tag=least");
    let output = build(&there, &dir, &["--cache-from", &from]);
    assert_eq!(output.ok().cached().len(), 5, "{}", output.stderr());
    assert_eq!(id(&there), id(&here));
}

#[test]
fn a_registry_keeps_a_cache_beside_the_image_or_in_it() {
    let here = Env::new();
    let registry = OwnRegistry::start(&here.path("registry"));
    let dir = context(&here);
    let by_itself = format!("{}/me/cache:v1", registry.host());
    let image = format!("{}/me/app:v1", registry.host());
    let to = format!("type=registry,ref={by_itself},mode=max");
    build(&here, &dir, &["--cache-to", &to])
        .ok()
        .stderr_has("exporting cache to registry");
    let there = Env::new();
    let output = build(&there, &dir, &["--cache-from", &by_itself]);
    assert_eq!(output.ok().cached().len(), 5, "{}", output.stderr());
    assert_eq!(id(&there), id(&here));

    build(&here, &dir, &["--cache-to", "type=inline", "-t", &image]).ok();
    here.rctr(["push", "-q", &image]).ok();
    let there = Env::new();
    let words = [
        "--cache-from",
        &image,
        "--build-arg",
        "BUILDKIT_INLINE_CACHE=1",
    ];
    let output = build(&there, &dir, &words);
    // The stage that is not in the image is not needed.
    assert_eq!(output.ok().cached().len(), 5, "{}", output.stderr());
    let config = &there.inspect("built");
    assert_eq!(
        config["RootFS"]["Layers"][1],
        here.inspect("built")["RootFS"]["Layers"][1]
    );

    // A single stage comes back whole, with the same id.
    dir.write(
        "Dockerfile",
        "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /when\nWORKDIR /w\nCOPY file .\n",
    );
    build(&here, &dir, &["--cache-to", "type=inline", "-t", &image]).ok();
    here.rctr(["push", "-q", &image]).ok();
    let there = Env::new();
    let output = build(&there, &dir, &words);
    assert_eq!(output.ok().cached().len(), 3, "{}", output.stderr());
    assert_eq!(id(&there), id(&here));
}

#[test]
fn a_cache_that_is_gone_or_damaged_is_a_miss() {
    let (here, there) = (Env::new(), Env::new());
    let dir = context(&here);
    let cache = here.path("cache");
    let to = format!("type=local,dest={},mode=max", cache.display());
    build(&here, &dir, &["--cache-to", &to]).ok();
    let blobs = cache.join("blobs/sha256");
    for name in entries(&blobs) {
        let path = blobs.join(&name);
        let bytes = fs::read(&path).expect("a blob");
        // The layers; the size stays.
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let middle = bytes.len() / 2;
            let mut bytes = bytes;
            bytes[middle] ^= 0xff;
            fs::write(&path, bytes).expect("written");
        }
    }
    let from = format!("type=local,src={}", cache.display());
    let nowhere = format!("type=local,src={}", here.path("nothing").display());
    let words = [
        "--cache-from",
        &nowhere,
        "--cache-from",
        &from,
        "--cache-from",
        "127.0.0.1:1/a",
    ];
    let output = build(&there, &dir, &words);
    assert_eq!(output.ok().cached().len(), 0, "{}", output.stderr());
    output
        .stderr_has("cannot be used")
        .stderr_has("importing cache manifest from 127.0.0.1:1/a");
    there
        .run_alone(&["built", "cat", "/file"])
        .ok()
        .stdout_is("content");

    // A cache that cannot be kept fails the build, unless that does not matter.
    let refused = "type=registry,ref=127.0.0.1:1/a";
    build(&here, &dir, &["--cache-to", refused]).exits(1);
    build(
        &here,
        &dir,
        &["--cache-to", &format!("{refused},ignore-error=true")],
    )
    .ok();
    for (flag, value, part) in [
        ("--cache-to", "type=gha", "not supported"),
        ("--cache-from", "type=s3,bucket=x", "not supported"),
        ("--cache-to", "type=local", "needs dest"),
    ] {
        build(&here, &dir, &[flag, value])
            .exits(125)
            .stderr_has(part);
    }
}

#[test]
fn cache_mounts_are_listed_exported_and_seeded() {
    let (here, there) = (Env::new(), Env::new());
    let dir = here.dockerfile(
        "FROM busybox\nRUN --mount=type=cache,id=numbers,target=/c echo 1 >> /c/file; wc -l < /c/file > /count\n",
    );
    build(&here, &dir, &[]).ok();
    here.rctr(["builder", "cache-mount", "ls"])
        .ok()
        .stdout_has("numbers");
    let archive = text(&here.path("numbers.tar"));
    here.rctr([
        "builder",
        "cache-mount",
        "export",
        "-o",
        &archive,
        "numbers",
    ])
    .ok();
    there
        .rctr(["builder", "cache-mount", "import", "numbers", &archive])
        .ok();
    build(&there, &dir, &[]).ok();
    there
        .run_alone(&["built", "cat", "/count"])
        .ok()
        .stdout_is("2");
    there
        .rctr(["builder", "cache-mount", "export", "letters"])
        .exits(1)
        .stderr_has("no cache mount has the id \"letters\"");
    let bad = text(&dir.file("Dockerfile"));
    there
        .rctr(["builder", "cache-mount", "import", "numbers", &bad])
        .exits(1)
        .stderr_has("no tar archive");
}

#[test]
fn a_private_key_is_an_agent_for_the_time_of_the_build() {
    let env = Env::new();
    let dir = env.dockerfile(
        "FROM busybox\nRUN --mount=type=ssh test -S \"$SSH_AUTH_SOCK\"\nRUN ! test -e /run/buildkit\n",
    );
    let key = text(&env.path("key"));
    tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key]);
    let ssh = format!("default={key}");
    build(&env, &dir, &["--ssh", &ssh]).ok();
    let no_key = dir.file("Dockerfile");
    build(
        &env,
        &dir,
        &["--ssh", &format!("default={}", no_key.display())],
    )
    .exits(125)
    .stderr_has("the key cannot be used");
}

#[test]
fn an_agent_answers_steps_of_any_user() {
    let env = Env::new();
    let dir = env.dockerfile(
        "FROM busybox\nCOPY host /h\nUSER 1000\n\
         RUN --mount=type=ssh,uid=1000,mode=0660 stat -c '%a %u %F' $SSH_AUTH_SOCK \\\n\
         \x20   && /h/ld.so --library-path /h /h/ssh-add -l > /tmp/keys\n\
         RUN --mount=type=ssh ! /h/ld.so --library-path /h /h/ssh-add -l\n",
    );
    dir.copy_program("host", "/usr/bin/ssh-add");
    let key = text(&env.path("key"));
    let generate = ["-q", "-t", "ed25519", "-N", "", "-C", "mine", "-f", &key];
    tool("ssh-keygen", &generate);
    let ssh = format!("default={key}");
    build(&env, &dir, &["--ssh", &ssh])
        .ok()
        .stderr_has("660 1000 socket");
    env.run_alone(&["built", "cat", "/tmp/keys"])
        .ok()
        .stdout_has("mine (ED25519)");
}
