//! reveille.
fn main() {}
