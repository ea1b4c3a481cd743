//! Completion: what the word before the cursor could be.
//!
//! Candidates are told to a function, so that nothing is allocated.
#![deny(unsafe_code)]

use super::command::{Argument, COMMANDS, find};
use crate::fs;
use crate::mm::gfp::Gfp;
use crate::mm::slab::slabinfo;
use arrayvec::ArrayString;
use bitflags::Flags;

/// Bytes of the longest name that is completed.
const NAME: usize = 64;
/// Completed name.
pub type Name = ArrayString<NAME>;

/// Calls a function with each name of a list.
pub type EachName = fn(&mut dyn FnMut(&str));

/// The lists that only the machine has.
#[derive(Clone, Copy)]
pub struct Lists {
    /// Names of benchmarks.
    pub benches: &'static [&'static str],
    /// Names of faults.
    pub faults: EachName,
}

/// Result of completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Completion {
    /// Text after the part that was typed, as far as all candidates have it.
    pub rest: Name,
    /// Number of candidates.
    pub candidates: usize,
}

/// Completes `line`, which ends at the cursor.
pub fn complete(line: &str, lists: Lists) -> Completion {
    let typed = part(line);
    let mut rest: Option<Name> = None;
    let mut candidates = 0;
    for_each(line, lists, &mut |name, end| {
        let Some(tail) = name.strip_prefix(typed) else { return };
        candidates += 1;
        let mut full = Name::new();
        // A name that is too long is completed as far as there is room.
        for c in tail.chars().chain(end) {
            if full.try_push(c).is_err() {
                break;
            }
        }
        match &mut rest {
            None => rest = Some(full),
            Some(rest) => {
                let same = rest.chars().zip(full.chars()).take_while(|(a, b)| a == b);
                let same = same.map(|(c, _)| c.len_utf8()).sum();
                rest.truncate(same);
            }
        }
    });
    Completion { rest: rest.unwrap_or_default(), candidates }
}

/// Calls `f` with each candidate for the end of `line`.
pub fn list(line: &str, lists: Lists, f: &mut dyn FnMut(&str)) {
    let typed = part(line);
    for_each(line, lists, &mut |name, _| {
        if name.starts_with(typed) {
            f(name);
        }
    });
}

/// The part of `line` that is completed: of a path what follows the last slash, of flags what
/// follows the last bar.
fn part(line: &str) -> &str {
    let word = line.rsplit(' ').next().unwrap_or("");
    match argument(line) {
        Argument::Path => word.rsplit('/').next().unwrap_or(""),
        Argument::Gfp => word.rsplit(['|', '+', ',']).next().unwrap_or(""),
        _ => word,
    }
}

/// Returns the kind of the word at the end of `line`.
fn argument(line: &str) -> Argument {
    let (mut rest, mut n) = (line.trim_start(), 0);
    let mut entry = None;
    // The words that are complete: those with a space behind them.
    while let Some((word, after)) = rest.split_once(' ') {
        match entry {
            None => match find(word) {
                Some(found) => entry = Some(found),
                None => return Argument::Any,
            },
            // The text of an echo may have many words.
            Some(found) if found.name == "echo" => n = if word == ">" { 2 } else { n.max(1) },
            Some(found) if found.name == "watch" && n == 1 => {
                entry = find(word);
                n = 0;
                rest = after.trim_start();
                continue;
            }
            Some(_) => n += 1,
        }
        rest = after.trim_start();
    }
    match entry {
        None => Argument::Command,
        Some(entry) => entry.completes.get(n).copied().unwrap_or(Argument::Any),
    }
}

/// Calls `f` with every name that the end of `line` could be, and what follows it.
fn for_each(line: &str, lists: Lists, f: &mut dyn FnMut(&str, Option<char>)) {
    let space = Some(' ');
    match argument(line) {
        Argument::Any => {}
        Argument::Command => COMMANDS.iter().for_each(|entry| f(entry.name, space)),
        Argument::Word(words) => words.iter().for_each(|word| f(word, space)),
        Argument::Gfp => Gfp::FLAGS.iter().for_each(|flag| f(flag.name(), None)),
        Argument::Bench => lists.benches.iter().for_each(|name| f(name, space)),
        Argument::Fault => (lists.faults)(&mut |name| f(name, space)),
        Argument::Cache => slabinfo().for_each(|cache| f(cache.name, space)),
        Argument::Path => {
            let word = line.rsplit(' ').next().unwrap_or("");
            let above = &word[..word.rfind('/').map_or(0, |slash| slash + 1)];
            // Of a file nothing comes below.
            if fs::metadata(above).is_ok_and(|what| what.is_dir) {
                let _ = fs::list(above, &mut |entry| {
                    f(entry.name, Some(if entry.is_dir { '/' } else { ' ' }));
                });
            }
        }
    }
}
