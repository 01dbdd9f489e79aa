//! Files as vendors write them, and what they make of a configuration.

use super::*;
use oci_spec::runtime::{LinuxBuilder, LinuxResources, ProcessBuilder, SpecBuilder, UserBuilder};
use serde_json::{Value, json};

struct Dirs(tempfile::TempDir, Vec<PathBuf>);

/// Two directories, the second the stronger one.
fn dirs(files: &[(usize, &str, Value)]) -> Dirs {
    let root = tempfile::tempdir().unwrap();
    let dirs = ["a", "b"].map(|name| root.path().join(name)).to_vec();
    for dir in &dirs {
        fs::create_dir(dir).unwrap();
    }
    for (dir, name, content) in files {
        fs::write(dirs[*dir].join(name), content.to_string()).unwrap();
    }
    Dirs(root, dirs)
}

fn file(device: &str, edits: Value) -> Value {
    json!({"cdiVersion": "0.6.0", "kind": "example.com/gpu", "devices": [{"name": device, "containerEdits": edits}],
           "containerEdits": {"env": ["ALL=1"]}})
}

fn find(dirs: &Dirs, names: &[&str]) -> Result<Vec<ContainerEdits>, CdiError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    edits(&names, &dirs.1)
}

fn spec() -> Spec {
    let process = ProcessBuilder::default()
        .env(vec!["A=0".to_owned(), "PATH=/bin".to_owned()])
        .user(UserBuilder::default().uid(7u32).gid(8u32).build().unwrap());
    let linux = LinuxBuilder::default().resources(LinuxResources::default());
    SpecBuilder::default()
        .process(process.build().unwrap())
        .linux(linux.build().unwrap())
        .mounts(Vec::new())
        .build()
        .unwrap()
}

#[test]
fn names_have_three_parts() {
    assert_eq!(split("example.com/gpu=0"), Some(("example.com/gpu", "0")));
    assert_eq!(split("v/c=a:b.c-d"), Some(("v/c", "a:b.c-d")));
    for bad in [
        "",
        "gpu",
        "example.com/gpu",
        "/gpu=0",
        "v/=0",
        "v/c=",
        "v/c=../x",
        "1/c=0",
        "v/c=0 ",
    ] {
        assert_eq!(split(bad), None, "{bad}");
    }
}

#[test]
fn a_device_changes_what_its_file_says_and_the_file_speaks_once() {
    let edits_of =
        |n: &str| json!({"env": [format!("DEVICE={n}"), "A=1"], "additionalGids": [44, 0]});
    let mut both = file("one", edits_of("one"));
    let two = json!({"name": "two", "containerEdits": edits_of("two")});
    both["devices"].as_array_mut().unwrap().push(two);
    let dirs = dirs(&[(0, "x.json", both)]);
    let found = find(&dirs, &["example.com/gpu=one", "example.com/gpu=two"]).unwrap();
    assert_eq!(found.len(), 3);
    let mut spec = spec();
    apply(&found, &mut spec).unwrap();
    let process = spec.process().as_ref().unwrap();
    let env = process.env().as_ref().unwrap();
    assert_eq!(*env, ["A=1", "PATH=/bin", "ALL=1", "DEVICE=two"]);
    assert_eq!(process.user().additional_gids(), &Some(vec![44]));
}

