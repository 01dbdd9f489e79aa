//! `--chmod`.

use super::error::{FilesError, Result};

const OCTAL: &str = "it should be octal string and between 0 and 07777";

/// A value of `--chmod`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chmod {
    /// All bits, in octal.
    Mode(u32),
    /// `u=rwX,go+r`, as chmod(1) has it: relative to the mode each file has.
    Symbolic(Vec<Clause>),
}

/// One change to some of the bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clause {
    /// The permission, setuid, setgid and sticky bits this is about.
    who: u32,
    change: Change,
    rights: Rights,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    /// Bits for everybody; `search` is `X`: to execute only directories, and what somebody may execute already.
    Bits { bits: u32, search: bool },
    /// Those that user (6), group (3) or others (0) have: how far they are shifted.
    As(u32),
}

impl Chmod {
    /// Reads a value, variables expanded.
    ///
    /// # Errors
    /// [`FilesError::Chmod`].
    pub fn parse(value: &str) -> Result<Chmod> {
        let fail = |reason| FilesError::Chmod {
            value: value.into(),
            reason,
        };
        if value.starts_with(|c: char| c.is_ascii_digit()) {
            return match u32::from_str_radix(value, 8) {
                Ok(mode) if mode <= 0o7777 => Ok(Chmod::Mode(mode)),
                _ => Err(fail(OCTAL)),
            };
        }
        let mut clauses = Vec::new();
        for clause in value.split(',') {
            parse_clause(clause, &mut clauses)
                .ok_or_else(|| fail("it should be like 755 or u=rwX,go=rX"))?;
        }
        Ok(Chmod::Symbolic(clauses))
    }

    /// The mode of what had `mode`, both without the file type.
    pub(super) fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            Chmod::Mode(mode) => *mode,
            Chmod::Symbolic(clauses) => clauses.iter().fold(mode, |mode, c| c.apply(mode, is_dir)),
        }
    }
}

impl Clause {
    fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let bits = match self.rights {
            Rights::Bits { bits, search } => {
                let search = search && (is_dir || mode & 0o111 != 0);
                bits | if search { 0o111 } else { 0 }
            }
            Rights::As(shift) => ((mode >> shift) & 0o7) * 0o111,
        } & self.who;
        match self.change {
            Change::Add => mode | bits,
            Change::Remove => mode & !bits,
            Change::Set => (mode & !self.who) | bits,
        }
    }
}

fn parse_clause(text: &str, clauses: &mut Vec<Clause>) -> Option<()> {
    let start = text.find(['+', '-', '='])?;
    let mut who = 0;
    for character in text[..start].chars() {
        who |= match character {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    if start == 0 {
        who = 0o7777;
    }
    let mut rest = &text[start..];
    while let Some(sign) = rest.chars().next() {
        let change = match sign {
            '+' => Change::Add,
            '-' => Change::Remove,
            _ => Change::Set,
        };
        let end = rest[1..]
            .find(['+', '-', '='])
            .map_or(rest.len(), |at| at + 1);
        let rights = parse_rights(&rest[1..end])?;
        clauses.push(Clause {
            who,
            change,
            rights,
        });
        rest = &rest[end..];
    }
    Some(())
}

fn parse_rights(text: &str) -> Option<Rights> {
    match text {
        "u" => return Some(Rights::As(6)),
        "g" => return Some(Rights::As(3)),
        "o" => return Some(Rights::As(0)),
        _ => {}
    }
    let (mut bits, mut search) = (0, false);
    for character in text.chars() {
        match character {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'x' => bits |= 0o111,
            's' => bits |= 0o6000,
            't' => bits |= 0o1000,
            'X' => search = true,
            _ => return None,
        }
    }
    Some(Rights::Bits { bits, search })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_in_both_forms() {
        for (value, before, file, directory) in [
            ("755", 0o644, 0o755, 0o755),
            ("0644", 0o7777, 0o644, 0o644),
            ("4711", 0o644, 0o4711, 0o4711),
            ("u=rw,go=r", 0o755, 0o644, 0o644),
            ("u=rwX,go=rX", 0o600, 0o644, 0o755),
            ("u=rwX,go=rX", 0o700, 0o755, 0o755),
            ("+x", 0o644, 0o755, 0o755),
            ("a-w", 0o666, 0o444, 0o444),
            ("g=u", 0o640, 0o660, 0o660),
            ("go=", 0o777, 0o700, 0o700),
            ("u+s,g+s", 0o755, 0o6755, 0o6755),
            ("o+t", 0o777, 0o1777, 0o1777),
            ("u+x-w", 0o644, 0o544, 0o544),
        ] {
            let chmod = Chmod::parse(value).unwrap();
            assert_eq!(chmod.apply(before, false), file, "{value} of a file");
            assert_eq!(
                chmod.apply(before, true),
                directory,
                "{value} of a directory"
            );
        }
    }

    #[test]
    fn malformed_values_are_refused() {
        for value in ["", "999", "10000", "0x7", "u", "u=q", "z+x", "u+r,", "7 5"] {
            let message = Chmod::parse(value).unwrap_err().to_string();
            assert!(message.starts_with(&format!("invalid chmod parameter: '{value}'")));
        }
        let message = Chmod::parse("999").unwrap_err().to_string();
        assert!(message.ends_with("it should be octal string and between 0 and 07777"));
    }
}
