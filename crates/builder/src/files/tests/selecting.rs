use super::*;

#[test]
fn wildcards_match_one_component_and_nothing_is_no_error() {
    let lab = Lab::new();
    for path in [
        "a.py",
        "b.py",
        "c.txt",
        "sub/d.py",
        "sub/deep/e.py",
        "[x]",
        ".hidden.py",
    ] {
        lab.file(&format!("from/{path}"), path);
    }
    for (word, expected) in [
        ("*.py", &["a.py", "b.py", ".hidden.py"][..]),
        ("?.py", &["a.py", "b.py"]),
        ("*/*.py", &["d.py"]),
        ("s*b/deep/*", &["e.py"]),
        ("[[]x]", &["[x]"]),
        ("*.none", &[]),
        ("[", &[]),
        ("a.py/*", &[]),
    ] {
        let lab2 = Lab::new();
        let selection = lab
            .context()
            .select(&[word], &SelectOptions::default())
            .unwrap();
        assert_eq!(selection.is_empty(), expected.is_empty(), "{word}");
        lab2.place(selection, "/", |_| {}).unwrap();
        let mut found: Vec<String> = fs::read_dir(lab2.at("to"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        let mut expected: Vec<String> = expected.iter().map(|s| (*s).to_owned()).collect();
        expected.sort();
        assert_eq!(found, expected, "{word}");
    }
    lab.copy(&["s*"], "/dirs").unwrap();
    assert_eq!(
        lab.list("to/dirs"),
        [
            "d.py 644 0:0 sub/d.py",
            "deep/ 755 0:0",
            "deep/e.py 644 0:0 sub/deep/e.py"
        ]
    );
}

#[test]
fn sources_never_leave_the_context() {
    let lab = Lab::new();
    lab.file("from/f", "in")
        .file("outside", "out")
        .link("from/climb", "../outside");
    lab.link("from/absolute", "/f");
    lab.copy(&["../f", "/f", "../../f", "absolute"], "/x/")
        .unwrap();
    assert_eq!(lab.list("to/x"), ["absolute 644 0:0 in", "f 644 0:0 in"]);
    for word in ["../outside", "climb", "/../outside"] {
        assert!(
            message(lab.copy(&[word], "/y/")).ends_with("not found"),
            "{word}"
        );
    }
}

#[test]
fn a_miss_names_what_is_nearly_there() {
    let lab = Lab::new();
    lab.file("from/requirements.txt", "")
        .file("from/src/main.py", "")
        .file("from/secret.key", "");
    let miss = |word: &str| {
        message(
            lab.ignoring("secret.*\n")
                .select(&[word], &SelectOptions::default()),
        )
    };
    assert_eq!(
        miss("requirement.txt"),
        "\"/requirement.txt\": not found: did you mean \"/requirements.txt\"?"
    );
    assert_eq!(
        miss("src/Main.py"),
        "\"/src/Main.py\": not found: did you mean \"/src/main.py\"?"
    );
    assert_eq!(
        miss("scr/main.py"),
        "\"/scr/main.py\": not found: did you mean \"/src\"?"
    );
    assert_eq!(miss("entirely-else"), "\"/entirely-else\": not found");
    assert_eq!(
        miss("secret.key"),
        "\"/secret.key\": not found: excluded by .dockerignore"
    );
    assert_eq!(miss("secret.kex"), "\"/secret.kex\": not found");
    assert_eq!(miss("nosuch/*.py"), "\"/nosuch\": not found");
    assert_eq!(
        miss("requirements.txt/x"),
        "\"/requirements.txt/x\": not found"
    );
}

#[test]
fn dockerignore_hides_from_every_way_of_naming() {
    let lab = Lab::new();
    for path in [
        "a.md",
        "b.txt",
        "node_modules/x/i.js",
        "docs/keep.md",
        "docs/drop.md",
        "sub/node_modules/j.js",
    ] {
        lab.file(&format!("from/{path}"), "1");
    }
    lab.link("from/alias.txt", "a.md").dir("from/empty");
    let tree = lab.ignoring("*.md\nnode_modules\ndocs\n!docs/keep.md\n");
    lab.run(&tree, &["."], "/all", |_| {}).unwrap();
    assert_eq!(
        lab.list("to/all"),
        [
            "alias.txt -> a.md 0:0",
            "b.txt 644 0:0 1",
            "docs/ 755 0:0",
            "docs/keep.md 644 0:0 1",
            "empty/ 755 0:0",
            "sub/ 755 0:0",
            "sub/node_modules/ 755 0:0",
            "sub/node_modules/j.js 644 0:0 1",
        ]
    );
    lab.run(&tree, &["*.md", "node*"], "/none/", |_| {})
        .unwrap();
    assert!(!lab.at("to/none").exists());
    lab.run(&tree, &["docs"], "/docs", |_| {}).unwrap();
    assert_eq!(lab.list("to/docs"), ["keep.md 644 0:0 1"]);
    for word in [
        "a.md",
        "node_modules",
        "node_modules/x/i.js",
        "alias.txt",
        "docs/drop.md",
    ] {
        let miss = message(tree.select(&[word], &SelectOptions::default()));
        assert!(
            miss.ends_with("not found: excluded by .dockerignore"),
            "{word}: {miss}"
        );
    }
    assert_eq!(tree.read("a.md", 10).unwrap().unwrap(), b"1");
}

#[test]
fn exclude_is_for_what_is_in_directories_not_for_what_a_word_names() {
    let lab = Lab::new();
    for path in [
        "a.txt",
        "b.md",
        "d/a.txt",
        "d/b.md",
        "d/sub/a.txt",
        "d/sub/b.md",
        "d/out/x",
    ] {
        lab.file(&format!("from/{path}"), "1");
    }
    let options = |patterns: &[&str]| SelectOptions {
        exclude: patterns.iter().map(|p| (*p).to_owned()).collect(),
        ..SelectOptions::default()
    };
    let run = |words: &[&str], patterns: &[&str], to| {
        lab.run_with(&lab.context(), words, &options(patterns), to, |_| {})
            .unwrap();
    };
    run(&["*.txt", "b.md"], &["*.txt", "*.md"], "/named/");
    assert_eq!(lab.list("to/named"), ["a.txt 644 0:0 1", "b.md 644 0:0 1"]);
    run(&["d"], &["*.txt", "out"], "/top");
    assert_eq!(
        lab.list("to/top"),
        [
            "b.md 644 0:0 1",
            "sub/ 755 0:0",
            "sub/a.txt 644 0:0 1",
            "sub/b.md 644 0:0 1"
        ]
    );
    run(&["d"], &["**/*.txt", "out"], "/deep");
    assert_eq!(
        lab.list("to/deep"),
        ["b.md 644 0:0 1", "sub/ 755 0:0", "sub/b.md 644 0:0 1"]
    );
    run(&["d"], &["*", "!sub/b.md"], "/but");
    assert_eq!(lab.list("to/but"), ["sub/ 755 0:0", "sub/b.md 644 0:0 1"]);
    let bad = lab.context().select(&["d"], &options(&["[a-"]));
    assert!(message(bad).contains("[a-"));
}

#[test]
fn parents_keeps_paths_from_the_pivot_on() {
    let lab = Lab::new();
    for path in ["x/a.txt", "x/b.md", "y/z/c.txt", "y/z/d.txt"] {
        lab.file(&format!("from/{path}"), "1");
    }
    lab.mode("from/y", 0o700).own("from/y", 3, 3);
    let options = SelectOptions {
        parents: true,
        ..SelectOptions::default()
    };
    let run = |words: &[&str], to: &str| {
        lab.run_with(&lab.context(), words, &options, to, |_| {})
            .map(|()| lab.list(&format!("to{to}")))
    };
    assert_eq!(
        run(&["x/a.txt", "y/z/*.txt"], "/p").unwrap(),
        [
            "x/ 755 0:0",
            "x/a.txt 644 0:0 1",
            "y/ 700 0:0",
            "y/z/ 755 0:0",
            "y/z/c.txt 644 0:0 1",
            "y/z/d.txt 644 0:0 1"
        ]
    );
    assert_eq!(
        run(&["y/./z/c.txt"], "/q").unwrap(),
        ["z/ 755 0:0", "z/c.txt 644 0:0 1"]
    );
    assert_eq!(
        run(&["./y/./z"], "/r").unwrap(),
        ["z/ 755 0:0", "z/c.txt 644 0:0 1", "z/d.txt 644 0:0 1"]
    );
    assert_eq!(
        run(&["**/*.md"], "/s").unwrap(),
        ["x/ 755 0:0", "x/b.md 644 0:0 1"]
    );
    assert_eq!(
        run(&["x/./"], "/t").unwrap(),
        ["a.txt 644 0:0 1", "b.md 644 0:0 1"]
    );
    assert_eq!(message(run(&["x/none"], "/u")), "\"/x/none\": not found");
}