#[test]
fn nodes_mounts_and_hooks() {
    let edit = json!({
        "deviceNodes": [{"path": "/dev/vendor0", "hostPath": "/dev/null", "permissions": "rw"},
                        {"path": "/dev/other", "type": "c", "major": 9, "minor": 3, "fileMode": 0o600, "uid": 1}],
        "mounts": [{"hostPath": "/opt/lib", "containerPath": "/usr/lib/vendor", "options": ["ro", "nosuid"]},
                   {"hostPath": "/opt/bin", "containerPath": "/opt", "options": ["rbind"]}],
        "hooks": [{"hookName": "createContainer", "path": "/opt/hook", "args": ["hook", "x"], "timeout": 5},
                  {"hookName": "prestart", "path": "/opt/old"}]
    });
    let dirs = dirs(&[(1, "x.json", file("one", edit))]);
    let mut spec = spec();
    apply(&find(&dirs, &["example.com/gpu=one"]).unwrap(), &mut spec).unwrap();
    let json = serde_json::to_value(&spec).unwrap();
    let nodes = json.pointer("/linux/devices").unwrap();
    let null = &nodes[0];
    assert_eq!(
        (&null["path"], &null["major"], &null["minor"]),
        (&json!("/dev/vendor0"), &json!(1), &json!(3))
    );
    assert_eq!(
        (&null["uid"], &null["gid"], &null["fileMode"]),
        (&json!(7), &json!(8), &json!(0o666))
    );
    assert_eq!(
        (&nodes[1]["uid"], &nodes[1]["fileMode"]),
        (&json!(1), &json!(0o600))
    );
    let rules = json.pointer("/linux/resources/devices").unwrap();
    assert_eq!(
        rules[0],
        json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"})
    );
    assert_eq!(rules[1]["access"], "rwm");
    let targets: Vec<_> = json["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["destination"].clone())
        .collect();
    assert_eq!(targets, ["/opt", "/usr/lib/vendor"]);
    assert_eq!(
        json["mounts"][1]["options"],
        json!(["bind", "ro", "nosuid"])
    );
    assert_eq!(
        json.pointer("/hooks/createContainer/0/timeout"),
        Some(&json!(5))
    );
    assert_eq!(
        json.pointer("/hooks/createRuntime/0/path"),
        Some(&json!("/opt/old"))
    );
}

#[test]
fn later_directories_win_and_equals_conflict() {
    let env = |text: &str| file("one", json!({"env": [text]}));
    let stronger = dirs(&[(0, "x.json", env("A=a")), (1, "x.json", env("A=b"))]);
    let found = find(&stronger, &["example.com/gpu=one"]).unwrap();
    assert_eq!(found[1].env, ["A=b"]);
    let equal = dirs(&[(0, "x.json", env("A=a")), (0, "y.json", env("A=b"))]);
    let error = find(&equal, &["example.com/gpu=one"]).unwrap_err();
    assert!(matches!(error, CdiError::Twice { .. }), "{error}");
}

#[test]
fn what_is_not_known_is_told_with_the_files_that_could_not_be_read() {
    let mut newer = file("one", json!({}));
    newer["cdiVersion"] = json!("2.0.0");
    let dirs = dirs(&[
        (0, "new.json", newer),
        (0, "odd.json", json!({"kind": 1})),
        (0, "x.yaml", json!({})),
    ]);
    let message = find(&dirs, &["example.com/gpu=one"])
        .unwrap_err()
        .to_string();
    for word in [
        "example.com/gpu=one is not known",
        "version 2.0.0",
        "odd.json",
        "x.yaml: error: line 1 column 1: missing field `cdiVersion`",
    ] {
        assert!(message.contains(word), "{word}: {message}");
    }
    assert!(matches!(find(&dirs, &["gpu"]), Err(CdiError::Name { .. })));
    assert!(edits(&[], &[PathBuf::from("/nosuch")]).unwrap().is_empty());
    assert!(dirs.0.path().exists());
}

#[test]
fn what_cannot_be_done_is_an_error() {
    for edit in [
        json!({"intelRdt": {"closID": "x"}}),
        json!({"netDevices": [{"hostInterfaceName": "e", "name": "f"}]}),
        json!({"hooks": [{"hookName": "poststop", "path": "/x"}]}),
        json!({"deviceNodes": [{"path": "/dev/x", "type": "z"}]}),
    ] {
        let dirs = dirs(&[(0, "x.json", file("one", edit.clone()))]);
        let found = find(&dirs, &["example.com/gpu=one"]).unwrap();
        let error = apply(&found, &mut spec()).unwrap_err();
        assert!(
            matches!(error, CdiError::Unsupported { .. }),
            "{edit}: {error}"
        );
    }
    let missing = json!({"deviceNodes": [{"path": "/dev/x", "hostPath": "/nosuch"}]});
    let dirs = dirs(&[(0, "x.json", file("one", missing))]);
    let found = find(&dirs, &["example.com/gpu=one"]).unwrap();
    let error = apply(&found, &mut spec()).unwrap_err();
    assert!(matches!(error, CdiError::Node { .. }), "{error}");
}
