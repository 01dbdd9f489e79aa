use std::os::fd::AsFd;

use super::*;
use crate::files::{CopyRequest, SelectOptions, Source, copy};

fn open(location: &Location, dir: &Path) -> Result<Context> {
    std::fs::create_dir_all(dir.join("scratch")).unwrap();
    Context::open(location, &dir.join("store"), &dir.join("scratch"))
}

/// The names at the top that COPY would see.
fn names(context: &Context) -> Vec<String> {
    let to = tempfile::tempdir().unwrap();
    let selection = context
        .tree()
        .select(&["."], &SelectOptions::default())
        .unwrap();
    let sources = [Source::Selection(selection)];
    let request = CopyRequest::new(&sources, "/");
    copy(File::open(to.path()).unwrap().as_fd(), &request).unwrap();
    let mut names: Vec<String> = std::fs::read_dir(to.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn context_dir(dir: &Path) -> PathBuf {
    let context = dir.join("context");
    std::fs::create_dir_all(context.join("docker")).unwrap();
    for (name, text) in [
        ("Dockerfile", "FROM a"),
        (".dockerignore", "*.md\nDockerfile\n"),
        ("x.md", ""),
        ("y.txt", ""),
        ("docker/Dev", "FROM dev"),
        ("docker/Dev.dockerignore", "*.txt\n"),
    ] {
        std::fs::write(context.join(name), text).unwrap();
    }
    context
}

#[test]
fn a_directory_its_dockerfile_and_what_is_ignored() {
    let temp = tempfile::tempdir().unwrap();
    let location = Location::Directory(context_dir(temp.path()));
    let mut context = open(&location, temp.path()).unwrap();
    let (name, text) = context.dockerfile(&DockerfileLocation::Default).unwrap();
    assert_eq!((name.as_str(), text.as_str()), ("Dockerfile", "FROM a"));
    context.load_ignore(&name).unwrap();
    assert_eq!(names(&context), [".dockerignore", "docker", "y.txt"]);

    let mut context = open(&location, temp.path()).unwrap();
    let path = DockerfileLocation::Path("docker/Dev".into());
    let (name, text) = context.dockerfile(&path).unwrap();
    assert_eq!((name.as_str(), text.as_str()), ("docker/Dev", "FROM dev"));
    context.load_ignore(&name).unwrap();
    assert_eq!(
        names(&context),
        [".dockerignore", "Dockerfile", "docker", "x.md"]
    );

    let missing = context.dockerfile(&DockerfileLocation::Path("no/such".into()));
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .contains("open no/such: no such file")
    );
    let nowhere = open(&Location::Directory("/no/such".into()), temp.path());
    assert_eq!(
        nowhere.unwrap_err().to_string(),
        "unable to prepare context: path \"/no/such\" not found"
    );
}

#[test]
fn a_dockerfile_outside_with_its_own_dockerignore() {
    let temp = tempfile::tempdir().unwrap();
    let location = Location::Directory(context_dir(temp.path()));
    let file = temp.path().join("Other");
    std::fs::write(&file, "FROM other").unwrap();
    std::fs::write(temp.path().join("Other.dockerignore"), "docker\n").unwrap();
    let mut context = open(&location, temp.path()).unwrap();
    let (name, text) = context.dockerfile(&DockerfileLocation::Path(file)).unwrap();
    assert_eq!(text, "FROM other");
    context.load_ignore(&name).unwrap();
    assert_eq!(
        names(&context),
        [".dockerignore", "Dockerfile", "x.md", "y.txt"]
    );
}

#[test]
fn a_dockerignore_that_is_none_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let dir = context_dir(temp.path());
    let elsewhere = temp.path().join("Elsewhere");
    std::fs::write(&elsewhere, "FROM a").unwrap();
    std::fs::create_dir(temp.path().join("Elsewhere.dockerignore")).unwrap();
    let mut context = open(&Location::Directory(dir.clone()), temp.path()).unwrap();
    let named = DockerfileLocation::Path(elsewhere);
    let (name, _) = context.dockerfile(&named).unwrap();
    let error = context.load_ignore(&name).unwrap_err().to_string();
    assert!(error.ends_with("Elsewhere.dockerignore"), "{error}");

    std::fs::write(dir.join(".dockerignore"), "ok\n[a-\n").unwrap();
    let mut context = open(&Location::Directory(dir), temp.path()).unwrap();
    let (name, _) = context.dockerfile(&DockerfileLocation::Default).unwrap();
    let error = context.load_ignore(&name).unwrap_err().to_string();
    assert!(
        error.starts_with(".dockerignore: ") && error.contains("line 2"),
        "{error}"
    );
}

#[test]
fn a_stream_is_an_archive_or_a_dockerfile() {
    let temp = tempfile::tempdir().unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    builder
        .append_dir_all(".", context_dir(temp.path()))
        .unwrap();
    let tar = builder.into_inner().unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &tar).unwrap();
    let packed = encoder.finish().unwrap();
    for stream in [&tar[..], &packed[..]] {
        let mut context = Context::stream(stream, "standard input", temp.path()).unwrap();
        let (name, text) = context.dockerfile(&DockerfileLocation::Default).unwrap();
        assert_eq!(text, "FROM a");
        context.load_ignore(&name).unwrap();
        // As with BuildKit, only local directories have a .dockerignore.
        assert_eq!(
            names(&context),
            [".dockerignore", "Dockerfile", "docker", "x.md", "y.txt"]
        );
    }
    let mut context =
        Context::stream(&b"FROM scratch\n"[..], "standard input", temp.path()).unwrap();
    let (_, text) = context.dockerfile(&DockerfileLocation::Default).unwrap();
    assert_eq!(text, "FROM scratch\n");
    assert!(names(&context).is_empty());
    let error = Context::stream(&b"\x1f\x8b\x08 no gzip"[..], "standard input", temp.path());
    assert!(error.unwrap_err().to_string().contains("no tar archive"));
}

#[test]
fn hashes_are_kept_with_the_store() {
    let temp = tempfile::tempdir().unwrap();
    let location = Location::Directory(context_dir(temp.path()));
    let start = std::time::Instant::now();
    while start.elapsed().as_millis() < 40 {
        std::thread::yield_now();
    }
    let digest = || {
        let tree = open(&location, temp.path()).unwrap().tree();
        tree.select(&["."], &SelectOptions::default())
            .unwrap()
            .digest()
            .unwrap()
    };
    let first = digest();
    assert_eq!(
        std::fs::read_dir(temp.path().join("store/build/hashes"))
            .unwrap()
            .count(),
        1
    );
    assert_eq!(digest(), first);
}
