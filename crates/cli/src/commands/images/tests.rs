use super::*;
use crate::output::listing::write;

fn image(tags: &[&str], digests: &[&str]) -> ImageSummary {
    ImageSummary {
        id: format!("sha256:{}", "ab".repeat(32)),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        digests: digests.iter().map(|digest| (*digest).to_owned()).collect(),
        created: "2026-11-18T12:00:00Z".to_owned(),
        size: 4_261_502,
        labels: [("maintainer".to_owned(), "me".to_owned())].into(),
        user: String::new(),
    }
}

fn digest() -> String {
    format!("sha256:{}", "0".repeat(64))
}

#[test]
fn names_by_tag_and_by_digest() {
    let by_digest = format!("docker.io/library/busybox@{}", digest());
    let both = names(&image(&["docker.io/library/busybox:latest"], &[&by_digest]));
    assert_eq!(
        both,
        [Name {
            repository: "busybox".into(),
            tag: "latest".into(),
            digest: digest()
        }]
    );
    let untagged = names(&image(&[], &[&by_digest]));
    assert_eq!(
        (untagged[0].repository.as_str(), untagged[0].tag.as_str()),
        ("busybox", NONE)
    );
    assert_eq!(names(&image(&[], &[])), [Name::none()]);
    let local = names(&image(&["localhost:5000/a/b:v1"], &[]));
    assert_eq!(
        (local[0].repository.as_str(), local[0].tag.as_str()),
        ("localhost:5000/a/b", "v1")
    );
}

#[test]
fn a_table() {
    let image = image(&["docker.io/library/busybox:latest"], &[]);
    let view = View {
        truncate: true,
        digests: false,
        now: "2026-11-21T12:00:00Z".parse().unwrap(),
    };
    let mut out = Vec::new();
    let rows = [view.row(&image, &names(&image)[0])];
    write(
        &mut out,
        KIND,
        &rows,
        &Layout::new(false, None, &TABLE, RAW),
    )
    .unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "REPOSITORY   TAG       IMAGE ID       CREATED      SIZE\n\
         busybox      latest    abababababab   3 days ago   4.26MB\n"
    );
}

#[test]
fn filters() {
    let passes = |filters: &[&str], pattern: Option<&str>| {
        let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let created = |_: &str| Ok("2026-11-19T00:00:00Z".to_owned());
        Filter::parse_with("images", &filters, pattern, created)
            .map(|filter| filter.matches(&image(&["docker.io/library/busybox:1.36"], &[])))
    };
    for (filters, pattern, expected) in [
        (&["dangling=false"][..], None, true),
        (&["dangling=true"], None, false),
        (&["label=maintainer"], None, true),
        (&["label=maintainer=you"], None, false),
        (&["before=x"], None, true),
        (&["since=x"], None, false),
        (&["reference=busy*"], None, true),
        (&["reference=*:1.36"], None, true),
        (&["reference=alpine", "reference=busybox"], None, true),
        (&[], Some("busybox"), true),
        (&[], Some("busybox:1.36"), true),
        (&[], Some("docker.io/library/busybox"), true),
        (&[], Some("busybox:latest"), false),
        (&[], Some("busy"), false),
    ] {
        assert_eq!(
            passes(filters, pattern).unwrap(),
            expected,
            "{filters:?} {pattern:?}"
        );
    }
    assert_eq!(
        passes(&["colour=red"], None).unwrap_err().text(),
        "invalid filter 'colour'"
    );
    assert!(passes(&["dangling=maybe"], None).is_err());
}

#[test]
fn globs() {
    assert!(
        glob("a*c", "abbc") && glob("a?c", "abc") && glob("[a-c]x", "bx") && glob("[^a]x", "bx")
    );
    assert!(!glob("a*c", "a/c") && !glob("*", "a/b") && !glob("[a-c]x", "dx") && !glob("a", "ab"));
}
