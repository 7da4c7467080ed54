//! `reveille` and `reveille-controller` in one file, which is the one that its name says. Two thirds of each are what
//! both need: the runtime, HTTP, TLS and the Kubernetes client.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

/// The name under which it is the controller; under any other it is the broker and its CLI.
const CONTROLLER: &str = "reveille-controller";

fn main() -> ExitCode {
    if is_controller(std::env::args_os().next().as_deref()) { trigger_controller::main() } else { broker::main() }
}

fn is_controller(called: Option<&OsStr>) -> bool {
    called.and_then(|path| Path::new(path).file_name()).is_some_and(|name| name == CONTROLLER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_which_it_is() {
        for (called, controller) in [
            (Some("/usr/local/bin/reveille-controller"), true),
            (Some("reveille-controller"), true),
            (Some("/usr/local/bin/reveille"), false),
            (Some("/opt/reveille-controller/reveille"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(is_controller(called.map(OsStr::new)), controller, "{called:?}");
        }
    }
}
