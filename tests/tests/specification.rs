//! docs/SPECIFICATION.md names tests that are there.

use std::fs;

use rctr_tests::workspace;

/// The texts of a test file of that name: of `tests/tests`, where it may be a directory, and of the runtime's own.
fn sources(name: &str) -> Vec<String> {
    let mut paths = vec![
        workspace().join(format!("tests/tests/{name}.rs")),
        workspace().join(format!("crates/runtime/tests/{name}.rs")),
    ];
    if let Ok(files) = fs::read_dir(workspace().join(format!("tests/tests/{name}"))) {
        paths.extend(files.flatten().map(|file| file.path()));
    }
    let texts = paths.into_iter().map(fs::read_to_string);
    texts.flatten().collect()
}

#[test]
fn every_test_it_names_exists() {
    let text = fs::read_to_string(workspace().join("docs/SPECIFICATION.md")).expect("a document");
    let named = text.split('`').skip(1).step_by(2);
    let mut wrong = Vec::new();
    let mut found = 0;
    let mut last_file = "";
    for name in named {
        // Words in code's clothes are no tests.
        let exists = if name.contains([' ', '*']) {
            continue;
        } else if let Some((file, test)) = name.split_once("::") {
            // `…::test` is in the file that was named before it.
            if file != "…" {
                last_file = file;
            }
            let start = format!("fn {}", test.trim_end_matches('…'));
            sources(last_file).iter().any(|text| text.contains(&start))
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
