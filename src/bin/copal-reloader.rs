//! copal-reloader
fn main() {}
