//! Which packages a root file system says it has: of dpkg, apk, rpm, pip and npm, and what programs of Go and Rust were
//! linked from. What cannot be read is not there.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2};
use serde::Deserialize;

use super::{encoded, programs, rpm};

/// No list of installed packages is larger.
const MAX_LIST: u64 = 64 << 20;
/// Nor what one package says of itself.
const MAX_OWN: u64 = 4 << 20;
const MAX_DEPTH: usize = 64;

/// A package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) purl: String,
    /// The file that tells of it.
    pub(super) found_in: String,
}

/// All of them, each once.
pub(super) fn find(root: BorrowedFd<'_>) -> Vec<Package> {
    let mut finder = Finder {
        distribution: distribution(root),
        found: BTreeMap::new(),
    };
    for path in ["var/lib/dpkg/status", "usr/lib/opkg/status"] {
        finder.dpkg(read(root, path, MAX_LIST), path, true);
    }
    // Images without a package manager have a file for each.
    let single = "var/lib/dpkg/status.d";
    for name in names(root, single) {
        let path = format!("{single}/{name}");
        finder.dpkg(read(root, &path, MAX_OWN), &path, false);
    }
    for path in ["lib/apk/db/installed", "usr/lib/apk/db/installed"] {
        finder.apk(read(root, path, MAX_LIST), path);
    }
    for path in [
        "var/lib/rpm/rpmdb.sqlite",
        "usr/lib/sysimage/rpm/rpmdb.sqlite",
    ] {
        finder.rpm(open(root, path, OFlags::empty()), path);
    }
    // A mount's own descriptor cannot be listed.
    if let Some(root) = open(root, ".", OFlags::DIRECTORY) {
        finder.walk(root.as_fd(), "", MAX_DEPTH);
    }
    finder.found.into_values().collect()
}

struct Finder {
    /// `debian`, `alpine` and so on.
    distribution: String,
    /// By package URL.
    found: BTreeMap<String, Package>,
}

impl Finder {
    fn add(&mut self, purl: String, name: &str, version: &str, found_in: &str) {
        if !name.is_empty() && !version.is_empty() {
            self.found.entry(purl.clone()).or_insert_with(|| Package {
                name: name.to_owned(),
                version: version.to_owned(),
                purl,
                found_in: format!("/{found_in}"),
            });
        }
    }

    fn dpkg(&mut self, text: Option<String>, path: &str, says_status: bool) {
        for paragraph in text.unwrap_or_default().split("\n\n") {
            let get = |name| field(paragraph, name).unwrap_or_default();
            if says_status && !get("Status").ends_with(" installed") {
                continue;
            }
            let (name, version) = (get("Package"), get("Version"));
            let purl = format!(
                "pkg:deb/{}/{}@{}?arch={}",
                self.distribution,
                encoded(name),
                encoded(version),
                encoded(get("Architecture"))
            );
            self.add(purl, name, version, path);
        }
    }

    fn apk(&mut self, text: Option<String>, path: &str) {
        for paragraph in text.unwrap_or_default().split("\n\n") {
            let get = |name| {
                let mut lines = paragraph.lines();
                lines
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap_or_default()
            };
            let (name, version) = (get("P:"), get("V:"));
            let purl = format!(
                "pkg:apk/{}/{}@{}?arch={}",
                self.distribution,
                encoded(name),
                encoded(version),
                encoded(get("A:"))
            );
            self.add(purl, name, version, path);
        }
    }

    fn rpm(&mut self, database: Option<OwnedFd>, path: &str) {
        let database = database.map(File::from);
        for package in database.iter().flat_map(rpm::packages) {
            let version = format!("{}-{}", package.version, package.release);
            let purl = format!(
                "pkg:rpm/{}/{}@{}?arch={}{}",
                self.distribution,
                encoded(&package.name),
                encoded(&version),
                encoded(&package.arch),
                package
                    .epoch
                    .map_or(String::new(), |epoch| format!("&epoch={epoch}")),
            );
            self.add(purl, &package.name, &version, path);
        }
    }

    fn program(&mut self, dir: BorrowedFd<'_>, file: &CStr, path: &str) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = openat(dir, file, flags, Mode::empty()).map(File::from);
        let Ok(program) = opened else { return };
        let is_program = program
            .metadata()
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
        if !is_program {
            return;
        }
        for (kind, name, version) in programs::parts(program) {
            let parts: Vec<String> = name.split('/').map(encoded).collect();
            let purl = format!("pkg:{kind}/{}@{}", parts.join("/"), encoded(&version));
            self.add(purl, &name, &version, path);
        }
    }

    fn python(&mut self, dir: BorrowedFd<'_>, file: &str, path: &str) {
        let Some(text) = read(dir, file, MAX_OWN) else {
            return;
        };
        let head = text.split("\n\n").next().unwrap_or_default();
        let get = |name| field(head, name).unwrap_or_default();
        let (name, version) = (get("Name"), get("Version"));
        let normal = name.to_ascii_lowercase().replace('_', "-");
        let purl = format!("pkg:pypi/{}@{}", encoded(&normal), encoded(version));
        self.add(purl, name, version, &format!("{path}/{file}"));
    }

