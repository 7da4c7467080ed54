//! `reveille-controller` as a program of its own.

fn main() -> std::process::ExitCode {
    trigger_controller::main()
}
