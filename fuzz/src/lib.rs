//! The parsers of crates/builder, compiled without the rest of the engine.

#[path = "../../crates/builder/src/dockerfile/mod.rs"]
pub mod dockerfile;
#[path = "../../crates/builder/src/ignore.rs"]
pub mod ignore;
pub mod targets;
