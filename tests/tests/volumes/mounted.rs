//! `--mount` in full, and `--volumes-from`.

use std::fs;
use std::os::unix::fs::symlink;

use rctr_tests::{Env, text};

#[test]
fn mount_flags_in_full() {
    let env = Env::new();
    let host = env.path("host");
    fs::create_dir_all(host.join("below")).expect("directories");
    let _below = rctr_tests::Mounted::tmpfs(&host.join("below"), "1m");
    fs::write(host.join("below/f"), "x").expect("a file");
    let bind = |more: &str| format!("type=bind,src={},dst=/b{more}", text(&host));
    let run = |mount: &str, script: &str| env.sh(&["--mount", mount], script);
    run(&bind(""), "ls /b/below").ok().stdout_is("f");
    run(&bind(",bind-recursive=disabled"), "ls /b/below")
        .ok()
        .stdout_is("");
    run(&bind(",ro"), "touch /b/below/x")
        .exits(1)
        .stderr_has("Read-only");
    run(
        &bind(",ro,bind-recursive=writable"),
        "touch /b/below/x && ! touch /b/x 2>/dev/null",
    )
    .ok();
    run(
        &bind(",ro,bind-propagation=rprivate,bind-recursive=readonly"),
        "touch /b/below/y",
    )
    .exits(1)
    .stderr_has("Read-only");
    run(
        "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1700",
        "stat -c %a /t; df -k /t | tail -1 | awk '{print $2}'",
    )
    .ok()
    .stdout_is("1700\n1024");

    let labelled = "src=made,dst=/v,volume-label=a=b,volume-driver=local,volume-opt=type=tmpfs,volume-opt=device=tmpfs";
    run(
        labelled,
        "echo x > /v/f; mount | grep -c 'on /v type tmpfs'",
    )
    .ok()
    .stdout_is("1");
    let volume = env.rctr(["volume", "inspect", "made"]).ok().json()[0].take();
    assert_eq!(
        (&volume["Labels"]["a"], &volume["Options"]["type"]),
        (&"b".into(), &"tmpfs".into())
    );
    run("src=x1,dst=/v,volume-driver=other", "true")
        .exits(125)
        .stderr_has("plugin \"other\" not found");
    env.sh(&["--volume-driver", "other", "-v", "x1:/v"], "true")
        .exits(125)
        .stderr_has("plugin \"other\" not found");

    run(
        "src=tree,dst=/v",
        "mkdir -p /v/a/b; echo deep > /v/a/b/f; ln -s /etc /v/out; ln -s a /v/in",
    )
    .ok();
    run(
        "src=tree,dst=/s,volume-subpath=a/b",
        "ls /s; echo new > /s/g",
    )
    .ok()
    .stdout_is("f");
    run("src=tree,dst=/s,volume-subpath=in/b/f", "cat /s")
        .ok()
        .stdout_is("deep");
    run("src=tree,dst=/s,volume-subpath=a/b,ro", "touch /s/x")
        .exits(1)
        .stderr_has("Read-only");
    run("src=tree,dst=/s,volume-subpath=none", "true")
        .exits(125)
        .stderr_has("cannot access path");
    run("src=tree,dst=/s,volume-subpath=out", "true")
        .exits(125)
        .stderr_has("escapes the base directory");
    run("src=tree,dst=/s,volume-subpath=../x", "true")
        .exits(125)
        .stderr_has("subpath must be a relative path within the volume");
}

