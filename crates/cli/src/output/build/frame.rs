//! One drawing of the live view.

use std::time::Duration;

use super::trace::{End, Step, Trace};

/// As many lines of a running step's output are shown.
const TAIL: usize = 6;
const BLUE: &str = "\x1b[34m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const FAINT: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// What a drawing has to fit.
pub struct Look {
    pub width: usize,
    pub height: usize,
    pub colours: bool,
    /// The last drawing: everything is shown, however long it is.
    pub ended: bool,
}

/// Lines without line breaks, and their widths.
pub struct Frame {
    pub lines: Vec<String>,
    pub widths: Vec<usize>,
}

/// A line of a step, before it is fitted.
struct Row {
    text: String,
    time: Option<Duration>,
    colour: &'static str,
    running: bool,
}

/// Draws the steps: ended ones give way where there is no room, and running ones show their last lines where there is.
pub fn frame(trace: &Trace, look: &Look) -> Frame {
    let ended = trace.steps.iter().filter(|s| s.ended.is_some()).count();
    let finished = match look.ended && ended == trace.steps.len() && ended > 0 {
        true => " FINISHED",
        false => "",
    };
    let seconds = trace.began.elapsed().as_secs_f64();
    let head = format!(
        "[+] Building {seconds:.1}s ({ended}/{}){finished}",
        trace.steps.len()
    );
    let mut steps: Vec<Vec<Row>> = trace.steps.iter().map(rows).collect();
    let room = look.height.saturating_sub(2);
    if !look.ended {
        give_way(&mut steps, room);
        show_output(trace, &mut steps, room);
    }
    let mut frame = Frame {
        lines: Vec::new(),
        widths: Vec::new(),
    };
    let header = Row {
        text: head,
        time: None,
        colour: "",
        running: true,
    };
    for row in std::iter::once(&header).chain(steps.iter().flatten()) {
        let (line, width) = row.fitted(look);
        frame.lines.push(line);
        frame.widths.push(width);
    }
    frame
}

/// A step's lines: itself, its parts, its warnings.
fn rows(step: &Step) -> Vec<Row> {
    let (mark, colour) = match (&step.end, step.ended) {
        (_, None) => ("", ""),
        (End::Done, _) => ("", BLUE),
        (End::Cached, _) => ("CACHED ", BLUE),
        (End::Cancelled, _) => ("CANCELED ", YELLOW),
        (End::Failed(_), _) => ("ERROR ", RED),
    };
    let mut rows = vec![Row {
        text: format!(" => {mark}{}", clean(&step.name)),
        time: Some(step.time()),
        colour,
        running: step.ended.is_none(),
    }];
    for part in &step.parts {
        rows.push(Row {
            text: format!(" => => {}{}", clean(&part.text), part.bytes()),
            time: Some(part.time()),
            colour: part.ended.map_or("", |_| BLUE),
            running: step.ended.is_none() && part.ended.is_none(),
        });
    }
    for warning in &step.warnings {
        rows.push(Row {
            text: format!(" => => WARN: {}", clean(warning)),
            time: None,
            colour: YELLOW,
            running: false,
        });
    }
    rows
}

/// Takes away what does not fit: first what has ended, from the top, then the top of what is running.
fn give_way(steps: &mut [Vec<Row>], room: usize) {
    let mut excess = steps
        .iter()
        .map(Vec::len)
        .sum::<usize>()
        .saturating_sub(room);
    for ended_only in [true, false] {
        for rows in steps.iter_mut() {
            rows.retain(|row| {
                let goes = excess > 0 && !(ended_only && row.running);
                excess -= usize::from(goes);
                !goes
            });
        }
    }
}

/// Puts the last lines of running steps beneath them, where there is room for all of a step's.
fn show_output(trace: &Trace, steps: &mut [Vec<Row>], room: usize) {
    let mut free = room.saturating_sub(steps.iter().map(Vec::len).sum());
    for (step, rows) in trace.steps.iter().zip(steps).rev() {
        let lines = step.tail.len().min(TAIL);
        if step.ended.is_some() || rows.is_empty() || lines > free {
            continue;
        }
        free -= lines;
        for line in step.tail.iter().skip(step.tail.len() - lines) {
            rows.push(Row {
                text: format!(" => => # {}", clean(&line.text)),
                time: None,
                colour: FAINT,
                running: true,
            });
        }
    }
}

