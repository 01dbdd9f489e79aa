//! One JSON document a line, as BuildKit's clients read them: steps, their parts, output and warnings.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rctr_builder::progress::{Event, Progress, VertexId};
use rctr_engine::LogStream;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::trace::Trace;
use super::{Failed, Shown};

/// The view for programs.
pub struct RawJson {
    state: Mutex<State>,
}

struct State {
    trace: Trace,
    /// What is said again with every word about a step, and when its parts began.
    steps: std::collections::HashMap<VertexId, Said>,
}

#[derive(Default)]
struct Said {
    vertex: Map<String, Value>,
    parts: std::collections::HashMap<String, String>,
}

impl RawJson {
    pub fn new() -> RawJson {
        RawJson {
            state: Mutex::new(State {
                trace: Trace::new(),
                steps: std::collections::HashMap::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The document that tells of an event.
    fn document(&mut self, event: &Event<'_>, now: &str) -> Value {
        match event {
            Event::Started { vertex, name } => self.begun(*vertex, name, now, false),
            Event::Cached { vertex, name } => self.begun(*vertex, name, now, true),
            Event::Output {
                vertex,
                stream,
                bytes,
            } => {
                let stream = match stream {
                    LogStream::Stdout => 1,
                    LogStream::Stderr => 2,
                };
                json!({"logs": [{
                    "vertex": digest(*vertex),
                    "stream": stream,
                    "data": STANDARD.encode(bytes),
                    "timestamp": now,
                }]})
            }
            Event::Status {
                vertex,
                text,
                amount,
                done,
            } => {
                let parts = &mut self.steps.entry(*vertex).or_default().parts;
                let began = parts
                    .entry((*text).to_owned())
                    .or_insert_with(|| now.to_owned());
                let mut status = json!({
                    "id": text,
                    "vertex": digest(*vertex),
                    "current": amount.current,
                    "timestamp": now,
                    "started": began,
                });
                if amount.total > 0 {
                    status["total"] = amount.total.into();
                }
                if *done {
                    status["completed"] = now.into();
                }
                json!({"statuses": [status]})
            }
            Event::Warning { vertex, text } => json!({"warnings": [{
                "vertex": digest(*vertex),
                "level": 1,
                "short": STANDARD.encode(text),
            }]}),
            Event::Done { vertex, error } => {
                let said = &mut self.steps.entry(*vertex).or_default().vertex;
                said.insert("completed".into(), now.into());
                if let Some(error) = error {
                    said.insert("error".into(), (*error).into());
                }
                json!({"vertexes": [said]})
            }
        }
    }

    fn begun(&mut self, vertex: VertexId, name: &str, now: &str, cached: bool) -> Value {
        let said = &mut self.steps.entry(vertex).or_default().vertex;
        said.insert("digest".into(), digest(vertex).into());
        said.insert("name".into(), name.into());
        said.insert("started".into(), now.into());
        if cached {
            said.insert("completed".into(), now.into());
            said.insert("cached".into(), true.into());
        }
        json!({"vertexes": [said]})
    }
}

/// A name for a step that looks like those of BuildKit's.
fn digest(vertex: VertexId) -> String {
    let hash = Sha256::digest(vertex.to_le_bytes());
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

impl Progress for RawJson {
    fn event(&self, event: Event<'_>) {
        let mut state = self.state();
        let document = state.document(&event, &Timestamp::now().to_string());
        state.trace.apply(&event);
        // Nobody is left to tell if standard error is closed.
        let _ = std::io::stderr().write_all(format!("{document}\n").as_bytes());
    }
}

impl Shown for RawJson {
    fn finish(&self) {}

    fn failed_step(&self) -> Option<Failed> {
        self.state().trace.failed().map(Failed::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rctr_builder::progress::Amount;

    #[test]
    fn every_word_about_a_step_says_which() {
        let raw = RawJson::new();
        let mut state = raw.state();
        let mut tell = |event: Event<'_>| state.document(&event, "T");
        let begun = tell(Event::Started {
            vertex: 7,
            name: "RUN x",
        });
        let vertex = &begun["vertexes"][0];
        assert_eq!(vertex["name"], "RUN x");
        let digest = vertex["digest"].as_str().expect("a digest");
        assert_eq!(digest.len(), 71);
        let log = tell(Event::Output {
            vertex: 7,
            stream: LogStream::Stderr,
            bytes: b"hi\n",
        });
        assert_eq!(log["logs"][0]["data"], "aGkK");
        assert_eq!(log["logs"][0]["stream"], 2);
        assert_eq!(log["logs"][0]["vertex"], digest);
        let status = tell(Event::Status {
            vertex: 7,
            text: "transferring context:",
            amount: Amount {
                current: 3,
                total: 0,
            },
            done: true,
        });
        assert_eq!(status["statuses"][0]["current"], 3);
        assert_eq!(status["statuses"][0]["completed"], "T");
        let done = tell(Event::Done {
            vertex: 7,
            error: Some("bad"),
        });
        assert_eq!(done["vertexes"][0]["name"], "RUN x");
        assert_eq!(done["vertexes"][0]["error"], "bad");
    }
}
