//! Files: `cat`, `ls`, `echo`, and the log.
#![deny(unsafe_code)]

use super::screen::Screen;
use crate::drivers::console;
use crate::fs::{self, FsError};
use core::fmt::{self, Write};

/// The text of a file, as it is written: long ones can be stopped.
pub(super) fn cat(path: &str, out: &mut Screen) -> fmt::Result {
    match fs::read(path, out) {
        Ok(()) => Ok(()),
        // The screen alone refuses, at Ctrl-C.
        Err(FsError::Output) => Err(fmt::Error),
        Err(why) => writeln!(out, "cat: {path}: {why}"),
    }
}

/// Prints a directory's entries, one a line: permissions and name.
pub(super) fn ls(path: &str, out: &mut Screen) -> fmt::Result {
    let mut written = Ok(());
    let listed = fs::list(path, &mut |entry| {
        if written.is_ok() {
            let kind = if entry.is_dir { 'd' } else { '-' };
            let slash = if entry.is_dir { "/" } else { "" };
            written = writeln!(out, "{kind}{} {}{slash}", Mode(entry.mode), entry.name);
        }
    });
    written?;
    match listed {
        Ok(()) => Ok(()),
        Err(why) => writeln!(out, "ls: {path}: {why}"),
    }
}

/// Permissions as `ls -l` has them.
struct Mode(u16);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..9).try_for_each(|n| {
            let set = self.0 >> (8 - n) & 1 != 0;
            f.write_char(if set { ['r', 'w', 'x'][n % 3] } else { '-' })
        })
    }
}

/// Has a file act on a text, or shows the text.
pub(super) fn echo(text: &str, path: Option<&str>, out: &mut Screen) -> fmt::Result {
    let Some(path) = path else { return writeln!(out, "{text}") };
    match fs::write(path, text) {
        Ok(()) => Ok(()),
        Err(why) => writeln!(out, "echo: {path}: {why}"),
    }
}

/// The log, as much as is kept.
pub(super) fn dmesg(out: &mut Screen) -> fmt::Result {
    let mut at = 0;
    loop {
        let mut bytes = [0; 128];
        let (count, next) = console::read_log(at, &mut bytes);
        if count == 0 {
            return Ok(());
        }
        at = next;
        // A character may be cut in two here; what the log has is ASCII but for a name or two.
        for chunk in bytes[..count].utf8_chunks() {
            out.write_str(chunk.valid())?;
        }
    }
}
