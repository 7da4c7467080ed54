//! The fuzz bodies for a bounded number of mutated inputs, so that every test run covers a little of what
//! `cargo fuzz` covers in hours. A failure prints the seed (`FUZZ_SEED=…` runs it again) and the input.

use fastrand::Rng;
use tests::fuzz_bodies::{TARGETS, Target};

/// Inputs per target: about half a second each without optimisation.
const INPUTS: u32 = 50_000;

/// Longest input, in bytes: mutation must not make the run slow.
const INPUT_BYTES_MAX: usize = 4096;

/// Pieces that decoders look for, which single flipped bits would hardly ever make.
const PIECES: [&str; 36] = [
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\udc00",
    "%",
    "%00",
    "%C3",
    "\n",
    ":",
    "ce-",
    "null",
    "{}",
    "[]",
    "data",
    "data_base64",
    "id",
    "1.0",
    "0.3",
    "2147483648",
    "1e5",
    "\u{85}",
    "\u{ffff}",
    ",\"id\":\"\"",
    "(",
    ")",
    "'",
    " AND ",
    " OR NOT ",
    " IN (",
    " LIKE '%",
    " = ",
    "-",
    "EXISTS ",
    "SUBSTRING(",
    "CONCAT(",
];

#[test]
fn mutated_inputs_break_no_decoder() {
    let seed = std::env::var("FUZZ_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    eprintln!("FUZZ_SEED={seed}");
    for target in TARGETS {
        run(&target, &mut Rng::with_seed(seed));
    }
}

fn run(target: &Target, rng: &mut Rng) {
    let mut corpus = (target.seeds)();
    assert!(!corpus.is_empty());
    for input in &corpus {
        (target.body)(input);
    }
    for _ in 0..INPUTS {
        let mut input = rng.choice(&corpus).expect("it is not empty").clone();
        for _ in 0..rng.usize(1..6) {
            mutate(&mut input, &corpus, rng);
        }
        input.truncate(INPUT_BYTES_MAX);
        let shown = Shown { target: target.name, input: &input };
        (target.body)(&input);
        drop(shown);
        // Some mutants stay, so that later ones lie further away from the seeds.
        if rng.u32(..100) == 0 && corpus.len() < 64 {
            corpus.push(input);
        }
    }
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.usize(..=input.len());
    let to = rng.usize(at..=input.len());
    match rng.u8(..7) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.u8(..8);
            }
        }
        1 => input.insert(at, rng.u8(..)),
        2 => drop(input.drain(at..to.min(at + 8))),
        3 => input.truncate(at),
        4 => {
            let piece = rng.choice(PIECES).expect("there are pieces");
            input.splice(at..at, piece.bytes());
        }
        5 => {
            let copy = input.get(at..to).unwrap_or_default().to_vec();
            input.splice(at..at, copy);
        }
        _ => {
            let other = rng.choice(corpus).expect("it is not empty");
            let from = rng.usize(..=other.len());
            input.truncate(at);
            input.extend_from_slice(other.get(from..).unwrap_or_default());
        }
    }
}

/// Prints the input if the body panics.
struct Shown<'i> {
    target: &'static str,
    input: &'i [u8],
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("target {} fails on b\"{}\"", self.target, self.input.escape_ascii());
        }
    }
}
