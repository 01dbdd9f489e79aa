use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

/// A directory with plugins that note how they were called, and do what the test says.
struct Node {
    dir: tempfile::TempDir,
    cni: Cni,
}

impl Node {
    fn new() -> Node {
        let dir = tempfile::tempdir().unwrap();
        let cni = Cni::new(vec![dir.path().join("none"), dir.path().into()]);
        Node { dir, cni }
    }

    /// A plugin: a shell script that first notes its name, its operation and its configuration.
    fn plugin(&self, name: &str, script: &str) -> &Node {
        let path = self.dir.path().join(name);
        let log = self.dir.path().join("log");
        let text = format!(
            "#!/bin/sh\nc=$(cat); echo \"{name} $CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_ARGS $c\" >> {}\n{script}\n",
            log.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn list(&self, text: &str) -> NetworkList {
        NetworkList::parse(
            serde_json::from_str(text).unwrap(),
            Path::new("/test.conflist"),
        )
        .unwrap()
    }

    fn calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

fn attachment() -> Attachment {
    let capabilities = json!({"portMappings": [{"hostPort": 8080}], "dns": {"servers": []}});
    Attachment {
        container_id: "c1".into(),
        netns: Some("/run/netns/x".into()),
        ifname: "eth0".into(),
        args: vec![
            ("K8S_POD_NAME".into(), "web".into()),
            ("IgnoreUnknown".into(), "1".into()),
        ],
        capabilities: capabilities.as_object().unwrap().clone(),
    }
}

const TWO: &str = r#"{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "one", "a": 1},
    {"type": "two", "capabilities": {"portMappings": true, "bandwidth": true}}]}"#;

#[test]
fn each_plugin_gets_the_result_of_the_one_before_and_what_it_declares() {
    let node = Node::new();
    node.plugin("one", r#"echo '{"cniVersion":"1.0.0","interfaces":[{"name":"br"},{"name":"eth0","sandbox":"/x"}],
        "ips":[{"address":"10.1.0.2/16","gateway":"10.1.0.1","interface":1},{"address":"10.9.9.9/32","interface":0}]}'"#);
    node.plugin("two", r#"echo "$c" | sed 's/.*"prevResult"://; s/}$//'"#);
    let result = node.cni.add(&node.list(TWO), &attachment()).unwrap();
    assert_eq!(
        result.addresses.len(),
        1,
        "the bridge's address is not the container's"
    );
    assert_eq!(result.addresses[0].address.to_string(), "10.1.0.2/16");
    assert_eq!(result.addresses[0].gateway.unwrap().to_string(), "10.1.0.1");
    let calls = node.calls();
    assert!(
        calls[0].starts_with("one ADD c1 eth0 K8S_POD_NAME=web;IgnoreUnknown=1 {"),
        "{calls:?}"
    );
    assert!(
        calls[0].contains(r#""a":1"#) && calls[0].contains(r#""name":"net""#),
        "{calls:?}"
    );
    assert!(
        !calls[0].contains("runtimeConfig") && !calls[0].contains("prevResult"),
        "{calls:?}"
    );
    assert!(
        calls[1].contains(r#""runtimeConfig":{"portMappings":[{"hostPort":8080}]}"#),
        "{calls:?}"
    );
    assert!(
        calls[1].contains(r#""prevResult":{"cniVersion":"1.0.0""#)
            && !calls[1].contains("capabilities"),
        "{calls:?}"
    );
}

#[test]
fn a_failed_attachment_is_taken_back_in_reverse_order() {
    let node = Node::new();
    node.plugin("one", "[ $CNI_COMMAND = DEL ] || echo '{}'");
    node.plugin("two", r#"[ $CNI_COMMAND = DEL ] || { echo '{"code": 11, "msg": "no address", "details": "pool is empty"}'; exit 1; }"#);
    let error = node
        .cni
        .add(&node.list(TWO), &attachment())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("two")
            && error.contains("ADD")
            && error.contains("no address; pool is empty"),
        "{error}"
    );
    let order: Vec<String> = node
        .calls()
        .iter()
        .map(|c| c.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(order, ["one ADD", "two ADD", "two DEL", "one DEL"]);
}

#[test]
fn detaching_goes_on_after_a_failure_and_tells_it() {
    let node = Node::new();
    node.plugin("one", "exit 0")
        .plugin("two", "echo broken >&2; exit 3");
    let error = node
        .cni
        .del(&node.list(TWO), &attachment(), Some(&json!({"ips": []})))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("broken") && error.contains("exit status: 3"),
        "{error}"
    );
    assert!(
        node.calls()[1].starts_with("one DEL")
            && node.calls()[1].contains(r#""prevResult":{"ips":[]}"#)
    );
}

#[test]
fn each_plugin_checks_what_it_made_in_order() {
    let node = Node::new();
    node.plugin("one", "").plugin(
        "two",
        r#"case $c in *10.1.0.2*) ;; *) echo '{"code": 101, "msg": "the address is gone"}'; exit 1;; esac"#,
    );
    let list = node.list(TWO);
    let result = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/16"}]});
    node.cni.check(&list, &attachment(), &result).unwrap();
    let calls = node.calls();
    assert_eq!(calls.len(), 2);
    for (call, plugin) in calls
        .iter()
        .zip(["one CHECK c1 eth0 ", "two CHECK c1 eth0 "])
    {
        assert!(call.starts_with(plugin), "{calls:?}");
        assert!(
            call.contains(r#""prevResult":{"cniVersion":"1.0.0""#),
            "{calls:?}"
        );
    }
    let error = node.cni.check(&list, &attachment(), &json!({"ips": []}));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("two") && error.contains("the address is gone"),
        "{error}"
    );
    // Those that are not to be asked are not.
    let before = node.calls().len();
    let silent = TWO.replace(r#""name": "net""#, r#""name": "net", "disableCheck": true"#);
    let old = TWO.replace("1.0.0", "0.3.1");
    for text in [silent, old] {
        let list = node.list(&text);
        node.cni.check(&list, &attachment(), &result).unwrap();
    }
    assert_eq!(node.calls().len(), before);
}

#[test]
fn status_and_gc_are_asked_from_1_1_on() {
    let node = Node::new();
    node.plugin("one", "").plugin(
        "two",
        r#"[ $CNI_COMMAND = GC ] || { echo '{"code": 50, "msg": "not yet"}'; exit 1; }"#,
    );
    let old = node.list(TWO);
    node.cni.status(&old).unwrap();
    node.cni.gc(&old, &[]).unwrap();
    assert!(node.calls().is_empty());
    let new = node.list(&TWO.replace(
        r#""cniVersion": "1.0.0""#,
        r#""cniVersions": ["0.4.0", "1.1.0", "9.0.0"]"#,
    ));
    assert!(
        node.cni
            .status(&new)
            .unwrap_err()
            .to_string()
            .contains("not yet")
    );
    node.cni.gc(&new, &[("c1".into(), "eth0".into())]).unwrap();
    let last = node.calls().pop().unwrap();
    assert!(
        last.contains(r#""cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]"#),
        "{last}"
    );
}

#[test]
fn a_plugin_that_hangs_is_killed_with_its_children() {
    let mut node = Node::new();
    node.plugin("one", "sleep 1000 & echo $! > $(dirname $0)/child; wait");
    node.cni.patience = Duration::from_millis(300);
    let list = node.list(r#"{"cniVersion": "1.0.0", "name": "net", "type": "one"}"#);
    let error = node
        .cni
        .check(&list, &attachment(), &json!({}))
        .unwrap_err();
    assert!(matches!(error, Error::CniTimeout { .. }), "{error}");
    let child = fs::read_to_string(node.dir.path().join("child")).unwrap();
    let ended = || {
        let state = fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        state.map_or(true, |state| state.contains(") Z "))
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !ended() {
        assert!(std::time::Instant::now() < deadline, "{child} lives");
        std::thread::yield_now();
    }
}

#[test]
fn the_first_valid_file_counts() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(NetworkList::load(dir.path()).unwrap(), None);
    assert_eq!(
        NetworkList::load(&dir.path().join("missing")).unwrap(),
        None
    );
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("10-broken.conflist", "{");
    let error = NetworkList::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("10-broken.conflist"), "{error}");
    write(
        "30-late.conf",
        r#"{"cniVersion": "0.3.1", "name": "late", "type": "bridge"}"#,
    );
    write("20-good.conflist", TWO);
    write("05-ignored.conflist.mk_disabled", TWO);
    assert_eq!(NetworkList::load(dir.path()).unwrap().unwrap().name, "net");
    fs::remove_file(dir.path().join("20-good.conflist")).unwrap();
    let late = NetworkList::load(dir.path()).unwrap().unwrap();
    assert_eq!(
        (
            late.name.as_str(),
            late.version.as_str(),
            late.plugins.len()
        ),
        ("late", "0.3.1", 1)
    );
}

#[test]
fn what_cannot_be_a_network_is_refused_with_its_reason() {
    let cases = [
        ("[]", "no JSON object"),
        (
            r#"{"cniVersion": "2.0.0", "name": "n", "type": "x"}"#,
            "CNI version 2.0.0 is not supported",
        ),
        (
            r#"{"cniVersion": "1.0.0", "name": "../n", "type": "x"}"#,
            "no valid name",
        ),
        (
            r#"{"cniVersion": "1.0.0", "name": "n", "plugins": []}"#,
            "no plugins",
        ),
        (
            r#"{"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "../sh"}]}"#,
            "not the type of a plugin",
        ),
        (
            r#"{"cniVersion": "1.0.0", "name": "n", "plugins": {}}"#,
            "plugins is no list",
        ),
    ];
    for (text, expected) in cases {
        let value = serde_json::from_str(text).unwrap();
        let error = NetworkList::parse(value, Path::new("/x.conf"))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let node = Node::new();
    let error = node.cni.status(&node.list(TWO)).unwrap_err().to_string();
    assert!(
        error.contains("plugin one") && error.contains("none"),
        "{error}"
    );
}
