//! `volume …`, options of the local driver, `--mount` in full, `--volumes-from`, and what takes space.

mod commands;
mod mounted;
