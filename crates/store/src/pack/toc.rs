//! The table of contents of an eStargz archive.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oci_spec::image::Digest;
use serde::Serialize;

use crate::untar::{Kind, Member};

/// A member of the archive, or a further chunk of a file's data.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_name: Option<String>,
    mode: u32,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dev_major: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dev_minor: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_digest: Option<String>,
    /// The block that has the data; it becomes an offset.
    #[serde(skip)]
    block: Option<usize>,
}

/// Where a piece of a file is.
pub(super) struct Data {
    pub block: usize,
    /// Where in the file it begins.
    pub at: u64,
    /// How long it is, unless it is the last.
    pub size: Option<u64>,
    pub digest: Digest,
}

#[derive(Serialize)]
struct Toc {
    version: u32,
    entries: Vec<Entry>,
}

/// The document, once it is known at which offset each block begins.
pub(super) fn document(
    mut entries: Vec<Entry>,
    offsets: &[u64],
) -> Result<Vec<u8>, serde_json::Error> {
    for entry in &mut entries {
        entry.offset = entry.block.and_then(|block| offsets.get(block)).copied();
    }
    serde_json::to_vec(&Toc {
        version: 1,
        entries,
    })
}

impl Entry {
    pub fn of(member: &Member) -> Entry {
        let attributes = &member.attributes;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let kind = match member.kind {
            Kind::File => "reg",
            Kind::Directory => "dir",
            Kind::HardLink => "hardlink",
            Kind::Symlink => "symlink",
            Kind::CharDevice(..) => "char",
            Kind::BlockDevice(..) => "block",
            Kind::Fifo => "fifo",
        };
        let links = matches!(member.kind, Kind::HardLink | Kind::Symlink);
        let device = match member.kind {
            Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) => {
                Some((major, minor))
            }
            _ => None,
        };
        let xattrs = attributes.xattrs.iter();
        Entry {
            size: (member.stored > 0).then_some(member.stored),
            modtime: time(attributes.mtime.tv_sec),
            link_name: links.then(|| text(&member.link)),
            uid: attributes.uid,
            gid: attributes.gid,
            dev_major: device.map(|(major, _)| major),
            dev_minor: device.map(|(_, minor)| minor),
            xattrs: xattrs
                .map(|(name, value)| (text(name), BASE64_STANDARD.encode(value)))
                .collect(),
            ..Entry::new(text(&member.name), kind, attributes.mode)
        }
    }

    /// A file of root's without a time.
    pub fn file(name: &str, mode: u32, size: u64) -> Entry {
        Entry {
            size: Some(size),
            ..Entry::new(name.to_owned(), "reg", mode)
        }
    }

    /// A further chunk of a file.
    pub fn chunk(file: &Entry, data: Data) -> Entry {
        let mut chunk = Entry {
            uid: file.uid,
            gid: file.gid,
            ..Entry::new(file.name.clone(), "chunk", file.mode)
        };
        chunk.chunk_offset = Some(data.at);
        chunk.data(data);
        chunk
    }

    /// Where its first bytes are.
    pub fn data(&mut self, data: Data) {
        self.block = Some(data.block);
        self.chunk_size = data.size;
        self.chunk_digest = Some(data.digest.to_string());
    }

    /// The digest of all of the file.
    pub fn whole(&mut self, digest: Digest) {
        self.digest = Some(digest.to_string());
    }

    fn new(name: String, kind: &'static str, mode: u32) -> Entry {
        Entry {
            name,
            kind,
            size: None,
            modtime: None,
            link_name: None,
            mode,
            uid: 0,
            gid: 0,
            offset: None,
            dev_major: None,
            dev_minor: None,
            xattrs: BTreeMap::new(),
            digest: None,
            chunk_offset: None,
            chunk_size: None,
            chunk_digest: None,
            block: None,
        }
    }
}

/// RFC 3339, in UTC; the beginning of 1970 stands for no time.
fn time(seconds: i64) -> Option<String> {
    if seconds == 0 {
        return None;
    }
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years begin in March, so that leap days are at their ends; 400 of them are an era (146,097 days).
    let day = days + 719_468;
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let (month, day) = (
        if march < 10 { march + 3 } else { march - 9 },
        day - (153 * march + 2) / 5 + 1,
    );
    let year = year + era * 400 + i64::from(month <= 2);
    if !(0..=9999).contains(&year) {
        return None;
    }
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    let second = second % 60;
    Some(format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        for (seconds, expected) in [
            (1, "1970-01-01T00:00:01Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(time(seconds).as_deref(), Some(expected));
        }
        assert_eq!(time(0), None);
        assert_eq!(time(i64::MAX / 2), None);
    }
}
