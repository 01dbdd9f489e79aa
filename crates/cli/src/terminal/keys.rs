//! The keys that detach: Ctrl-P Ctrl-Q unless `--detach-keys` says otherwise.

use crate::failure::{Failure, GENERAL, Result};

/// Looks for a sequence of keys in what is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys {
    sequence: Vec<u8>,
    /// How many of them have come; they are held back until it is clear what they are.
    matched: usize,
}

impl DetachKeys {
    /// Reads `--detach-keys`: keys with commas between, each a character or `ctrl-` and one of `a`–`z @ [ \ ] ^ _`.
    pub fn parse(text: Option<&str>) -> Result<DetachKeys> {
        let text = text
            .filter(|text| !text.is_empty())
            .unwrap_or("ctrl-p,ctrl-q");
        let sequence = text.split(',').map(parse_key).collect::<Option<Vec<u8>>>();
        match sequence {
            Some(sequence) => Ok(DetachKeys {
                sequence,
                matched: 0,
            }),
            None => Err(Failure::new(
                GENERAL,
                format!("invalid detach keys ({text}): no such key"),
            )),
        }
    }

    /// Takes what was typed; gives what is for the container, and whether the whole sequence was in it.
    pub fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len() + self.matched);
        for &key in typed {
            while self.matched > 0 && key != self.sequence[self.matched] {
                self.release_one(&mut passed);
            }
            match key == self.sequence[self.matched] {
                true => self.matched += 1,
                false => passed.push(key),
            }
            if self.matched == self.sequence.len() {
                self.matched = 0;
                return (passed, true);
            }
        }
        (passed, false)
    }

    /// The first key held back was not the start of the sequence after all; perhaps a later one is.
    fn release_one(&mut self, passed: &mut Vec<u8>) {
        let held = &self.sequence[..self.matched];
        let shift = (1..=held.len())
            .find(|shift| self.sequence.starts_with(&held[*shift..]))
            .unwrap_or(held.len());
        passed.extend(&held[..shift]);
        self.matched -= shift;
    }
}

fn parse_key(key: &str) -> Option<u8> {
    match (key.strip_prefix("ctrl-"), key.as_bytes()) {
        (_, [key]) => Some(*key),
        (Some(name), _) => match name.as_bytes() {
            [key @ (b'a'..=b'z')] => Some(key - b'a' + 1),
            [key @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => Some(key - b'@'),
            _ => None,
        },
        (None, b"DEL") => Some(127),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> DetachKeys {
        DetachKeys::parse(Some(text)).unwrap()
    }

    #[test]
    fn keys_are_read() {
        assert_eq!(DetachKeys::parse(None).unwrap().sequence, [16, 17]);
        assert_eq!(
            keys("ctrl-@,a,ctrl-[,ctrl-_,DEL").sequence,
            [0, b'a', 27, 31, 127]
        );
        assert_eq!(
            DetachKeys::parse(Some("ctrl-1")).unwrap_err().text(),
            "invalid detach keys (ctrl-1): no such key"
        );
        assert!(DetachKeys::parse(Some("a,,b")).is_err());
    }

    #[test]
    fn the_sequence_detaches() {
        assert_eq!(
            keys("ctrl-p,ctrl-q").filter(b"ab\x10\x11cd"),
            (b"ab".to_vec(), true)
        );
        let mut split = keys("ctrl-p,ctrl-q");
        assert_eq!(split.filter(b"x\x10"), (b"x".to_vec(), false));
        assert_eq!(split.filter(b"\x11"), (vec![], true));
    }

    #[test]
    fn other_keys_are_passed_on_in_order() {
        let mut keys = keys("ctrl-p,ctrl-q");
        assert_eq!(keys.filter(b"\x10"), (vec![], false));
        assert_eq!(keys.filter(b"a"), (b"\x10a".to_vec(), false));
        assert_eq!(keys.filter(b"\x10\x10\x10"), (b"\x10\x10".to_vec(), false));
        assert_eq!(keys.filter(b"\x11"), (vec![], true));
    }

    #[test]
    fn a_sequence_that_repeats_itself() {
        assert_eq!(keys("a,a,b").filter(b"aaab"), (b"a".to_vec(), true));
        assert_eq!(keys("a,b,a,c").filter(b"ababac"), (b"ab".to_vec(), true));
    }
}
