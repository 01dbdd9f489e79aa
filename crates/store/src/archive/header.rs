//! Headers of members: ustar, with a PAX extended header before it where ustar's fields are too small (POSIX.1-2024,
//! pax). The same member always gives the same bytes.

/// Size of a block of an archive in bytes.
pub(super) const BLOCK: usize = 512;

/// Type flags of ustar.
pub(super) mod kind {
    pub const FILE: u8 = b'0';
    pub const HARD_LINK: u8 = b'1';
    pub const SYMLINK: u8 = b'2';
    pub const CHAR_DEVICE: u8 = b'3';
    pub const BLOCK_DEVICE: u8 = b'4';
    pub const DIRECTORY: u8 = b'5';
    pub const FIFO: u8 = b'6';
    pub const EXTENDED: u8 = b'x';
}

/// What is said of a member before its data.
#[derive(Default)]
pub(super) struct Header<'a> {
    /// Relative to the root; that of a directory ends with a slash.
    pub name: &'a [u8],
    /// Target of a link.
    pub link: &'a [u8],
    pub kind: u8,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Size of the data that follows, in bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Major and minor number.
    pub device: (u32, u32),
    /// In the order they are to be written.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

impl Header<'_> {
    /// Appends the header's blocks.
    pub fn write(&self, to: &mut Vec<u8>) {
        let records = self.records();
        if !records.is_empty() {
            let (dir, base) = parent_and_base(self.name);
            let extended = Header {
                name: &[dir, b"PaxHeaders.0/", base].concat(),
                kind: kind::EXTENDED,
                size: records.len() as u64,
                ..Header::default()
            };
            extended.block(to);
            to.extend_from_slice(&records);
            pad(to, records.len() as u64);
        }
        self.block(to);
    }

    /// The PAX records, sorted by their keys; empty if ustar has room for everything.
    fn records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        for (name, value) in self.xattrs {
            record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        number(&mut records, "gid", self.gid.into(), 7);
        name(&mut records, "linkpath", self.link);
        number(&mut records, "mtime", self.mtime.into(), 11);
        name(&mut records, "path", self.name);
        number(&mut records, "size", self.size.into(), 11);
        number(&mut records, "uid", self.uid.into(), 7);
        records
    }

    fn block(&self, to: &mut Vec<u8>) {
        let start = to.len();
        to.resize(start + BLOCK, 0);
        let block = &mut to[start..];
        text(&mut block[0..100], self.name);
        octal(&mut block[100..108], self.mode.into());
        octal(&mut block[108..116], self.uid.into());
        octal(&mut block[116..124], self.gid.into());
        octal(&mut block[124..136], self.size);
        octal(&mut block[136..148], self.mtime.try_into().unwrap_or(0));
        block[156] = self.kind;
        text(&mut block[157..257], self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], self.device.0.into());
        octal(&mut block[337..345], self.device.1.into());
        // The checksum counts its own field as spaces.
        block[148..156].copy_from_slice(b"        ");
        let sum: u64 = block.iter().map(|&b| u64::from(b)).sum();
        octal(&mut block[148..155], sum);
    }
}

/// Fills up to a whole block after `written` bytes of data.
pub(super) fn pad(to: &mut Vec<u8>, written: u64) {
    to.resize(to.len() + padding(written), 0);
}

/// Bytes that are missing to a whole block.
pub(super) fn padding(written: u64) -> usize {
    let over = (written % BLOCK as u64) as usize;
    if over == 0 { 0 } else { BLOCK - over }
}

/// A record for a number that does not fit into so many octal digits.
fn number(to: &mut Vec<u8>, key: &str, value: i128, digits: u32) {
    if !(0..1 << (3 * digits)).contains(&value) {
        record(to, key.as_bytes(), value.to_string().as_bytes());
    }
}

/// A record for a name that ustar's field cannot hold as it is.
fn name(to: &mut Vec<u8>, key: &str, value: &[u8]) {
    if value.len() > 100 || !value.is_ascii() {
        record(to, key.as_bytes(), value);
    }
}