    fn npm(&mut self, dir: BorrowedFd<'_>, path: &str) {
        #[derive(Deserialize)]
        struct Own {
            name: String,
            version: String,
        }
        const FILE: &str = "package.json";
        let text = read(dir, FILE, MAX_OWN).unwrap_or_default();
        let Ok(own) = serde_json::from_str::<Own>(&text) else {
            return;
        };
        let name: Vec<String> = own.name.split('/').map(encoded).collect();
        let purl = format!("pkg:npm/{}@{}", name.join("/"), encoded(&own.version));
        self.add(purl, &own.name, &own.version, &format!("{path}/{FILE}"));
    }

    fn walk(&mut self, dir: BorrowedFd<'_>, path: &str, depth: usize) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.ends_with(".dist-info") {
            return self.python(dir, "METADATA", path);
        }
        if name.ends_with(".egg-info") {
            return self.python(dir, "PKG-INFO", path);
        }
        let of_scope = |parent: &str| {
            let (above, scope) = parent.rsplit_once('/').unwrap_or(("", parent));
            scope.starts_with('@') && above.ends_with("node_modules")
        };
        if parent.ends_with("node_modules") || of_scope(parent) {
            self.npm(dir, path);
        }
        let Some(depth) = depth.checked_sub(1) else {
            return;
        };
        let Ok(entries) = Dir::read_from(dir) else {
            return;
        };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            let hidden = path.is_empty() && matches!(name, "proc" | "sys" | "dev");
            if matches!(name, "." | "..") || hidden {
                continue;
            }
            let below_path = match path {
                "" => name.to_owned(),
                path => format!("{path}/{name}"),
            };
            match entry.file_type() {
                FileType::Directory => {
                    if let Some(below) = open_below(dir, entry.file_name()) {
                        self.walk(below.as_fd(), &below_path, depth);
                    }
                }
                FileType::RegularFile => self.program(dir, entry.file_name(), &below_path),
                _ => {}
            }
        }
    }
}

fn open_below(dir: BorrowedFd<'_>, name: &CStr) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty()).ok()
}

/// A file, links in it followed as if `root` were the root of everything.
fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | flags;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), resolve).ok()
}

fn read(root: BorrowedFd<'_>, path: &str, limit: u64) -> Option<String> {
    let file = File::from(open(root, path, OFlags::empty())?);
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.len() > limit {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn names(root: BorrowedFd<'_>, path: &str) -> Vec<String> {
    let dir = open(root, path, OFlags::DIRECTORY);
    let entries = dir.and_then(|dir| Dir::read_from(&dir).ok());
    let entries = entries.into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
    // Checksums lie beside them.
    names
        .filter(|name| {
            !name.starts_with('.') && Path::new(name).extension() != Some("md5sums".as_ref())
        })
        .collect()
}

/// The value of `Name: value`.
fn field<'t>(paragraph: &'t str, name: &str) -> Option<&'t str> {
    let mut lines = paragraph.lines();
    lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

fn distribution(root: BorrowedFd<'_>) -> String {
    let known = ["etc/os-release", "usr/lib/os-release"];
    let text = known.iter().find_map(|path| read(root, path, MAX_OWN));
    let text = text.unwrap_or_default();
    let id = text.lines().find_map(|line| line.strip_prefix("ID="));
    let id = id.map(|id| id.trim_matches(['"', '\'']));
    encoded(id.filter(|id| !id.is_empty()).unwrap_or("linux"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn each_manager_s_packages_are_found_and_nothing_outside() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("etc/os-release", "NAME=x\nID=debian\n");
        put(
            "var/lib/dpkg/status",
            "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u1\n\n\
             Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n",
        );
        put(
            "var/lib/dpkg/status.d/tzdata",
            "Package: tzdata\nVersion: 1:2024a\nArchitecture: all\n",
        );
        put(
            "lib/apk/db/installed",
            "C:x\nP:musl\nV:1.2.5-r0\nA:x86_64\n\n",
        );
        put(
            "usr/lib/python3/site-packages/Flask_Cors-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: Flask_Cors\nVersion: 1.0\n\nName: text\n",
        );
        put(
            "app/node_modules/@a/b/package.json",
            r#"{"name":"@a/b","version":"1.0.0"}"#,
        );
        put(
            "app/node_modules/@a/b/node_modules/c/package.json",
            r#"{"name":"c","version":"2.0.0"}"#,
        );
        put("app/package.json", r#"{"name":"own","version":"0.1.0"}"#);
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir(outside.path().join("x-1.dist-info")).unwrap();
        fs::write(
            outside.path().join("x-1.dist-info/METADATA"),
            "Name: x\nVersion: 1\n",
        )
        .unwrap();
        symlink(outside.path(), dir.path().join("usr/link")).unwrap();

        let root = File::open(dir.path()).unwrap();
        let found = find(root.as_fd());
        let purls: Vec<&str> = found.iter().map(|package| &*package.purl).collect();
        assert_eq!(
            purls,
            [
                "pkg:apk/debian/musl@1.2.5-r0?arch=x86_64",
                "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64",
                "pkg:deb/debian/tzdata@1%3A2024a?arch=all",
                "pkg:npm/%40a/b@1.0.0",
                "pkg:npm/c@2.0.0",
                "pkg:pypi/flask-cors@1.0",
            ]
        );
        assert_eq!(found[1].found_in, "/var/lib/dpkg/status");
    }
}
