//! Pulls are killed; the next one goes on.

use rctr_tests::Env;

use crate::{Dice, assert_clean, entries, kill_after};

/// Kills pulls 20 times.
#[test]
fn alone_killed_pulls() {
    let env = Env::new();
    let mut dice = Dice::seeded();
    for (image, rounds) in [("layers128", 8), ("redis", 12)] {
        let whole = env.rctr(["pull", "-q", image]).ok().took();
        env.rctr(["rmi", image]).ok();
        for round in 0..rounds {
            kill_after(env.spawn(["pull", image]), dice.moment(whole));
            env.rctr(["images", "-q"]).ok();
            if round % 4 == 3 {
                env.rctr(["pull", "-q", image]).ok();
                env.run_alone(&["--entrypoint", "", image, "true"]).ok();
                env.rctr(["rmi", image]).ok();
            }
        }
        println!("{image}: a whole pull takes {whole:?}");
    }
    // What was unpacked for nobody goes; downloads that a pull could go on with stay for a day.
    kill_after(
        env.spawn(["pull", "redis"]),
        dice.moment(std::time::Duration::from_millis(300)),
    );
    env.rctr(["images", "-q"]).ok().stdout_is("");
    assert_clean(&env);
    assert_eq!(entries(&env.root().join("layers")), ["link"]);
    assert_eq!(entries(&env.root().join("layers/link")), [""; 0]);
    assert_eq!(entries(&env.root().join("blobs/sha256")), [""; 0]);
}
