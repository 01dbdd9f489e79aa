//! The floors of docs/DESIGN: a crate depends only on crates of lower floors, and those of floor 1 not on each other.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// The table. A new crate of the workspace must be given its floor here.
const FLOORS: &[(&str, u8)] = &[
    ("rctr-store", 0),
    ("rctr-registry-client", 1),
    ("rctr-network", 1),
    ("rctr-runtime", 1),
    ("rctr-engine", 2),
    ("rctr-oci", 2),
    ("rctr-builder", 3),
    ("rctr-cri", 4),
    ("rctr-compose", 4),
    ("rctr", 5),
    ("rctr-tests", 6),
];

#[test]
fn no_crate_reaches_up_or_sideways() {
    let metadata = metadata();
    let floors: BTreeMap<_, _> = FLOORS.iter().copied().collect();
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() >= 6, "the workspace is all here");
    let mut faults = Vec::new();
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let Some(floor) = floors.get(name) else {
            faults.push(format!("{name} has no floor"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let on = dependency["name"].as_str().expect("a name");
            let is_ours = !dependency["path"].is_null();
            // What only tests need may come from anywhere below or beside.
            let for_tests = dependency["kind"].as_str() == Some("dev");
            if is_ours && !for_tests && floors.get(on).is_none_or(|other| other >= floor) {
                faults.push(format!("{name} (floor {floor}) depends on {on}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The monitor is single-threaded: libcontainer clones inside it.
#[test]
fn the_monitor_has_no_async_runtime() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let runtime = packages
        .iter()
        .find(|package| package["name"] == "rctr-runtime")
        .expect("rctr-runtime");
    let dependencies = runtime["dependencies"].as_array().expect("dependencies");
    let tokio = dependencies
        .iter()
        .find(|dependency| dependency["name"] == "tokio" && dependency["kind"] != "dev");
    assert!(tokio.is_none(), "rctr-runtime depends on tokio");
}

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(rctr_tests::workspace())
        .output()
        .expect("cargo metadata runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}
