//! Watches one container. Started by `rctr`, not by people.

fn main() {
    std::process::exit(rctr_runtime::monitor::main());
}