#[test]
fn a_subpath_that_is_swapped_for_a_link_leads_nowhere() {
    let env = Env::new();
    env.sh(&["-v", "tree:/v"], "mkdir /v/d; echo mine > /v/d/f")
        .ok();
    let data = env.root().join("volumes/tree/_data");
    let outside = env.path("outside");
    fs::create_dir(&outside).expect("a directory");
    fs::write(outside.join("f"), "secret").expect("a file");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = fs::rename(data.join("d"), data.join("real"));
                let _ = symlink(&outside, data.join("d"));
                let _ = fs::remove_file(data.join("d"));
                let _ = fs::rename(data.join("real"), data.join("d"));
            }
        });
        for _ in 0..10 {
            let out = env.sh(&["--mount", "src=tree,dst=/s,volume-subpath=d"], "cat /s/f");
            assert!(!out.stdout().contains("secret"), "{}", out.stdout());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn images_are_mounts() {
    let env = Env::new();
    env.build_image(
        "other",
        "FROM scratch\nCOPY <<EOF /etc/conf\nfrom the other\nEOF\n",
    );
    let run = |mount: &str, script: &str| env.sh(&["--mount", mount], script);
    run("type=image,src=other,dst=/i", "cat /i/etc/conf; touch /i/x")
        .exits(1)
        .stdout_is("from the other")
        .stderr_has("Read-only");
    run("type=image,src=other,dst=/i,image-subpath=etc", "ls /i")
        .ok()
        .stdout_is("conf");
    run("type=image,src=other,dst=/i,image-subpath=nosuch", "true")
        .exits(125)
        .stderr_has("cannot access path");
    run("type=image,src=nosuch,dst=/i", "true")
        .exits(125)
        .stderr_has("No such image: nosuch");
    env.rctr([
        "create",
        "--name",
        "c1",
        "--mount",
        "type=image,src=other,dst=/i",
        "busybox",
        "cat",
        "/i/etc/conf",
    ])
    .ok();
    let out = env.rctr(["cp", "c1:/i/etc/conf", "-"]);
    assert!(out.ok().stdout().contains("from the other"));
    env.rctr(["rmi", "other"]).refused(1, "container");
    env.rctr(["start", "-a", "c1"])
        .ok()
        .stdout_is("from the other");
    assert_eq!(env.inspect("c1")["Mounts"][0]["Type"], "image");
}

#[test]
fn volumes_of_another_container() {
    let env = Env::new();
    let host = env.path("host");
    fs::create_dir(&host).expect("a directory");
    let bind = format!("{}:/bind:ro", text(&host));
    env.rctr([
        "create",
        "--name",
        "from",
        "-v",
        "/anonymous",
        "-v",
        "named:/named",
        "-v",
        &bind,
        "busybox",
    ])
    .ok();
    env.sh(
        &["--volumes-from", "from"],
        "echo x > /named/f; echo y > /anonymous/f; ! touch /bind/x 2>/dev/null",
    )
    .ok();
    env.sh(
        &["--volumes-from", "from:ro"],
        "cat /named/f /anonymous/f; touch /named/g",
    )
    .exits(1)
    .stdout_is("x\ny")
    .stderr_has("Read-only");
    env.sh(
        &["--volumes-from", "from", "-v", "other:/named"],
        "ls /named; cat /anonymous/f",
    )
    .ok()
    .stdout_is("y");
    env.sh(&["--volumes-from", "nosuch"], "true")
        .exits(125)
        .stderr_has("No such container: nosuch");
    env.sh(&["--volumes-from", "from:fast"], "true")
        .exits(125)
        .stderr_has("invalid mode: fast");
    env.rctr([
        "create",
        "--name",
        "to",
        "--volumes-from",
        "from",
        "busybox",
    ])
    .ok();
    let to = env.inspect("to");
    assert_eq!(to["HostConfig"]["VolumesFrom"][0], "from");
    let mounts = to["Mounts"].as_array().expect("mounts").iter();
    assert!(mounts.clone().all(|mount| mount["Mode"] == ""), "{to}");
    assert_eq!(mounts.len(), 3);
    // The last one to go takes the anonymous volume along.
    env.rctr(["rm", "-v", "from"]).ok();
    env.rctr(["start", "to"]).ok();
    env.rctr(["rm", "-f", "-v", "to"]).ok();
    assert_eq!(
        env.rctr(["volume", "ls", "-q"]).ok().lines(),
        ["named", "other"]
    );
}
