//! What has become of a build's steps so far: what every view shows in its own way.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use rctr_builder::progress::{Amount, Event, VertexId};

/// As many lines of a step's output are remembered.
const LAST_LINES: usize = 20;
/// What the builder says of a step that had to stop because another one failed, or its user said so.
const CANCELLED: &str = "context canceled";

/// A build.
pub struct Trace {
    /// In the order they began.
    pub steps: Vec<Step>,
    index: HashMap<VertexId, usize>,
    pub began: Instant,
    failed: Option<usize>,
}

/// A step, or something before or after the steps.
pub struct Step {
    pub name: String,
    pub began: Instant,
    pub ended: Option<Instant>,
    pub end: End,
    pub parts: Vec<Part>,
    pub warnings: Vec<String>,
    /// The last lines it printed.
    pub tail: VecDeque<Line>,
    /// Output after the last line break.
    rest: Vec<u8>,
}

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Well, or not yet.
    Done,
    Cached,
    Cancelled,
    Failed(String),
}

/// Something within a step.
pub struct Part {
    pub text: String,
    pub amount: Amount,
    pub began: Instant,
    pub ended: Option<Instant>,
}

/// A line a step printed.
#[derive(Clone)]
pub struct Line {
    /// When, from the step's beginning.
    pub time: Duration,
    pub text: String,
}

/// What an event changed.
pub struct Change {
    /// Index of the step.
    pub step: usize,
    /// Lines it has printed to their end.
    pub lines: Vec<Line>,
    /// Index of the part that changed.
    pub part: Option<usize>,
}

impl Trace {
    pub fn new() -> Trace {
        Trace {
            steps: Vec::new(),
            index: HashMap::new(),
            began: Instant::now(),
            failed: None,
        }
    }

    /// Takes notice of an event; nothing of one that belongs to no step.
    pub fn apply(&mut self, event: &Event<'_>) -> Option<Change> {
        let now = Instant::now();
        let (vertex, name) = match event {
            Event::Started { vertex, name } | Event::Cached { vertex, name } => {
                (*vertex, Some(*name))
            }
            Event::Output { vertex, .. }
            | Event::Status { vertex, .. }
            | Event::Warning { vertex, .. }
            | Event::Done { vertex, .. } => (*vertex, None),
        };
        if let (Some(name), false) = (name, self.index.contains_key(&vertex)) {
            self.index.insert(vertex, self.steps.len());
            self.steps.push(Step::new(name, now));
        }
        let index = *self.index.get(&vertex)?;
        let step = self.steps.get_mut(index)?;
        let (mut lines, mut part) = (Vec::new(), None);
        match event {
            Event::Started { .. } => {}
            Event::Cached { .. } => {
                step.end = End::Cached;
                step.ended = Some(now);
            }
            Event::Output { bytes, .. } => lines = step.output(bytes, now),
            Event::Status {
                text, amount, done, ..
            } => part = Some(step.part(text, *amount, *done, now)),
            Event::Warning { text, .. } => step.warnings.push((*text).to_owned()),
            Event::Done { error, .. } => {
                if !step.rest.is_empty() {
                    lines = step.output(b"\n", now);
                }
                step.ended = Some(now);
                step.end = match error {
                    None => End::Done,
                    Some(CANCELLED) => End::Cancelled,
                    Some(error) => End::Failed((*error).to_owned()),
                };
                if matches!(step.end, End::Failed(_)) {
                    self.failed.get_or_insert(index);
                }
            }
        }
        Some(Change {
            step: index,
            lines,
            part,
        })
    }

    /// The first step that failed.
    pub fn failed(&self) -> Option<&Step> {
        self.steps.get(self.failed?)
    }
}

impl Step {
    fn new(name: &str, now: Instant) -> Step {
        Step {
            name: name.to_owned(),
            began: now,
            ended: None,
            end: End::Done,
            parts: Vec::new(),
            warnings: Vec::new(),
            tail: VecDeque::new(),
            rest: Vec::new(),
        }
    }

    fn output(&mut self, bytes: &[u8], now: Instant) -> Vec<Line> {
        self.rest.extend(bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let whole: Vec<u8> = self.rest.drain(..=end).collect();
            let line = Line {
                time: now - self.began,
                text: String::from_utf8_lossy(&whole)
                    .trim_end_matches(['\n', '\r'])
                    .to_owned(),
            };
            if self.tail.len() == LAST_LINES {
                self.tail.pop_front();
            }
            self.tail.push_back(line.clone());
            lines.push(line);
        }
        lines
    }

    fn part(&mut self, text: &str, amount: Amount, done: bool, now: Instant) -> usize {
        let known = self.parts.iter().position(|part| part.text == text);
        let index = known.unwrap_or_else(|| {
            self.parts.push(Part {
                text: text.to_owned(),
                amount,
                began: now,
                ended: None,
            });
            self.parts.len() - 1
        });
        let part = &mut self.parts[index];
        // An end need not say again how much it was.
        if amount != Amount::default() {
            part.amount = amount;
        }
        part.ended = done.then_some(now);
        index
    }

    /// How long it took, or has taken so far.
    pub fn time(&self) -> Duration {
        self.ended.unwrap_or_else(Instant::now) - self.began
    }
}

impl Part {
    /// How long it took, or has taken so far.
    pub fn time(&self) -> Duration {
        self.ended.unwrap_or_else(Instant::now) - self.began
    }

    /// ` 1.05MB / 3.2MB`, as far as it is known.
    pub fn bytes(&self) -> String {
        match self.amount {
            Amount {
                current: 0,
                total: 0,
            } => String::new(),
            Amount { current, total: 0 } => format!(" {}", size(current)),
            Amount { current, total } => format!(" {} / {}", size(current), size(total)),
        }
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} {}", self.time.as_secs_f64(), self.text)
    }
}

/// Bytes as BuildKit writes them: `31B`, `1.05kB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 1000.0 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let sizes = [0, 31, 999, 1000, 1_049_000, 12_345_678_900].map(size);
        assert_eq!(sizes, ["0B", "31B", "999B", "1.00kB", "1.05MB", "12.35GB"]);
    }

    #[test]
    fn a_step_goes_its_way() {
        let mut trace = Trace::new();
        let unknown = Event::Done {
            vertex: 9,
            error: None,
        };
        assert!(trace.apply(&unknown).is_none());
        trace.apply(&Event::Started {
            vertex: 3,
            name: "a",
        });
        let output = |bytes| Event::Output {
            vertex: 3,
            stream: rctr_engine::LogStream::Stdout,
            bytes,
        };
        assert!(
            trace
                .apply(&output(b"on"))
                .is_some_and(|c| c.lines.is_empty())
        );
        let change = trace.apply(&output(b"e\r\ntwo")).expect("a change");
        assert_eq!(change.lines[0].text, "one");
        let end = Event::Done {
            vertex: 3,
            error: Some("bad"),
        };
        let change = trace.apply(&end).expect("a change");
        assert_eq!(change.lines[0].text, "two");
        assert_eq!(trace.failed().map(|step| step.tail.len()), Some(2));
    }
}
