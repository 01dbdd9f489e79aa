//! What `build --output` makes beyond a plain image: eStargz, several platforms, attestations and annotations in
//! archives and directories; and what goes out again with `push`, `history` and `save`.

mod afterwards;
mod estargz;
mod platforms;

use std::path::Path;

use rctr_tests::{Context, Env, parsed, text, tool};
use serde_json::Value;

const PLATFORMS: &str = "linux/arm64,linux/amd64";

/// An image for two platforms.
fn several(env: &Env) -> Context {
    env.context(&[
        (
            "Dockerfile",
            "FROM multiarch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY given /given\n",
        ),
        ("given", "given\n"),
    ])
}

fn member(archive: &Path, name: &str) -> Value {
    parsed(&tool("tar", &["-xOf", &text(archive), name]))
}
