//! `rctr cri`: the service that a kubelet talks to.

use std::io::IsTerminal;
use std::path::PathBuf;

use rctr_engine::Engine;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::app::App;
use crate::cli::CriArgs;
use crate::failure::{ENGINE, Failure, GENERAL, Result, chain};
use crate::usage::require_none;

pub fn run(app: &App, args: &CriArgs) -> Result {
    require_none("cri", &args.surplus)?;
    rctr_engine::rootless::require_root("cri")?;
    let socket = args.listen.as_deref().map(socket).transpose()?;
    let engine = match &args.config {
        Some(file) => app.with_config(file.clone()).engine()?,
        None => app.engine()?,
    };
    serve(engine, socket)
}

/// Serves until it is told to end.
pub fn serve(engine: Engine, socket: Option<PathBuf>) -> Result {
    // A service has a journal: unlike a command, it says what it does. An earlier choice of level stands.
    let _ = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .finish()
        .with(own_words())
        .try_init();
    rctr_cri::serve(engine, socket).map_err(|e| Failure::new(GENERAL, chain(&e)))?;
    Ok(0)
}

/// Not what libcgroups finds worth telling with every pod: which controllers this host does not have.
fn own_words() -> Targets {
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("libcgroups", LevelFilter::ERROR)
}

fn socket(text: &str) -> Result<PathBuf> {
    let path = text.strip_prefix("unix://").unwrap_or(text);
    match path.starts_with('/') {
        true => Ok(path.into()),
        false => {
            let message = format!("{text:?} is no socket: write unix:///PATH");
            Err(Failure::usage(ENGINE, "cri", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets() {
        assert_eq!(
            socket("unix:///run/x.sock").unwrap(),
            PathBuf::from("/run/x.sock")
        );
        assert_eq!(socket("/x").unwrap(), PathBuf::from("/x"));
        assert_eq!(socket("tcp://1.2.3.4:5").unwrap_err().code(), ENGINE);
    }
}
