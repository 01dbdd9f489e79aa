//! How a push comes along: a bar per layer on a terminal, else a line per step.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use rctr_engine::{PushEvent, PushLayer, PushProgress, PushedImage};
use rctr_registry_client::Digest;

use super::bars::{BAR, PLAIN, lock, style};
use super::short_id;

/// What is done with the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Push,
    Copy,
    Load,
}

/// Bars if standard output is a terminal that can have them, lines otherwise.
pub fn progress(deed: Deed) -> Arc<dyn PushProgress> {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    match std::io::stdout().is_terminal() && !dumb {
        true => Arc::new(Bars {
            deed,
            screen: MultiProgress::with_draw_target(ProgressDrawTarget::stdout()),
            bars: Mutex::default(),
        }),
        false => Arc::new(Lines {
            deed,
            last: Mutex::default(),
        }),
    }
}

/// `--quiet`.
pub struct Silent;

impl PushProgress for Silent {
    fn repository(&self, _: &str) {}

    fn layers(&self, _: &[PushLayer]) {}

    fn event(&self, _: &Digest, _: PushEvent) {}

    fn pushed(&self, _: &PushedImage) {}
}

/// What a layer is at, in Docker's words.
fn words(deed: Deed, event: &PushEvent) -> String {
    match event {
        PushEvent::Exists if deed == Deed::Load => "Already exists".to_owned(),
        PushEvent::Pushing { .. } if deed == Deed::Load => "Loading layer".to_owned(),
        PushEvent::Pushed if deed == Deed::Load => "Loaded layer".to_owned(),
        PushEvent::Exists if deed == Deed::Copy => "Already exists".to_owned(),
        PushEvent::Pushing { .. } if deed == Deed::Copy => "Copying".to_owned(),
        PushEvent::Pushed if deed == Deed::Copy => "Copied".to_owned(),
        PushEvent::Preparing => "Preparing".to_owned(),
        PushEvent::Waiting => "Waiting".to_owned(),
        PushEvent::Exists => "Layer already exists".to_owned(),
        PushEvent::Mounted { from } => format!("Mounted from {from}"),
        PushEvent::Pushing { .. } => "Pushing".to_owned(),
        PushEvent::Retrying { attempt, reason } => format!("Retrying ({attempt}): {reason}"),
        PushEvent::Pushed => "Pushed".to_owned(),
    }
}

fn head(deed: Deed, name: &str) -> String {
    match deed {
        Deed::Push => format!("The push refers to repository [{name}]"),
        Deed::Copy => format!("Copying to {name}"),
        Deed::Load => format!("Loading {name}"),
    }
}

fn tail(image: &PushedImage) -> String {
    format!(
        "{}: digest: {} size: {}",
        image.tag, image.digest, image.size
    )
}

/// One line for each thing that happens, as when Docker's output is not a terminal.
struct Lines {
    deed: Deed,
    last: Mutex<HashMap<Digest, String>>,
}

fn say(line: &str) {
    // A reader that went away does not stop a push.
    let _ = writeln!(std::io::stdout(), "{line}");
}

impl PushProgress for Lines {
    fn repository(&self, name: &str) {
        say(&head(self.deed, name));
    }

    fn layers(&self, layers: &[PushLayer]) {
        let mut last = lock(&self.last);
        last.clear();
        // Docker's order is from the top.
        for layer in layers.iter().rev() {
            say(&format!("{}: Preparing", short_id(layer.label.as_ref())));
            last.insert(layer.label.clone(), words(self.deed, &PushEvent::Preparing));
        }
    }

    fn event(&self, layer: &Digest, event: PushEvent) {
        // What comes many times, or to each layer anyway, says nothing in a log.
        if matches!(event, PushEvent::Pushing { .. } | PushEvent::Waiting) {
            return;
        }
        let words = words(self.deed, &event);
        let mut last = lock(&self.last);
        if last.get(layer) != Some(&words) {
            say(&format!("{}: {words}", short_id(layer.as_ref())));
            last.insert(layer.clone(), words);
        }
    }

    fn pushed(&self, image: &PushedImage) {
        say(&tail(image));
    }
}

/// A bar for each layer.
struct Bars {
    deed: Deed,
    screen: MultiProgress,
    bars: Mutex<HashMap<Digest, ProgressBar>>,
}

impl PushProgress for Bars {
    fn repository(&self, name: &str) {
        say(&head(self.deed, name));
    }

    fn layers(&self, layers: &[PushLayer]) {
        let mut bars = lock(&self.bars);
        bars.clear();
        for layer in layers.iter().rev() {
            let bar = self.screen.add(ProgressBar::new(layer.size));
            bar.set_style(style(PLAIN));
            bar.set_prefix(short_id(layer.label.as_ref()).to_owned());
            bar.set_message(words(self.deed, &PushEvent::Preparing));
            bars.insert(layer.label.clone(), bar);
        }
    }

    fn event(&self, layer: &Digest, event: PushEvent) {
        let bars = lock(&self.bars);
        let Some(bar) = bars.get(layer) else { return };
        match &event {
            PushEvent::Pushing { current, total } => {
                bar.set_style(style(BAR));
                bar.set_length(*total);
                bar.set_message(words(self.deed, &event));
                bar.set_position(*current);
            }
            PushEvent::Exists | PushEvent::Mounted { .. } | PushEvent::Pushed => {
                bar.set_style(style(PLAIN));
                bar.finish_with_message(words(self.deed, &event));
            }
            PushEvent::Preparing | PushEvent::Waiting | PushEvent::Retrying { .. } => {
                bar.set_style(style(PLAIN));
                bar.set_message(words(self.deed, &event));
            }
        }
    }

    fn pushed(&self, image: &PushedImage) {
        self.screen.suspend(|| say(&tail(image)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_dockers() {
        let from = "library/nginx".to_owned();
        assert_eq!(
            words(Deed::Push, &PushEvent::Mounted { from }),
            "Mounted from library/nginx"
        );
        assert_eq!(
            words(Deed::Push, &PushEvent::Exists),
            "Layer already exists"
        );
        let image = PushedImage {
            reference: "h:5/a:1".into(),
            tag: "1".into(),
            digest: "sha256:0".into(),
            size: 528,
            left_index: None,
        };
        assert_eq!(tail(&image), "1: digest: sha256:0 size: 528");
        assert_eq!(
            head(Deed::Push, "docker.io/library/x"),
            "The push refers to repository [docker.io/library/x]"
        );
    }
}
