//! How a pull comes along: a bar per layer on a terminal, else a line per step.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use rctr_registry_client::{Descriptor, Digest, LayerEvent, Progress, PulledLayer};

use super::bars::{BAR, PLAIN, lock, style};
use super::short_id;

/// Bars if the stream is a terminal that can have them, lines otherwise; `head` comes first, once the registry has the
/// image.
pub fn progress(stderr: bool, head: Option<String>) -> Arc<dyn Progress> {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let terminal = if stderr {
        std::io::stderr().is_terminal()
    } else {
        std::io::stdout().is_terminal()
    };
    match terminal && !dumb {
        true => Arc::new(Bars::new(stderr, head)),
        false => Arc::new(Lines {
            stderr,
            head,
            seen: Mutex::default(),
        }),
    }
}

/// `--quiet`.
pub struct Silent;

impl Progress for Silent {
    fn resolved(&self, _: &Descriptor, _: &[PulledLayer]) {}

    fn event(&self, _: &Digest, _: LayerEvent) {}
}

/// What a layer is at, in Docker's words.
fn words(event: &LayerEvent) -> String {
    match event {
        LayerEvent::Waiting => "Waiting".to_owned(),
        LayerEvent::Exists => "Already exists".to_owned(),
        LayerEvent::Downloading { .. } => "Downloading".to_owned(),
        LayerEvent::Retrying { attempt, reason } => format!("Retrying ({attempt}): {reason}"),
        LayerEvent::Unpacking => "Download complete".to_owned(),
        LayerEvent::Done => "Pull complete".to_owned(),
    }
}

/// One line for each thing that happens, as when Docker's output is not a terminal.
struct Lines {
    stderr: bool,
    head: Option<String>,
    seen: Mutex<Seen>,
}

/// What the layers were at.
#[derive(Default)]
struct Seen {
    /// The last words for each: some events come again and again.
    last: HashMap<Digest, String>,
    /// Layers that are here, while there are no others: of an image that is complete nothing is said.
    here: Vec<Digest>,
    /// Something had to be fetched.
    fetching: bool,
}

impl Lines {
    fn say_of(&self, layer: &Digest, words: &str) {
        self.say(&format!("{}: {words}", short_id(layer.as_ref())));
    }

    fn say(&self, line: &str) {
        // A reader that went away does not stop a pull.
        let _ = match self.stderr {
            true => writeln!(std::io::stderr(), "{line}"),
            false => writeln!(std::io::stdout(), "{line}"),
        };
    }
}

impl Progress for Lines {
    fn resolved(&self, _: &Descriptor, _: &[PulledLayer]) {
        if let Some(head) = &self.head {
            self.say(head);
        }
    }

    fn event(&self, layer: &Digest, event: LayerEvent) {
        let mut seen = lock(&self.seen);
        if matches!(event, LayerEvent::Exists) && !seen.fetching {
            seen.here.push(layer.clone());
            return;
        }
        let words = match &event {
            // It may yet turn out to be here already.
            LayerEvent::Waiting => return,
            LayerEvent::Downloading { .. } => "Pulling fs layer".to_owned(),
            event => words(event),
        };
        seen.fetching = true;
        for layer in std::mem::take(&mut seen.here) {
            self.say_of(&layer, "Already exists");
        }
        if seen.last.get(layer) != Some(&words) {
            self.say_of(layer, &words);
            seen.last.insert(layer.clone(), words);
        }
    }
}

/// A bar for each layer.
struct Bars {
    head: Option<String>,
    screen: MultiProgress,
    bars: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    fn new(stderr: bool, head: Option<String>) -> Bars {
        let target = if stderr {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::stdout()
        };
        Bars {
            head,
            screen: MultiProgress::with_draw_target(target),
            bars: Mutex::default(),
        }
    }
}

impl Progress for Bars {
    fn resolved(&self, _: &Descriptor, layers: &[PulledLayer]) {
        if let Some(head) = &self.head {
            // A terminal that went away does not stop a pull.
            let _ = self.screen.println(head);
        }
        let mut bars = lock(&self.bars);
        for layer in layers {
            let digest = layer.descriptor.digest();
            if bars.contains_key(digest) {
                continue;
            }
            let bar = self.screen.add(ProgressBar::new(layer.descriptor.size()));
            bar.set_style(style(PLAIN));
            bar.set_prefix(short_id(digest.as_ref()).to_owned());
            bar.set_message("Pulling fs layer");
            bars.insert(digest.clone(), bar);
        }
    }

    fn event(&self, layer: &Digest, event: LayerEvent) {
        let bars = lock(&self.bars);
        let Some(bar) = bars.get(layer) else { return };
        match &event {
            LayerEvent::Downloading { current, total } => {
                if bar.position() == 0 {
                    bar.set_style(style(BAR));
                    bar.set_length(*total);
                    bar.set_message(words(&event));
                }
                bar.set_position(*current);
            }
            LayerEvent::Exists | LayerEvent::Done => {
                bar.set_style(style(PLAIN));
                bar.finish_with_message(words(&event));
            }
            LayerEvent::Waiting | LayerEvent::Retrying { .. } | LayerEvent::Unpacking => {
                bar.set_style(style(PLAIN));
                bar.set_message(words(&event));
            }
        }
    }
}
