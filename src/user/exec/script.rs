//! The first line of a script (Linux: fs/binfmt_script.c).

use super::BINPRM_BUF_SIZE;
use crate::errno::Errno;

/// Times that a script's interpreter may be a script in turn, the program included (Linux:
/// exec_binprm).
pub const MAX_DEPTH: usize = 5;

/// The first line, taken apart. Neither part has a zero in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line<'a> {
    /// Path of the interpreter.
    pub interpreter: &'a [u8],
    /// All that follows, without the blanks around it: one argument.
    pub argument: Option<&'a [u8]>,
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Takes the first line apart; `None` for what is no script. `buf` has zeros behind the end of a
/// file that is shorter.
///
/// # Errors
/// ENOEXEC: the line names no interpreter, or may be cut off within its path.
pub fn parse(buf: &[u8; BINPRM_BUF_SIZE]) -> Result<Option<Line<'_>>, Errno> {
    const LAST: usize = BINPRM_BUF_SIZE - 1;
    if !buf.starts_with(b"#!") {
        return Ok(None);
    }
    // Both look at `last`, too.
    let non_blank = |first: usize, last: usize| (first..=last).find(|&n| !is_blank(buf[n]));
    let terminator =
        |first: usize, last: usize| (first..=last).find(|&n| is_blank(buf[n]) || buf[n] == 0);
    let newline = buf.iter().position(|&byte| byte == b'\n' || byte == 0);
    let mut end = match newline {
        Some(n) if buf[n] == b'\n' => n,
        // No newline, or behind a zero: a path that has something behind it is whole.
        _ => {
            let name = non_blank(2, LAST).ok_or(Errno::ENOEXEC)?;
            terminator(name, LAST).ok_or(Errno::ENOEXEC)?;
            LAST
        }
    };
    while is_blank(buf[end - 1]) {
        end -= 1;
    }
    let name = non_blank(2, end).filter(|&name| name != end).ok_or(Errno::ENOEXEC)?;
    let separator = terminator(name, end);
    let argument = separator.filter(|&n| buf[n] != 0).and_then(|n| non_blank(n, end));
    // Strings end at a zero, at the end of the line, and the name also before an argument.
    let string = |first: usize, end: usize| {
        let bytes = &buf[first..end.max(first)];
        &bytes[..bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len())]
    };
    let name_end = match (separator, argument) {
        (Some(separator), Some(_)) => separator,
        _ => end,
    };
    Ok(Some(Line {
        interpreter: string(name, name_end),
        argument: argument.map(|first| string(first, end)),
    }))
}
