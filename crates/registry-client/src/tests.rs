//! The client against registries that misbehave, each a server on loopback inside the test.

mod auth;
mod content;
mod faults;
mod image;
mod places;
mod secure;
mod server;
mod sink;
