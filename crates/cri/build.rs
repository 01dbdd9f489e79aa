//! Turns proto/runtime.v1.proto into Rust; no protoc is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["runtime.v1.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // The client is for tests and tools; what nobody calls is not in the binary.
        .build_client(true)
        .build_server(true)
        .compile_fds(descriptors)?;
    Ok(())
}
