//! The client against registries that misbehave, each a server on loopback inside the test.

mod auth;
mod content;
mod faults;
mod image;
mod login;
mod places;
mod push;
mod secure;
mod server;
mod sink;
mod uploads;
