//! Line by line: `#5 [2/3] RUN make`, `#5 0.103 gcc …`, `#5 DONE 1.2s`.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rctr_builder::progress::{Event, Progress, VertexId};

use super::Shown;

/// As many lines of a failed step are repeated.
const LAST_LINES: usize = 20;

/// The plain view.
pub struct Plain {
    quiet: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    steps: HashMap<VertexId, Step>,
    /// The step whose lines were printed last.
    last: Option<VertexId>,
    failed: Option<VertexId>,
}

struct Step {
    number: usize,
    name: String,
    started: Instant,
    ended: bool,
    /// Output after the last line break.
    rest: Vec<u8>,
    lines: Vec<String>,
}

impl Plain {
    pub fn new() -> Plain {
        Plain {
            quiet: false,
            state: Mutex::default(),
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
    /// Begins or goes on with a step's part of the view; what is to be printed before its line.
    fn turn_to(&mut self, vertex: VertexId) -> String {
        if self.last == Some(vertex) {
            return String::new();
        }
        let mut text = String::new();
        if let Some(last) = self.last.and_then(|last| self.steps.get(&last)) {
            if !last.ended {
                text += &format!("#{} ...\n", last.number);
            }
            text.push('\n');
        }
        self.last = Some(vertex);
        if let Some(step) = self.steps.get(&vertex) {
            text += &format!("#{} {}\n", step.number, step.name);
        }
        text
    }

    fn begin(&mut self, vertex: VertexId, name: &str) -> String {
        let number = self.steps.len() + 1;
        self.steps.insert(
            vertex,
            Step {
                number,
                name: name.to_owned(),
                started: Instant::now(),
                ended: false,
                rest: Vec::new(),
                lines: Vec::new(),
            },
        );
        self.turn_to(vertex)
    }

    /// A line of a step's own.
    fn line(&mut self, vertex: VertexId, text: &str) -> String {
        let turn = self.turn_to(vertex);
        match self.steps.get(&vertex) {
            Some(step) => format!("{turn}#{} {text}\n", step.number),
            None => turn,
        }
    }

    fn output(&mut self, vertex: VertexId, bytes: &[u8]) -> String {
        let mut printed = self.turn_to(vertex);
        if let Some(step) = self.steps.get_mut(&vertex) {
            step.rest.extend(bytes);
            while let Some(end) = step.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = step.rest.drain(..=end).collect();
                printed += &step.printed(&line);
            }
        }
        printed
    }

    fn done(&mut self, vertex: VertexId, error: Option<&str>) -> String {
        let mut printed = self.turn_to(vertex);
        let Some(step) = self.steps.get_mut(&vertex) else {
            return printed;
        };
        if !step.rest.is_empty() {
            let rest = std::mem::take(&mut step.rest);
            printed += &step.printed(&rest);
        }
        step.ended = true;
        printed += &match error {
            None => format!(
                "#{} DONE {:.1}s\n",
                step.number,
                step.started.elapsed().as_secs_f64()
            ),
            Some("context canceled") => format!("#{} CANCELED\n", step.number),
            Some(error) => {
                self.failed = Some(vertex);
                format!("#{} ERROR: {}\n", step.number, error.replace('\n', "; "))
            }
        };
        printed
    }
}

impl Step {
    /// A line the step printed, remembered.
    fn printed(&mut self, line: &[u8]) -> String {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches(['\n', '\r']);
        let line = format!("{:.3} {text}", self.started.elapsed().as_secs_f64());
        if self.lines.len() == LAST_LINES {
            self.lines.remove(0);
        }
        self.lines.push(line.clone());
        format!("#{} {line}\n", self.number)
    }
}

impl Progress for Plain {
    fn event(&self, event: Event<'_>) {
        let mut state = self.state();
        let text = match event {
            Event::Started { vertex, name } => state.begin(vertex, name),
            Event::Cached { vertex, name } => {
                let begun = state.begin(vertex, name);
                let line = state.line(vertex, "CACHED");
                if let Some(step) = state.steps.get_mut(&vertex) {
                    step.ended = true;
                }
                begun + &line
            }
            Event::Output { vertex, bytes, .. } => state.output(vertex, bytes),
            Event::Status { vertex, text, done } => match done {
                Some(time) => {
                    state.line(vertex, &format!("{text} {:.1}s done", time.as_secs_f64()))
                }
                None => state.line(vertex, text),
            },
            Event::Warning { vertex, text } => state.line(vertex, &format!("WARN: {text}")),
            Event::Done { vertex, error } => state.done(vertex, error),
        };
        self.print(&text);
    }
}

impl Shown for Plain {
    fn finish(&self) {}

    fn failed_step(&self) -> Option<(String, Vec<String>)> {
        let state = self.state();
        let step = state.steps.get(&state.failed?)?;
        Some((step.name.clone(), step.lines.clone()))
    }
}
