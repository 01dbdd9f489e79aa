//! What every command needs: the global options, and the engine when it is asked for.

use std::io::IsTerminal;
use std::path::PathBuf;

use rctr_engine::Engine;
use rctr_engine::config::Config;
use rctr_engine::rootless::{self, Places};
use tracing::level_filters::LevelFilter;

use crate::cli::Global;
use crate::failure::{Failure, Result};

/// The global options, ready for use.
pub struct App {
    root: PathBuf,
    state: PathBuf,
    config: Option<PathBuf>,
    /// Where a configuration file may be if none was named.
    usual_config: Vec<PathBuf>,
}

impl App {
    /// Takes the global options and starts logging if they ask for it.
    pub fn new(global: Global) -> App {
        let level = match (global.debug, global.log_level) {
            (true, _) => Some(LevelFilter::DEBUG),
            (false, level) => level.map(LevelFilter::from),
        };
        if let Some(level) = level {
            tracing_subscriber::fmt()
                .with_max_level(level)
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal())
                .init();
        }
        let usual = Places::of_user();
        App {
            root: global.root.unwrap_or(usual.root),
            state: global.state.unwrap_or(usual.state),
            config: global.config,
            usual_config: usual.config,
        }
    }

    /// The same with another configuration file.
    pub fn with_config(&self, file: PathBuf) -> App {
        App {
            root: self.root.clone(),
            state: self.state.clone(),
            config: Some(file),
            usual_config: Vec::new(),
        }
    }

    /// Reads the configuration and opens the engine.
    pub fn engine(&self) -> Result<Engine> {
        self.open().map_err(Failure::from)
    }

    /// The same for `run`, where a failure is 125.
    pub fn engine_for_run(&self) -> Result<Engine> {
        self.open().map_err(|error| Failure::of_run(&error))
    }

    /// Reads the configuration only: for what needs no store.
    pub fn config(&self) -> Result<Config> {
        self.load().map_err(Failure::from)
    }

    fn open(&self) -> rctr_engine::Result<Engine> {
        let config = self.load()?;
        for warning in rootless::enter(&config.state)? {
            eprintln!("WARNING: {warning}");
        }
        Engine::open(config)
    }

    fn load(&self) -> rctr_engine::Result<Config> {
        let usual = || {
            let there = self.usual_config.iter().find(|file| file.exists());
            there.or(self.usual_config.first()).cloned()
        };
        let file = self.config.clone().or_else(usual).unwrap_or_default();
        Config::load(&self.root, &self.state, &file, self.config.is_some())
    }
}
