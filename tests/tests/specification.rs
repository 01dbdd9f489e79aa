//! docs/SPECIFICATION.md names tests that are there.

use std::fs;

use rctr_tests::workspace;

/// The text of `tests/tests/NAME`, be it a file or a directory.
fn source(name: &str) -> Option<String> {
    let dir = workspace().join("tests/tests");
    fs::read_to_string(dir.join(format!("{name}.rs")))
        .or_else(|_| fs::read_to_string(dir.join(name).join("main.rs")))
        .ok()
}

#[test]
fn every_test_it_names_exists() {
    let text = fs::read_to_string(workspace().join("docs/SPECIFICATION.md")).expect("a document");
    let named = text.split('`').skip(1).step_by(2);
    let mut wrong = Vec::new();
    let mut found = 0;
    for name in named {
        // Words in code's clothes are no tests.
        let exists = if name.contains(' ') {
            continue;
        } else if let Some((file, test)) = name.split_once("::") {
            let start = format!("fn {}", test.trim_end_matches('…'));
            source(file).is_some_and(|text| text.contains(&start))
        } else if let Some((file, module)) = name.split_once('/')
            && file == "survival"
        {
            workspace()
                .join(format!("tests/tests/{file}/{module}.rs"))
                .exists()
        } else if name.starts_with("crates/") {
            workspace().join(name).exists()
        } else {
            continue;
        };
        found += 1;
        if !exists {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "no such tests: {wrong:?}");
    assert!(found > 50, "only {found} tests are named");
}
