//! `reveille` as a program of its own.

fn main() -> std::process::ExitCode {
    broker::main()
}
