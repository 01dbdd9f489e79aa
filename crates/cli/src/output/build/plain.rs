//! Line by line: `#5 [2/3] RUN make`, `#5 0.103 gcc …`, `#5 DONE 1.2s`.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rctr_builder::progress::{Event, Progress};

use super::trace::{Change, End, Step, Trace};
use super::{Failed, Shown};

/// A step whose lines are being printed keeps its turn so long while others print, too,
const TURN: Duration = Duration::from_secs(5);
/// unless it has been silent for so long.
const SILENCE: Duration = Duration::from_secs(1);
/// A part's progress is told when so much time has passed,
const PART_TIME: Duration = Duration::from_secs(5);
/// or so much of the whole.
const PART_SHARE: f64 = 0.05;

/// The plain view.
pub struct Plain {
    quiet: bool,
    state: Mutex<State>,
}

struct State {
    trace: Trace,
    /// The step whose lines are being printed.
    current: Option<Turn>,
    /// Something has been printed.
    begun: bool,
    /// Lines of other steps, by index; with an entry for every step that has been shown at all.
    waiting: HashMap<usize, String>,
    /// When a part was last told of, and how far it had come, by step and part.
    told: HashMap<(usize, usize), (Instant, u64)>,
}

struct Turn {
    step: usize,
    since: Instant,
    last: Instant,
}

impl Plain {
    pub fn new() -> Plain {
        Plain {
            quiet: false,
            state: Mutex::new(State {
                trace: Trace::new(),
                current: None,
                begun: false,
                waiting: HashMap::new(),
                told: HashMap::new(),
            }),
        }
    }

    /// Prints nothing, but remembers what a failed step printed.
    pub fn quiet() -> Plain {
        Plain {
            quiet: true,
            ..Plain::new()
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, lines: &str) {
        if !self.quiet {
            // Nobody is left to tell if standard error is closed.
            let _ = std::io::stderr().write_all(lines.as_bytes());
        }
    }
}

impl State {
    /// What is printed because of an event.
    fn event(&mut self, event: &Event<'_>) -> String {
        let Some(change) = self.trace.apply(event) else {
            return String::new();
        };
        let lines = self.lines(event, &change);
        let mut printed = self.say(change.step, &lines);
        if self.trace.steps[change.step].ended.is_some() {
            printed += &self.ended(change.step);
        }
        printed
    }

    /// The lines a step has to say.
    fn lines(&mut self, event: &Event<'_>, change: &Change) -> String {
        let step = &self.trace.steps[change.step];
        let mut lines: Vec<String> = change.lines.iter().map(ToString::to_string).collect();
        match (event, change.part) {
            (Event::Warning { text, .. }, _) => lines.push(format!("WARN: {text}")),
            (Event::Status { .. }, Some(part)) => {
                let told = self.told.get(&(change.step, part)).copied();
                if let Some(line) = part_line(step, part, told) {
                    let current = step.parts[part].amount.current;
                    self.told
                        .insert((change.step, part), (Instant::now(), current));
                    lines.push(line);
                }
            }
            (Event::Done { .. } | Event::Cached { .. }, _) => lines.push(last_line(step)),
            _ => {}
        }
        let number = change.step + 1;
        lines
            .iter()
            .map(|line| format!("#{number} {line}\n"))
            .collect()
    }

    /// Prints lines of a step, or keeps them until it has its turn.
    fn say(&mut self, step: usize, lines: &str) -> String {
        let now = Instant::now();
        let ended = self.trace.steps[step].ended.is_some();
        match &mut self.current {
            Some(turn) if turn.step == step => {
                turn.last = now;
                return lines.to_owned();
            }
            Some(turn) if !ended && now - turn.since < TURN && now - turn.last < SILENCE => {
                if !lines.is_empty() {
                    *self.waiting.entry(step).or_default() += lines;
                }
                return String::new();
            }
            Some(_) if lines.is_empty() => return String::new(),
            _ => {}
        }
        self.turn_to(step) + lines
    }

    /// Begins or goes on with a step's part of the view; what has waited for it comes first.
    fn turn_to(&mut self, step: usize) -> String {
        let mut text = String::new();
        if let Some(turn) = self.current.take() {
            text += &format!("#{} ...\n", turn.step + 1);
        }
        if self.begun {
            text.push('\n');
        }
        self.begun = true;
        let now = Instant::now();
        self.current = Some(Turn {
            step,
            since: now,
            last: now,
        });
        text += &format!("#{} {}\n", step + 1, self.trace.steps[step].name);
        text + &std::mem::take(self.waiting.entry(step).or_default())
    }

