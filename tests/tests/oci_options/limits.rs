//! Limits, from the start and changed later.

use super::*;

#[test]
fn a_container_may_have_one_process() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.config["linux"]["resources"]["pids"] = json!({"limit": 1});
    quietly(bundle.command(&["run", "--detach", "one"]));
    let stats = bundle.oci(&["events", "--stats", "one"]).ok().json();
    assert_eq!(stats["data"]["pids"]["limit"], 1);
    assert_eq!(stats["data"]["pids"]["current"], 1);
    let exec = |words: &[&str]| bundle.oci(&[&["exec", "one"], words].concat());
    exec(&["busybox", "cmp", "/proc/1/cgroup", "/proc/self/cgroup"]).ok();
    exec(&["sh", "-c", "true & wait"])
        .exits(2)
        .stderr_has("can't fork");
}

#[test]
fn limits_are_changed_by_flags_and_by_a_file() {
    let bundle = running(&["sleep", "1000"]);
    let pids = |limit: &str| {
        let stats = bundle.oci(&["events", "--stats", "one"]).ok().json();
        assert_eq!(stats["data"]["pids"]["limit"].to_string(), limit);
    };
    fs::write(
        bundle.path("limits"),
        r#"{"pids": {"limit": 41}, "cpu": null}"#,
    )
    .expect("a file");
    bundle.oci(&["update", "--resources", "limits", "one"]).ok();
    pids("41");
    let mut update = Running::start(bundle.command(&["update", "-r", "-", "one"]), None);
    update.write(br#"{"pids": {"limit": 42}}"#);
    update.close_stdin();
    update.finish().ok();
    pids("42");
    let limit = |option: &str, value: &str, wanted: u64| {
        bundle.oci(&["update", option, value, "one"]).ok();
        let stats = bundle.oci(&["events", "--stats", "one"]).ok().json();
        let memory = &stats["data"]["memory"]["usage"]["limit"];
        assert_eq!(memory, wanted, "{option} {value}");
    };
    limit("--memory", "64m", 64 << 20);
    limit("--memory", "1.5GiB", 3 << 29);
    // 0 stands for no change, as with runc.
    limit("--memory", "0", 3 << 29);
    bundle
        .oci(&["update", "--kernel-memory", "9m", "one"])
        .ok()
        .stderr_has("kernel memory");
    bundle
        .oci(&["update", "--memory", "many", "one"])
        .exits(1)
        .stderr_has("many");
    bundle
        .oci(&["update", "-r", "nosuch", "one"])
        .exits(1)
        .stderr_has("nosuch");
    pids("42");
}