impl Row {
    /// The line as wide as the terminal at most, and its width.
    fn fitted(&self, look: &Look) -> (String, usize) {
        let time = self.time.map(|time| format!(" {:.1}s", time.as_secs_f64()));
        let time = time.unwrap_or_default();
        let room = look.width.saturating_sub(time.len() + 1);
        let (mut line, mut used) = cut(&self.text, room);
        if !time.is_empty() && used <= room {
            line += &" ".repeat(room - used);
            line += &time;
            used = room + time.len();
        }
        if look.colours && !self.colour.is_empty() {
            line = format!("{}{line}{PLAIN}", self.colour);
        }
        (line, used)
    }
}

/// As much of a text as fits, and its width.
fn cut(text: &str, room: usize) -> (String, usize) {
    let (mut line, mut used) = (String::new(), 0);
    for c in text.chars() {
        let width = width(c);
        if used + width > room {
            break;
        }
        used += width;
        line.push(c);
    }
    (line, used)
}

/// Columns of a character: East Asian ones and pictures take two.
fn width(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff => 2,
        0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff => 2,
        0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// A line as a terminal would leave it: what a carriage return writes over and escape sequences are gone.
fn clean(text: &str) -> String {
    let last = text.rsplit('\r').find(|part| !part.is_empty());
    let mut chars = last.unwrap_or("").chars();
    let mut cleaned = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => skip_escape(&mut chars),
            '\t' => cleaned.push(' '),
            c if c.is_control() => {}
            c => cleaned.push(c),
        }
    }
    cleaned
}

/// Skips the rest of an escape sequence: `[…letter`, `]…BEL`, or one character.
fn skip_escape(chars: &mut std::str::Chars<'_>) {
    match chars.next() {
        Some('[') => {
            chars.find(|c| ('@'..='~').contains(c));
        }
        Some(']') => {
            chars.find(|c| matches!(c, '\x07' | '\x1b'));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rctr_builder::progress::Event;
    use rctr_engine::LogStream;

    fn look(height: usize) -> Look {
        Look {
            width: 40,
            height,
            colours: false,
            ended: false,
        }
    }

    fn trace() -> Trace {
        let mut trace = Trace::new();
        for (vertex, name) in ["FROM busybox", "RUN one", "RUN two"]
            .into_iter()
            .enumerate()
        {
            let event = match vertex {
                0 => Event::Cached { vertex, name },
                _ => Event::Started { vertex, name },
            };
            trace.apply(&event);
        }
        trace.apply(&Event::Output {
            vertex: 2,
            stream: LogStream::Stdout,
            bytes: b"\x1b[1mten %\rdone\x1b[0m\tall\nnext\n",
        });
        trace
    }

    #[test]
    fn everything_where_there_is_room() {
        let frame = frame(&trace(), &look(24));
        assert_eq!(
            frame.lines,
            [
                "[+] Building 0.0s (1/3)",
                " => CACHED FROM busybox            0.0s",
                " => RUN one                        0.0s",
                " => RUN two                        0.0s",
                " => => # done all",
                " => => # next",
            ]
        );
        assert_eq!(frame.widths[1], 39);
    }

    #[test]
    fn what_has_ended_gives_way() {
        let lines = frame(&trace(), &look(4)).lines;
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with(" => RUN one"));
    }

    #[test]
    fn the_last_one_shows_all_and_says_so() {
        let mut trace = trace();
        for vertex in [1, 2] {
            let error = (vertex == 2).then_some("context canceled");
            trace.apply(&Event::Done { vertex, error });
        }
        let look = Look {
            ended: true,
            colours: true,
            ..look(3)
        };
        let lines = frame(&trace, &look).lines;
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0], "[+] Building 0.0s (3/3) FINISHED");
        assert!(lines[3].starts_with("\x1b[33m => CANCELED RUN two"));
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(cut("日本語", 5), ("日本".to_owned(), 4));
    }
}
