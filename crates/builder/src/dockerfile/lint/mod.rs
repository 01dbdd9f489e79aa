//! What may be wrong with a file that follows the rules.

mod rules;

pub use rules::{Rule, Warning};
