//! PAX extended headers (POSIX.1-2024, pax, "Extended Header").

use rustix::fs::Timespec;

use super::sparse::Segment;

/// The extended header that precedes a member.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<i64>,
    pub gid: Option<i64>,
    pub mtime: Option<Timespec>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: PaxSparse,
}

/// The `GNU.sparse.*` records.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    pub major: Option<u64>,
    pub minor: Option<u64>,
    pub name: Option<Vec<u8>>,
    /// `size` (0.x) or `realsize` (1.0).
    pub size: Option<u64>,
    /// From `map` (0.1) or pairs of `offset` and `numbytes` (0.0).
    pub segments: Vec<Segment>,
    offset: Option<u64>,
}

impl Pax {
    /// Adds the records of one extended header; None if it is malformed.
    pub fn parse(&mut self, mut data: &[u8]) -> Option<()> {
        while !data.is_empty() {
            let space = data.iter().position(|&b| b == b' ')?;
            let length = usize::try_from(decimal(&data[..space])?).ok()?;
            let record = data.get(space + 1..length)?;
            data = &data[length..];
            let record = record.strip_suffix(b"\n")?;
            let equals = record.iter().position(|&b| b == b'=')?;
            self.record(&record[..equals], &record[equals + 1..])?;
        }
        Some(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.push((name.to_owned(), value.to_owned()));
            return Some(());
        }
        // An empty value takes back an earlier record.
        let text = || (!value.is_empty()).then(|| value.to_owned());
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            b"size" => self.size = optional(value, decimal)?,
            b"uid" => self.uid = optional(value, signed)?,
            b"gid" => self.gid = optional(value, signed)?,
            b"mtime" => self.mtime = optional(value, time)?,
            _ => {
                if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.record(key, value)?;
                }
            }
        }
        Some(())
    }
}

impl PaxSparse {
    fn record(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"major" => self.major = Some(decimal(value)?),
            b"minor" => self.minor = Some(decimal(value)?),
            b"name" => self.name = Some(value.to_owned()),
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"offset" => self.offset = Some(decimal(value)?),
            b"numbytes" => self.segments.push(Segment {
                offset: self.offset.take()?,
                length: decimal(value)?,
            }),
            b"map" => {
                let mut numbers = value.split(|&b| b == b',').map(decimal);
                self.segments.clear();
                while let Some(offset) = numbers.next() {
                    self.segments.push(Segment {
                        offset: offset?,
                        length: numbers.next()??,
                    });
                }
            }
            _ => {}
        }
        Some(())
    }
}

fn optional<T>(value: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if value.is_empty() {
        Some(None)
    } else {
        parse(value).map(Some)
    }
}

/// A non-negative decimal number of digits only.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

fn signed(text: &[u8]) -> Option<i64> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds with an optional fraction, possibly before 1970.
fn time(text: &[u8]) -> Option<Timespec> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = digits.splitn(2, |&b| b == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanos = 0i64;
    if let Some(fraction) = parts.next() {
        let mut scale = 100_000_000;
        for digit in fraction {
            if !digit.is_ascii_digit() {
                return None;
            }
            nanos += i64::from(digit - b'0') * scale;
            scale /= 10;
        }
    }
    let (seconds, nanos) = match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    };
    Some(Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_have_positive_nanoseconds() {
        let of = |text: &str| time(text.as_bytes()).map(|t| (t.tv_sec, t.tv_nsec));
        assert_eq!(of("1350244992.023960108"), Some((1350244992, 23960108)));
        assert_eq!(of("-1.5"), Some((-2, 500_000_000)));
        assert_eq!(of("-3"), Some((-3, 0)));
        assert_eq!(of("1."), Some((1, 0)));
        for bad in ["", "-", "1.x", "0x10", "99999999999999999999"] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn records_hold_any_bytes_and_bad_lengths_are_refused() {
        let mut pax = Pax::default();
        pax.parse(b"34 SCHILY.xattr.user.a=\n\0=\xff\n12345\n")
            .unwrap();
        assert_eq!(
            pax.xattrs,
            [(b"user.a".to_vec(), b"\n\0=\xff\n12345".to_vec())]
        );
        for bad in [
            &b"5 a=b\n"[..],
            b"7 a=b\n",
            b"x a=b\n",
            b"6 ab\n",
            b"2 ",
            b"0 a=b\n",
        ] {
            assert!(Pax::default().parse(bad).is_none(), "{bad:?}");
        }
    }
}
