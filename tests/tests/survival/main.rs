//! rctr's processes are killed at random moments: no record lies, nothing leaks, what should run runs.
//!
//! Delays come from a seed that is printed; `RCTR_TEST_SEED` gives one.

mod commands;
mod crowd;
mod monitor;
mod pulls;
mod reboot;

use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use rctr_tests::{Env, Output, Running, entries};

/// Random numbers that can be had again (xorshift64).
pub struct Dice(u64);

impl Dice {
    /// Prints its seed.
    pub fn seeded() -> Self {
        let given = std::env::var("RCTR_TEST_SEED").ok();
        let seed = given.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.map_or(1, |now| now.as_nanos() as u64)
        });
        println!("RCTR_TEST_SEED={seed}");
        Self(seed | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }

    /// A moment within one and a quarter of `whole`, so that some come after the end.
    pub fn moment(&mut self, whole: Duration) -> Duration {
        Duration::from_micros(self.below(whole.as_micros() as u64 * 5 / 4))
    }
}

/// Kills a command after a delay and waits for it.
pub fn kill_after(command: Running, delay: Duration) -> Output {
    std::thread::sleep(delay);
    command.signal(Signal::SIGKILL);
    command.finish()
}

/// After the containers have been removed and garbage collected nothing of any kind is left.
pub fn assert_clean(env: &Env) {
    let ids: Vec<_> = env.containers().into_iter().map(|(id, _)| id).collect();
    for id in ids {
        env.rctr(["rm", "-f", "-v", &id]).ok();
    }
    env.assert_no_leftovers();
    assert_eq!(env.published(), [""; 0]);
    let store = rctr_store::Store::open(&env.root()).expect("the store opens");
    assert_eq!(store.addresses("bridge").expect("addresses"), []);
    let mut states = entries(&env.state());
    states.retain(|name| !name.starts_with('.'));
    assert!(states.is_empty(), "state directories stay: {states:?}");

    env.rctr(["internal", "gc"]).ok();
    assert_eq!(entries(&env.root().join("containers")), [""; 0]);
    let mut temporary = entries(&env.root().join("tmp"));
    temporary.retain(|name| !name.starts_with("partial-"));
    assert_eq!(temporary, [""; 0]);
}
