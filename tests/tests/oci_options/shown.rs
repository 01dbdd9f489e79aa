//! Logs, lists and events.

use super::*;

#[test]
fn errors_reach_the_log_in_the_format_that_was_asked_for() {
    let mut bundle = Bundle::new(&["nosuch"]);
    let log = bundle.path("log");
    let (file, last) = (text(&log), || {
        let said = fs::read_to_string(&log).expect("a log");
        said.lines().last().expect("a line").to_owned()
    });
    let with = |format: &str, words: &[&str]| {
        let options = ["--log", &file, "--log-format", format];
        bundle.oci(&[&options, words].concat()).exits(1);
        last()
    };
    let entry = |line: &str| -> Value { serde_json::from_str(line).expect("JSON") };
    let missing = entry(&with("json", &["create", "one"]));
    assert_eq!(missing["level"], "error");
    let message = missing["msg"].as_str().expect("text");
    assert!(message.contains("executable file not found"), "{message}");
    assert!(missing["time"].as_str().is_some_and(|t| t.contains('T')));
    let line = with("text", &["state", "none"]);
    assert!(
        line.contains("level=error msg=\"container does not exist\""),
        "{line}"
    );
    let before = fs::read_to_string(&log).expect("a log");
    assert!(!before.contains("level=debug"), "{before}");
    let debugged = with("text", &["--debug", "state", "none"]);
    assert!(
        debugged.contains("level=debug msg=\"exit code 1\""),
        "{debugged}"
    );
    // Also what is wrong with its words: whoever drives it looks nowhere else.
    let unknown = entry(&with("json", &["create", "--bogus", "one"]));
    assert!(
        unknown["msg"].as_str().expect("text").contains("--bogus"),
        "{unknown}"
    );
    with("json", &["frobnicate"]);
    bundle.oci(&["start"]).exits(1).stderr_has("CONTAINER");
    bundle.config["process"]["args"] = json!(["true"]);
    bundle
        .oci(&["--version"])
        .ok()
        .stdout_has("rctr-oci version ");
    bundle
        .oci(&["create", "--help"])
        .ok()
        .stdout_has("--console-socket");
}

#[test]
fn lists_and_tables_show_what_there_is() {
    let bundle = running(&["sleep", "1000"]);
    bundle.oci(&["create", "two"]).exits(1);
    let list = bundle.oci(&["list"]).ok().lines();
    let words =
        |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
    assert_eq!(
        words(&list[0]),
        ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    );
    let row = words(&list[1]);
    let pid = bundle.oci(&["state", "one"]).ok().json()["pid"].to_string();
    assert_eq!((&*row[0], &row[1], &*row[2]), ("one", &pid, "running"));
    assert_eq!(
        row[3],
        text(bundle.path("").as_path()).trim_end_matches('/')
    );
    assert_eq!(row[5], "root");
    bundle.oci(&["list", "--quiet"]).ok().stdout_is("one");
    let table = bundle.oci(&["ps", "one"]).ok().lines();
    assert!(table[0].contains("PID") && table.len() == 2, "{table:?}");
    assert!(table[1].contains("sleep 1000") && table[1].contains(&pid));
    let own = bundle.oci(&["ps", "one", "-o", "pid,args"]).ok().lines();
    assert_eq!(words(&own[1]), [&*pid, "sleep", "1000"]);
    bundle
        .oci(&["ps", "one", "-o", "args"])
        .exits(1)
        .stderr_has("PID");
    // What is not there is an empty list.
    let mut elsewhere = Command::new(oci_binary());
    elsewhere.args(["--root", "/nosuch/root", "list", "-f", "json"]);
    Running::start(elsewhere, None)
        .finish()
        .ok()
        .stdout_is("null");
}

#[test]
fn events_go_on_until_the_end_and_tell_of_a_lack_of_memory() {
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.config["linux"]["resources"]["memory"] = json!({"limit": 24 << 20, "swap": 24 << 20});
    quietly(bundle.command(&["run", "--detach", "one"]));
    let out = fs::File::create(bundle.path("events")).expect("a file");
    let mut events = bundle.command(&["events", "--interval", "50ms", "one"]);
    let mut events = events.stdout(out).spawn().expect("it runs");
    let seen = || -> Vec<Value> {
        let said = fs::read_to_string(bundle.path("events")).expect("a file");
        let whole = said
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        whole
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    };
    let count = |kind: &str| seen().iter().filter(|event| event["type"] == kind).count();
    wait_for("more than one look", || count("stats") > 2);
    assert_eq!(count("oom"), 0);
    let hog = [
        "exec",
        "one",
        "sh",
        "-c",
        "x=a; while true; do x=$x$x; done",
    ];
    bundle.oci(&hog).exits(137);
    wait_for("the lack of memory to be told", || count("oom") > 0);
    let stats = seen().into_iter().find(|event| event["type"] == "stats");
    let stats = stats.expect("some");
    assert_eq!(stats["id"], "one");
    assert_eq!(stats["data"]["memory"]["usage"]["limit"], 24 << 20);
    bundle.oci(&["kill", "one", "KILL"]).ok();
    assert!(events.wait().expect("a status").success());
    bundle
        .oci(&["events", "one"])
        .exits(1)
        .stderr_has("container not running");
    bundle
        .oci(&["events", "--interval", "0s", "one"])
        .exits(1)
        .stderr_has("interval");
}