/// One record: its length, in which the length's own digits count, key and value.
fn record(to: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // A space, an equals sign and a line feed.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + digits(rest);
    if rest + digits(length) != length {
        length = rest + digits(length);
    }
    to.extend_from_slice(length.to_string().as_bytes());
    to.push(b' ');
    to.extend_from_slice(key);
    to.push(b'=');
    to.extend_from_slice(value);
    to.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// A number in octal digits with a NUL at the end; 0 if it has more digits than that, for then a record tells it.
fn octal(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    let mut left = if number >> (3 * digits) == 0 {
        number
    } else {
        0
    };
    for digit in field[..digits].iter_mut().rev() {
        *digit = b'0' + (left & 7) as u8;
        left >>= 3;
    }
    field[digits] = 0;
}

/// As much of a name as fits. A reader that knows no PAX must not take a file for a directory because of the cut.
fn text(field: &mut [u8], name: &[u8]) {
    let ascii = name.iter().copied().filter(u8::is_ascii);
    let mut length = 0;
    for (to, byte) in field.iter_mut().zip(ascii) {
        *to = byte;
        length += 1;
    }
    if name.len() > field.len() {
        while length > 0 && field[length - 1] == b'/' {
            length -= 1;
            field[length] = 0;
        }
    }
}

fn parent_and_base(name: &[u8]) -> (&[u8], &[u8]) {
    let name = name.strip_suffix(b"/").unwrap_or(name);
    match name.iter().rposition(|&b| b == b'/') {
        Some(slash) => name.split_at(slash + 1),
        None => (b"", name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &Header<'_>) -> (Vec<u8>, Vec<u8>, u64, u64, u64) {
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut archive = tar::Archive::new(&bytes[..]);
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        (
            entry.path_bytes().into_owned(),
            entry.link_name_bytes().unwrap_or_default().into_owned(),
            entry.header().uid().unwrap(),
            entry.header().gid().unwrap(),
            entry.header().mtime().unwrap(),
        )
    }

    #[test]
    fn another_reader_understands_them() {
        let plain = Header {
            name: b"etc/passwd",
            kind: kind::FILE,
            mode: 0o4755,
            uid: 7,
            gid: 2_097_151,
            mtime: 1_700_000_000,
            ..Header::default()
        };
        let mut bytes = Vec::new();
        plain.write(&mut bytes);
        assert_eq!(
            bytes.len(),
            BLOCK,
            "no extended header where none is needed"
        );
        assert_eq!(read(&plain).0, b"etc/passwd");
        assert_eq!((read(&plain).2, read(&plain).3), (7, 2_097_151));
        assert_eq!(read(&plain).4, 1_700_000_000);

        for length in [99, 100, 101, 103, 255, 4000] {
            let long = [vec![b'd'; length - 2], b"/f".to_vec()].concat();
            let header = Header {
                name: &long,
                link: &long,
                kind: kind::SYMLINK,
                ..Header::default()
            };
            let found = read(&header);
            assert_eq!((&found.0, &found.1), (&long, &long), "{length}");
        }
        let umlaut = "bücher/ä".as_bytes();
        let header = Header {
            name: umlaut,
            kind: kind::FILE,
            ..Header::default()
        };
        assert_eq!(read(&header).0, umlaut);
    }

    #[test]
    fn what_ustar_cannot_hold_is_told_in_records() {
        let header = Header {
            name: b"f",
            kind: kind::FILE,
            uid: 3_000_000_000,
            gid: 2_097_152,
            size: 8 << 30,
            mtime: -5,
            xattrs: &[(b"user.a".to_vec(), b"\n=\0".to_vec())],
            ..Header::default()
        };
        assert_eq!(
            header.records(),
            b"27 SCHILY.xattr.user.a=\n=\0\n\
              15 gid=2097152\n\
              12 mtime=-5\n\
              19 size=8589934592\n\
              18 uid=3000000000\n"
        );
    }

    #[test]
    fn a_records_length_counts_its_own_digits() {
        for size in [0, 1, 90, 91, 92, 93, 980, 985, 990, 995, 9_980, 9_990] {
            let mut bytes = Vec::new();
            record(&mut bytes, b"k", &vec![b'x'; size]);
            let text = String::from_utf8(bytes).unwrap();
            let (length, _) = text.split_once(' ').unwrap();
            assert_eq!(length.parse::<usize>().unwrap(), text.len());
        }
    }
}
