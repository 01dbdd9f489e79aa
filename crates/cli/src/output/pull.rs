//! How a pull comes along: a bar per layer on a terminal, else a line per step.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rctr_registry_client::{Descriptor, Digest, LayerEvent, Progress, PulledLayer};

use super::short_id;

const BAR: &str = "{prefix}: {msg} [{bar:50}] {decimal_bytes}/{decimal_total_bytes}";
const PLAIN: &str = "{prefix}: {msg}";

/// Bars if the stream is a terminal that can have them, lines otherwise.
pub fn progress(stderr: bool) -> Arc<dyn Progress> {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let terminal = if stderr {
        std::io::stderr().is_terminal()
    } else {
        std::io::stdout().is_terminal()
    };
    match terminal && !dumb {
        true => Arc::new(Bars::new(stderr)),
        false => Arc::new(Lines {
            stderr,
            last: Mutex::default(),
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
    /// The last words for each layer: some events come again and again.
    last: Mutex<HashMap<Digest, String>>,
}

impl Lines {
    fn say(&self, layer: &Digest, words: &str) {
        let line = format!("{}: {words}", short_id(layer.as_ref()));
        // A reader that went away does not stop a pull.
        let _ = match self.stderr {
            true => writeln!(std::io::stderr(), "{line}"),
            false => writeln!(std::io::stdout(), "{line}"),
        };
    }
}

impl Progress for Lines {
    fn resolved(&self, _: &Descriptor, _: &[PulledLayer]) {}

    fn event(&self, layer: &Digest, event: LayerEvent) {
        let words = match &event {
            // It may yet turn out to be here already.
            LayerEvent::Waiting => return,
            LayerEvent::Downloading { .. } => "Pulling fs layer".to_owned(),
            event => words(event),
        };
        let mut last = lock(&self.last);
        if last.get(layer) != Some(&words) {
            self.say(layer, &words);
            last.insert(layer.clone(), words);
        }
    }
}

/// A bar for each layer.
struct Bars {
    screen: MultiProgress,
    bars: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    fn new(stderr: bool) -> Bars {
        let target = if stderr {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::stdout()
        };
        Bars {
            screen: MultiProgress::with_draw_target(target),
            bars: Mutex::default(),
        }
    }
}

impl Progress for Bars {
    fn resolved(&self, _: &Descriptor, layers: &[PulledLayer]) {
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

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
