//! Root of a user namespace that somebody has made.

use crate::user::{User, View};

#[test]
fn root_of_a_user_namespace_is_told_what_it_needs() {
    let user = User::new();
    let nested = |within| View {
        within,
        ..View::default()
    };
    let borrowed = nested("-U --map-auto --map-root-user -m");
    user.rctr_with(borrowed, ["run", "--rm", "busybox", "true"])
        .exits(125)
        .stderr_has("has no power over the network it is in")
        .stderr_has("hint: run rctr as the user outside");
    // With a network of its own, and what else it takes, it is as good as any root. Limits it has none.
    let owned = nested("-U --map-auto --map-root-user -m -n --kill-child -pf --mount-proc");
    user.rctr(["pull", "-q", "busybox"]).ok();
    user.rctr(["save", "-o", "busybox.tar", "busybox"]).ok();
    user.rctr_with(owned, ["load", "-q", "-i", "busybox.tar"])
        .ok();
    for network in ["none", "bridge"] {
        let words = [
            "run",
            "--rm",
            "--network",
            network,
            "-u",
            "7",
            "busybox",
            "id",
            "-u",
        ];
        user.rctr_with(owned, words).ok().stdout_is("7");
    }
}
