//! The records that a monitor sends, and lines that come in several pieces.

use std::time::SystemTime;

use rctr_runtime::logs::{MAX_RECORD, Stream, parse_time};

/// A line, or a piece of a very long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) time: SystemTime,
    pub(super) stream: Stream,
    /// Without the newline.
    pub(super) text: Vec<u8>,
    pub(super) piece: Option<Piece>,
}

/// Which piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// The same for all pieces of a line.
    pub(super) id: String,
    /// From 1.
    pub(super) number: u32,
    pub(super) last: bool,
}

impl Record {
    /// How much memory it takes: a line may be empty, and still be one.
    pub(super) fn size(&self) -> usize {
        size_of::<Record>() + self.text.len()
    }

    pub(super) fn source(&self) -> &'static str {
        match self.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// Reads records, and numbers the pieces of lines.
#[derive(Default)]
pub(super) struct Parser {
    unfinished: [Option<Piece>; 2],
}

impl Parser {
    /// A record, without the newline at its end; `None` for what is none.
    pub(super) fn parse(&mut self, line: &[u8]) -> Option<Record> {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let time = parse_time(std::str::from_utf8(fields.next()?).ok()?)?;
        let stream = match fields.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        let flag = fields.next()?;
        let text = fields.next()?.to_vec();
        // The end of all output also ends its last line.
        let last = flag != b"P" || text.len() < MAX_RECORD;
        let before = self.unfinished[stream as usize].take();
        let piece = match (before, last) {
            (None, true) => None,
            (before, last) => Some(Piece {
                number: before.as_ref().map_or(1, |piece| piece.number + 1),
                id: before.map_or_else(crate::names::new_id, |piece| piece.id),
                last,
            }),
        };
        if !last {
            self.unfinished[stream as usize].clone_from(&piece);
        }
        Some(Record {
            time,
            stream,
            text,
            piece,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_pieces_of_lines() {
        let mut parser = Parser::default();
        let mut parse = |flag: &str, text: &str| {
            let line = format!("2026-11-22T01:02:03.000000004Z stdout {flag} {text}");
            parser.parse(line.as_bytes()).unwrap()
        };
        let whole = parse("F", "a b");
        assert_eq!((whole.text.as_slice(), whole.piece), (&b"a b"[..], None));
        let long = "x".repeat(MAX_RECORD);
        let pieces = [parse("P", &long), parse("P", &long), parse("F", "")];
        let pieces = pieces.map(|record| record.piece.unwrap());
        assert_eq!(pieces.each_ref().map(|p| p.number), [1, 2, 3]);
        assert_eq!(pieces.each_ref().map(|p| p.last), [false, false, true]);
        assert!(pieces.iter().all(|p| p.id == pieces[0].id));
        assert_eq!(parse("F", "next").piece, None);
        assert_eq!(parse("P", "no newline").piece, None);
        assert_eq!(parser.parse(b"half a rec"), None);
    }
}