    /// A step's turn is over: the next one is of whoever has waited, or at least has not been shown.
    fn ended(&mut self, step: usize) -> String {
        self.current = None;
        self.waiting.entry(step).or_default().clear();
        let steps = &self.trace.steps;
        let open = |index: &usize| steps[*index].ended.is_none();
        let waits = |index: &usize| self.waiting.get(index).is_none_or(|text| !text.is_empty());
        let next = (0..steps.len()).filter(open).find(waits);
        next.map_or_else(String::new, |next| self.turn_to(next))
    }
}

/// What is said of a part, if it is time to say something.
fn part_line(step: &Step, part: usize, told: Option<(Instant, u64)>) -> Option<String> {
    let part = &step.parts[part];
    if let (Some((time, current)), None) = (told, part.ended) {
        let more = part.amount.current.saturating_sub(current) as f64;
        let share = more / part.amount.total.max(1) as f64;
        if share < PART_SHARE && time.elapsed() < PART_TIME {
            return None;
        }
    }
    let mut line = format!("{}{}", part.text, part.bytes());
    let seconds = part.time().as_secs_f64();
    if seconds > 0.01 {
        line += &format!(" {seconds:.1}s");
    }
    if part.ended.is_some() {
        line += " done";
    }
    Some(line)
}

fn last_line(step: &Step) -> String {
    match &step.end {
        End::Done => format!("DONE {:.1}s", step.time().as_secs_f64()),
        End::Cached => "CACHED".into(),
        End::Cancelled => "CANCELED".into(),
        End::Failed(error) => format!("ERROR: {}", error.replace('\n', "; ")),
    }
}

impl Progress for Plain {
    fn event(&self, event: Event<'_>) {
        let mut state = self.state();
        let text = state.event(&event);
        self.print(&text);
    }
}

impl Shown for Plain {
    fn finish(&self) {}

    fn failed_step(&self) -> Option<Failed> {
        self.state().trace.failed().map(Failed::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rctr_builder::progress::Amount;
    use rctr_engine::LogStream;

    fn shown(events: &[Event<'_>]) -> String {
        let plain = Plain::new();
        let mut state = plain.state();
        events.iter().map(|event| state.event(event)).collect()
    }

    fn started(vertex: usize, name: &str) -> Event<'_> {
        Event::Started { vertex, name }
    }

    fn output(vertex: usize, text: &str) -> Event<'_> {
        Event::Output {
            vertex,
            stream: LogStream::Stdout,
            bytes: text.as_bytes(),
        }
    }

    fn done(vertex: usize, error: Option<&str>) -> Event<'_> {
        Event::Done { vertex, error }
    }

    #[test]
    fn one_after_the_other() {
        let text = shown(&[
            started(0, "[internal] load build definition from Dockerfile"),
            Event::Status {
                vertex: 0,
                text: "transferring dockerfile:",
                amount: Amount {
                    current: 31,
                    total: 0,
                },
                done: true,
            },
            done(0, None),
            Event::Cached {
                vertex: 4,
                name: "[1/2] FROM busybox",
            },
            started(2, "[2/2] RUN false"),
            output(2, "a\nb"),
            done(2, Some("exit code: 1")),
        ]);
        assert_eq!(
            text,
            "#1 [internal] load build definition from Dockerfile\n#1 transferring dockerfile: 31B done\n#1 DONE 0.0s\n\n\
             #2 [1/2] FROM busybox\n#2 CACHED\n\n#3 [2/2] RUN false\n#3 0.000 a\n#3 0.000 b\n#3 ERROR: exit code: 1\n"
        );
    }

    #[test]
    fn steps_side_by_side_do_not_mix_their_lines() {
        let text = shown(&[
            started(0, "one"),
            started(1, "two"),
            output(0, "1\n"),
            output(1, "2\n"),
            output(0, "1\n"),
            output(1, "2\n"),
            done(0, None),
            done(1, Some("context canceled")),
        ]);
        assert_eq!(
            text,
            "#1 one\n#1 0.000 1\n#1 0.000 1\n#1 DONE 0.0s\n\n#2 two\n#2 0.000 2\n#2 0.000 2\n#2 CANCELED\n"
        );
    }

    #[test]
    fn what_has_ended_interrupts() {
        let text = shown(&[
            started(0, "one"),
            Event::Cached {
                vertex: 1,
                name: "two",
            },
            done(0, None),
        ]);
        assert_eq!(
            text,
            "#1 one\n#1 ...\n\n#2 two\n#2 CACHED\n\n#1 one\n#1 DONE 0.0s\n"
        );
    }
}
