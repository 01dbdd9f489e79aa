//! `images`, `rmi` and what is freed by them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rctr_tests::{Env, entries};

/// Bytes that files below `dir` take on disk, hard links once.
fn disk_use(dir: &Path) -> u64 {
    let mut seen = std::collections::HashSet::new();
    let mut todo = vec![dir.to_owned()];
    let mut bytes = 0;
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let meta = entry.metadata().expect("an entry that was just listed");
            if meta.is_dir() {
                todo.push(entry.path());
            } else if seen.insert(meta.ino()) {
                bytes += meta.blocks() * 512;
            }
        }
    }
    bytes
}

#[test]
fn images_lists_names_ids_and_sizes() {
    let env = Env::new();
    env.rctr(["images"])
        .ok()
        .stdout_is("REPOSITORY   TAG       IMAGE ID   CREATED   SIZE");
    for name in ["busybox:1.35", "busybox", "healthz"] {
        env.rctr(["pull", "--quiet", name]).ok();
    }
    let listed = env.rctr(["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
    let mut lines = listed.ok().lines();
    lines.sort();
    assert_eq!(lines.len(), 3, "{lines:?}");
    let id = |line: &str| line.rsplit(' ').next().unwrap_or_default().to_owned();
    assert_eq!(
        id(&lines[0]),
        id(&lines[1]),
        "two tags of one image: {lines:?}"
    );
    let full = env.rctr(["images", "--quiet", "--no-trunc", "healthz"]);
    assert_eq!(full.ok().stdout().len(), "sha256:".len() + 64);
    assert_eq!(env.inspect("healthz")["Id"], full.stdout().as_str());
    // By name, by name and tag, by a beginning of the id.
    env.rctr(["images", "--quiet", "busybox:1.35"])
        .ok()
        .stdout_is(&id(&lines[0]));
    env.rctr(["images", "--quiet", "nosuch"]).ok().stdout_is("");
    env.rctr(["inspect", "--format", "{{.Id}}", &id(&lines[2])])
        .ok()
        .stdout_is(&full.stdout());
    let size: u64 = env
        .rctr(["inspect", "--format", "{{.Size}}", "busybox"])
        .ok()
        .stdout()
        .parse()
        .expect("a number");
    assert!((1_000_000..5_000_000).contains(&size), "{size}");
}

#[test]
fn a_tag_goes_first_and_the_image_with_its_last_name() {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    env.rctr(["pull", "--quiet", "busybox:1.35"]).ok();
    env.rctr(["rmi", "busybox:1.35"])
        .ok()
        .stdout_is("Untagged: busybox:1.35");
    let last = env.rctr(["rmi", "busybox"]);
    let lines = last.ok().lines();
    assert_eq!(lines[0], "Untagged: busybox:latest");
    assert!(
        lines[1].starts_with("Untagged: busybox@sha256:"),
        "{lines:?}"
    );
    assert!(
        lines[2..]
            .iter()
            .all(|line| line.starts_with("Deleted: sha256:"))
    );
    assert!(lines.len() > 2, "{lines:?}");
    env.rctr(["images", "--quiet"]).ok().stdout_is("");
    env.rctr(["rmi", "busybox"]).refused(1, "busybox");
    env.rctr(["rmi", "--force", "busybox"]).ok();
}

#[test]
fn names_of_one_repository_do_not_outlive_it_when_another_has_the_same_image() {
    let env = Env::new();
    // The same configuration, so the same image id.
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    env.rctr(["pull", "--quiet", "plain"]).ok();
    env.rctr(["rmi", "plain"]).ok();
    env.rctr(["images", "--format", "{{.Repository}}:{{.Tag}}"])
        .ok()
        .stdout_is("busybox:latest");
    env.run_alone(&["busybox", "true"]).ok();
}

#[test]
fn shared_layers_stay_until_their_last_image_goes_and_then_the_disk_is_free() {
    let env = Env::new();
    let layers = env.root().join("layers");
    env.rctr(["images"]).ok();
    let empty = disk_use(&env.root().join("blobs")) + disk_use(&layers);
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    let alone = disk_use(&layers);
    env.rctr(["pull", "--quiet", "healthz"]).ok();
    env.rctr(["pull", "--quiet", "entrypoint"]).ok();
    let all = disk_use(&layers);
    assert!(
        all < alone + alone / 2,
        "{alone} for one image, {all} for three that share its layer"
    );
    env.rctr(["rmi", "busybox"]).ok();
    env.rctr(["rmi", "entrypoint"]).ok();
    env.run_alone(&["healthz", "cat", "/www/healthz"])
        .ok()
        .stdout_is("ok");
    env.rctr(["rmi", "healthz"]).ok();
    let after = disk_use(&env.root().join("blobs")) + disk_use(&layers);
    assert!(after <= empty + 8192, "{after} bytes are left of {all}");
    assert_eq!(
        entries(&env.root().join("blobs/sha256")),
        Vec::<String>::new()
    );
    assert_eq!(entries(&env.root().join("tmp")), Vec::<String>::new());
}

/// Of docker's: the image goes all the same, only untagged images that it was made of stay. Here they always do.
#[test]
fn without_pruning_the_image_goes_and_what_it_was_made_of_stays() {
    let env = Env::new();
    for flags in [&["--no-prune"][..], &[]] {
        env.rctr(["pull", "--quiet", "busybox"]).ok();
        env.rctr(["create", "--name", "cc", "busybox", "touch", "/made"])
            .ok();
        env.rctr(["start", "-a", "cc"]).ok();
        env.rctr(["commit", "cc", "made"]).ok();
        env.rctr(["rm", "cc"]).ok();
        // The image that it was made of loses its name.
        let id = |name| {
            env.rctr(["images", "-q", "--no-trunc", name])
                .lines()
                .remove(0)
        };
        let (parent, made) = (id("busybox"), id("made"));
        env.rctr(["pull", "--quiet", "healthz"]).ok();
        env.rctr(["tag", "healthz", "busybox"]).ok();
        let all = [&["rmi"], flags, &["made"]].concat();
        env.rctr(all)
            .ok()
            .stdout_has("Untagged: made:latest")
            .stdout_has(&format!("Deleted: {made}"));
        env.rctr(["image", "inspect", &made]).exits(1);
        env.rctr(["image", "inspect", "--format", "{{.RepoTags}}", &parent])
            .ok()
            .stdout_is("[]");
        env.rctr(["rmi", &parent]).ok();
        env.rctr(["rmi", "busybox", "healthz"]).ok();
        env.rctr(["images", "-aq"]).ok().stdout_is("");
    }
}

#[test]
fn an_image_in_use_stays() {
    let env = Env::new();
    env.rctr([
        "run",
        "--name",
        "done",
        "--network",
        "none",
        "busybox",
        "true",
    ])
    .ok();
    env.rctr(["rmi", "busybox"])
        .refused(1, "container")
        .stderr_has("must force");
    let id = env.run_detached(["--network", "none", "healthz", "sleep", "1000"]);
    env.rctr(["create", "--network", "none", "healthz"]).ok();
    let image = env.rctr(["images", "-q", "healthz"]).ok().stdout();
    env.rctr(["rmi", "--force", &image])
        .refused(1, &id[..12])
        .stderr_has("cannot be forced");
    // A name may go, and the image stays for the one that runs.
    env.rctr(["rmi", "--force", "healthz"])
        .ok()
        .stdout_has("Untagged: healthz:latest")
        .stdout_lacks("Deleted");
    let left = env.rctr(["images", "-q", "--filter", "dangling=true"]);
    left.ok().stdout_is(&image);
    let shown = ["ps", "--format", "{{.Image}}"];
    env.rctr(shown).ok().stdout_is(&image);
    env.rctr(["exec", &id, "cat", "/www/healthz"])
        .ok()
        .stdout_is("ok");
    // One that another container only stopped using goes by force, and the container with its own files stays.
    env.rctr(["rmi", "--force", "busybox"]).ok();
    env.rctr(["rm", "done"]).ok().stdout_is("done");
}

#[test]
fn several_names_at_once_do_what_can_be_done() {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    let removed = env.rctr(["rmi", "nosuch", "busybox"]);
    removed
        .refused(1, "nosuch")
        .stdout_has("Untagged: busybox:latest");
    env.rctr(["images", "--quiet"]).ok().stdout_is("");
}

#[test]
fn image_ls_and_rm_are_the_same_commands() {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    env.rctr(["image", "ls", "--format", "{{.Repository}}"])
        .ok()
        .stdout_is("busybox");
    let by_id = env.rctr(["images", "--quiet"]).ok().stdout();
    env.rctr(["image", "rm", &by_id])
        .ok()
        .stdout_has("Deleted: sha256:");
}

#[test]
fn what_a_layer_may_hold_is_there_as_it_was_packed() {
    let env = Env::new();
    let show = "cd /odd; stat -c '%n %a %u %g %F' setuid sticky bigid null fifo; stat -c %h hard; \
                cat long*; readlink longlink | wc -c; cat *ml*ut; ls /opaque; ls -d /gone /removed 2>&1; \
                cat /todir /tofile/x";
    let out = env.run_alone(&["oddfiles", "sh", "-c", show]);
    out.stdout_is(
        "setuid 4755 0 0 regular file\nsticky 1644 0 0 regular file\nbigid 644 3000000 70000 regular file\n\
         null 666 0 0 character special file\nfifo 600 0 0 fifo\n2\nlong name\n301\nutf-8\nseen\n\
         ls: /gone: No such file or directory\nls: /removed: No such file or directory\nnow a filenow a directory",
    );
}

#[test]
fn disk_use_is_told() {
    let env = Env::new();
    env.rctr(["pull", "--quiet", "busybox"]).ok();
    env.rctr(["create", "--name", "made", "busybox"]).ok();
    let told = env.rctr(["system", "df"]);
    told.ok()
        .stdout_has("Images")
        .stdout_has("Containers")
        .stdout_has("Local Volumes");
}
