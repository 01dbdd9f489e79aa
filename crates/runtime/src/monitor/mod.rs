//! The monitor process.

/// Runs the monitor, or, under the name `docker-init`, the init of a container. Gives the exit code.
pub fn main() -> i32 {
    1
}
