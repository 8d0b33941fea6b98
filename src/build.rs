//! Tells cargo that the migrations are compiled in, also those that are new.

fn main() {
    use std::io::Write;
    // Nobody reads it when this fails.
    let _ = writeln!(std::io::stdout(), "cargo::rerun-if-changed=migrations");
}
