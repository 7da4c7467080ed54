//! reveille-controller.
fn main() {}
