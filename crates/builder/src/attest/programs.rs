//! What programs say of what they were linked from: the build information of Go, and the list that `cargo auditable` puts
//! into Rust's.

use std::fs::File;
use std::io::Read;

use flate2::read::ZlibDecoder;
use object::{Object, ObjectSection, ReadCache};
use serde::Deserialize;

/// No list is longer.
const MAX_LIST: u64 = 8 << 20;
/// What Go's section begins with.
const GO_MAGIC: &[u8] = b"\xff Go buildinf:";
/// Where its strings begin, if they are in the section itself: since Go 1.18.
const GO_STRINGS: usize = 32;
const GO_INLINE: u8 = 2;
/// Marks around the list of modules.
const GO_MARK: usize = 16;

/// A module or crate: kind of its package URL, name, version.
pub(super) type Part = (&'static str, String, String);

/// What a program was made of, as far as it says so.
pub(super) fn parts(program: File) -> Vec<Part> {
    let cache = ReadCache::new(program);
    let Ok(file) = object::File::parse(&cache) else {
        return Vec::new();
    };
    let section = |name: &str| {
        let section = file.section_by_name(name)?;
        if section.size() > MAX_LIST {
            return None;
        }
        section.data().ok()
    };
    let go = section(".go.buildinfo").and_then(of_go);
    let rust = section(".dep-v0").and_then(of_rust);
    go.into_iter().chain(rust).flatten().collect()
}

fn of_go(section: &[u8]) -> Option<Vec<Part>> {
    let flags = *section.strip_prefix(GO_MAGIC)?.get(1)?;
    if flags & GO_INLINE == 0 {
        return None;
    }
    let mut rest = section.get(GO_STRINGS..)?;
    let version = string(&mut rest)?;
    let modules = string(&mut rest)?;
    let end = modules.len().checked_sub(GO_MARK);
    let modules = end.and_then(|end| modules.get(GO_MARK..end));
    let modules = String::from_utf8_lossy(modules.unwrap_or_default());
    let go = |name: &str, version: &str| ("golang", name.to_owned(), version.to_owned());
    let version = String::from_utf8_lossy(version);
    let mut found = vec![go("stdlib", version.strip_prefix("go")?)];
    for line in modules.lines() {
        let mut fields = line.split('\t');
        let kind = fields.next();
        let (Some(name), Some(version)) = (fields.next(), fields.next()) else {
            continue;
        };
        match kind {
            Some("mod" | "dep") => found.push(go(name, version)),
            // It takes the place of the one above.
            Some("=>") => {
                found.pop();
                found.push(go(name, version));
            }
            _ => {}
        }
    }
    // A program built in its own repository has no version.
    found.retain(|(_, _, version)| version != "(devel)");
    Some(found)
}

/// A string with its length before it, as Go's `binary.PutUvarint` writes that.
fn string<'t>(rest: &mut &'t [u8]) -> Option<&'t [u8]> {
    let mut length = 0usize;
    for shift in (0..).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let bits = usize::from(byte & 0x7f).checked_shl(shift)?;
        length = length.checked_add(bits)?;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(text)
}

fn of_rust(section: &[u8]) -> Option<Vec<Part>> {
    #[derive(Deserialize)]
    struct List {
        packages: Vec<Crate>,
    }
    #[derive(Deserialize)]
    struct Crate {
        name: String,
        version: String,
        #[serde(default)]
        kind: Option<String>,
    }
    let unpacked = ZlibDecoder::new(section).take(MAX_LIST);
    let list: List = serde_json::from_reader(unpacked).ok()?;
    // What only the build needed is not in the program.
    let linked = list
        .packages
        .into_iter()
        .filter(|c| c.kind.as_deref() != Some("build"));
    Some(linked.map(|c| ("cargo", c.name, c.version)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A program with one section, as small as can be.
    fn elf(name: &str, content: &[u8]) -> File {
        let names = format!("\0{name}\0.shstrtab\0");
        let at_names = 64 + content.len();
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        bytes.extend([2, 0, 62, 0, 1, 0, 0, 0]);
        bytes.extend([0; 16]);
        bytes.extend(((at_names + names.len()) as u64).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend([64u8, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
        bytes.extend(content);
        bytes.extend(names.as_bytes());
        let mut section = |name: u32, kind: u32, at: usize, size: usize| {
            bytes.extend(name.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 16]);
            bytes.extend((at as u64).to_le_bytes());
            bytes.extend((size as u64).to_le_bytes());
            bytes.extend([0; 24]);
        };
        section(0, 0, 0, 0);
        section(1, 1, 64, content.len());
        section(2 + name.len() as u32, 3, at_names, names.len());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    fn go_section(modules: &str) -> Vec<u8> {
        let mut section = GO_MAGIC.to_vec();
        section.extend([8, GO_INLINE]);
        section.resize(GO_STRINGS, 0);
        section.push(8);
        section.extend(b"go1.22.1");
        let length = modules.len() + 2 * GO_MARK;
        section.extend([(length & 0x7f) as u8 | 0x80, (length >> 7) as u8]);
        section.extend([b'<'; GO_MARK]);
        section.extend(modules.as_bytes());
        section.extend([b'>'; GO_MARK]);
        section
    }

    fn shown(parts: Vec<Part>) -> Vec<String> {
        let shown = parts
            .iter()
            .map(|(kind, name, version)| format!("{kind} {name} {version}"));
        shown.collect()
    }

    #[test]
    fn programs_tell_of_their_parts() {
        let modules = "path\tme/app\nmod\tme/app\t(devel)\t\ndep\tgithub.com/a/b\tv1.2.3\th1:x=\n\
                       dep\told/c\tv1.0.0\n=>\tnew/c\tv1.1.0\th1:y=\nbuild\t-ldflags\t\"-s\"\n";
        let section = go_section(modules);
        let expected = [
            "golang stdlib 1.22.1",
            "golang github.com/a/b v1.2.3",
            "golang new/c v1.1.0",
        ];
        assert_eq!(shown(parts(elf(".go.buildinfo", &section))), expected);

        let list = r#"{"packages":[{"name":"app","version":"0.1.0","source":"local","root":true},
                       {"name":"cc","version":"1.0.0","source":"crates.io","kind":"build"},
                       {"name":"serde","version":"1.0.200","source":"crates.io"}]}"#;
        let mut packed =
            flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(list.as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        let expected = ["cargo app 0.1.0", "cargo serde 1.0.200"];
        assert_eq!(shown(parts(elf(".dep-v0", &packed))), expected);
    }

    #[test]
    fn what_is_damaged_says_nothing() {
        let section = go_section("dep\ta/b\tv1\n");
        for length in 0..section.len() {
            let found = parts(elf(".go.buildinfo", &section[..length]));
            assert!(found.is_empty(), "{length}: {found:?}");
        }
        let mut endless = section[..GO_STRINGS].to_vec();
        endless.extend([0xff; 64]);
        assert!(parts(elf(".go.buildinfo", &endless)).is_empty());
        assert!(parts(elf(".dep-v0", b"no zlib")).is_empty());
        assert!(parts(elf(".text", b"")).is_empty());
        assert!(parts(tempfile::tempfile().unwrap()).is_empty());
    }
}
