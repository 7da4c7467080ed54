//! How long a file and a function may be.

use super::{Offence, Source, code};

/// Lines of a file without its tests: what a reader keeps in view.
const FILE_LINES_MAX: usize = 400;
/// Lines of a function: about one screen.
const FUNCTION_LINES_MAX: usize = 70;

/// A file that is too long.
pub(super) fn file(source: &Source, in_tests: bool) -> Option<Offence> {
    let lines = source.shipped_lines();
    (!in_tests && lines > FILE_LINES_MAX).then(|| {
        let message = format!("{lines} lines without tests; at most {FILE_LINES_MAX}: split it by responsibility");
        Offence::new(&source.path, 0, message)
    })
}

/// Functions that are too long.
pub(super) fn functions(source: &Source, in_tests: bool) -> Vec<Offence> {
    if in_tests {
        return Vec::new();
    }
    let shipped = source.shipped_code();
    let too_long = |at: usize| {
        let signature = shipped.get(at + 2..)?.trim_start();
        let name = signature.split(|c| !code::is_word(c)).next().filter(|name| !name.is_empty())?;
        let (start, end) = (code::line_of(&shipped, at), code::line_of(&shipped, code::item_end(&shipped, at)));
        let lines = end - start + 1;
        (lines > FUNCTION_LINES_MAX).then(|| {
            let message = format!("function `{name}` has {lines} lines; at most {FUNCTION_LINES_MAX}");
            Offence::new(&source.path, start, message)
        })
    };
    code::words(&shipped, "fn").filter_map(too_long).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, in_tests: bool) -> (bool, Vec<usize>) {
        let source = Source::new("broker/src/x.rs", text);
        (file(&source, in_tests).is_some(), functions(&source, in_tests).iter().map(|o| o.line).collect())
    }

    #[test]
    fn long_files_and_functions_are_found() {
        let body = |lines: usize| "    work();\n".repeat(lines);
        for (text, expected) in [
            (format!("fn short() {{\n{}}}\n", body(68)), (false, vec![])),
            (format!("\nfn long() {{\n{}}}\n", body(69)), (false, vec![2])),
            (format!("trait T {{\n    fn f();\n{}}}\n", "    const A: u8;\n".repeat(100)), (false, vec![])),
            ("const A: u8 = 0;\n".repeat(400), (false, vec![])),
            ("const A: u8 = 0;\n".repeat(401), (true, vec![])),
            (format!("#[cfg(test)]\nmod tests {{\n    fn long() {{\n{}    }}\n}}\n", body(500)), (false, vec![])),
        ] {
            assert_eq!(check(&text, false), expected, "{}", text.get(..60).unwrap_or(&text));
        }
        assert_eq!(check(&"const A: u8 = 0;\n".repeat(401), true), (false, vec![]));
    }
}
