//! Typed bytes on their way through a terminal: editing of lines and echo (Linux: drivers/tty/n_tty.c).
#![deny(unsafe_code)]

use arrayvec::ArrayVec;
use core::mem::offset_of;
use linux_raw_sys::general::{
    B38400, CREAD, CS8, ECHO, ECHOCTL, ECHOE, ECHOK, ECHOKE, HUPCL, ICANON, ICRNL, IEXTEN, ISIG,
    IXON, ONLCR, OPOST, VEOF, VERASE, VINTR, VKILL, VMIN, VQUIT, VSTART, VSTOP, VSUSP, VWERASE,
    termios,
};

/// Bytes that a line may have, and that may wait to be read (Linux: N_TTY_BUF_SIZE).
const ROOM: usize = 4096;
/// Bytes of the structure of TCGETS.
pub(super) const TERMIOS: usize = size_of::<termios>();

/// Input of a terminal.
pub(super) struct Line {
    /// The structure of TCGETS, as a program set it.
    pub termios: [u8; TERMIOS],
    /// The line that is being edited.
    editing: ArrayVec<u8, ROOM>,
    /// Bytes that can be read.
    ready: ArrayVec<u8, ROOM>,
    /// Ends of lines in `ready`, and ends of the file.
    lines: u32,
}

/// Mark of an end of the file among what can be read.
const EOF: u8 = 0xff;

const fn control(letter: u8) -> u8 {
    letter & 0x1f
}

impl Line {
    /// A terminal as Linux sets one up (`tty_std_termios`).
    pub const fn new() -> Self {
        let mut bytes = [0; TERMIOS];
        let lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN;
        put(&mut bytes, offset_of!(termios, c_iflag), ICRNL | IXON);
        put(&mut bytes, offset_of!(termios, c_oflag), OPOST | ONLCR);
        put(&mut bytes, offset_of!(termios, c_cflag), B38400 | CS8 | CREAD | HUPCL);
        put(&mut bytes, offset_of!(termios, c_lflag), lflag);
        let cc = offset_of!(termios, c_cc);
        bytes[cc + VINTR as usize] = control(b'C');
        bytes[cc + VQUIT as usize] = control(b'\\');
        bytes[cc + VERASE as usize] = 0x7f;
        bytes[cc + VKILL as usize] = control(b'U');
        bytes[cc + VEOF as usize] = control(b'D');
        bytes[cc + VMIN as usize] = 1;
        bytes[cc + VSTART as usize] = control(b'Q');
        bytes[cc + VSTOP as usize] = control(b'S');
        bytes[cc + VSUSP as usize] = control(b'Z');
        bytes[cc + VWERASE as usize] = control(b'W');
        Self {
            termios: bytes,
            editing: ArrayVec::new_const(),
            ready: ArrayVec::new_const(),
            lines: 0,
        }
    }

    fn flag(&self, at: usize, flag: u32) -> bool {
        let mut word = [0; 4];
        word.copy_from_slice(&self.termios[at..at + 4]);
        u32::from_ne_bytes(word) & flag != 0
    }
    fn local(&self, flag: u32) -> bool {
        self.flag(offset_of!(termios, c_lflag), flag)
    }
    fn is(&self, byte: u8, which: u32) -> bool {
        let character = self.termios[offset_of!(termios, c_cc) + which as usize];
        character != 0 && character == byte
    }

    /// Takes a byte that was typed; `echo` gets what the terminal is to show.
    pub fn input(&mut self, byte: u8, mut echo: impl FnMut(&[u8])) {
        let to_newline = byte == b'\r' && self.flag(offset_of!(termios, c_iflag), ICRNL);
        let byte = if to_newline { b'\n' } else { byte };
        let (canonical, echoes) = (self.local(ICANON), self.local(ECHO));
        if !canonical {
            let _room = self.ready.try_push(byte);
            self.lines = self.ready.len() as u32;
            if echoes {
                echo(&[byte]);
            }
            return;
        }
        let erased: &[u8] = b"\x08 \x08";
        match byte {
            _ if self.is(byte, VERASE) || byte == 0x08 => {
                if self.editing.pop().is_some() && echoes {
                    echo(erased);
                }
            }
            _ if self.is(byte, VKILL) => {
                while self.editing.pop().is_some() {
                    if echoes {
                        echo(erased);
                    }
                }
            }
            // A line that is thrown away; there is nobody to signal yet.
            _ if self.local(ISIG) && self.is(byte, VINTR) => {
                self.editing.clear();
                if echoes {
                    echo(b"^C\n");
                }
            }
            _ if self.is(byte, VEOF) => self.finish(None),
            b'\n' => {
                if echoes {
                    echo(b"\n");
                }
                self.finish(Some(b'\n'));
            }
            // One place stays for the end of the line.
            _ if self.editing.len() + self.ready.len() + 2 > ROOM => echo(b"\x07"),
            _ => {
                self.editing.push(byte);
                if echoes && byte < b' ' && byte != b'\t' && self.local(ECHOCTL) {
                    echo(&[b'^', byte + b'@']);
                } else if echoes {
                    echo(&[byte]);
                }
            }
        }
    }

    /// Makes the line readable, with its end.
    fn finish(&mut self, end: Option<u8>) {
        let editing = core::mem::take(&mut self.editing);
        // A line without end and bytes is the end of the file.
        let end = end.or(if editing.is_empty() { Some(EOF) } else { None });
        if self.ready.remaining_capacity() > editing.len() {
            self.ready.extend(editing.iter().copied().chain(end));
            self.lines += 1;
        }
    }

    /// Returns true if a read need not wait.
    pub const fn is_ready(&self) -> bool {
        self.lines > 0
    }

    /// Takes what a read of up to `len` bytes returns: at most a line of the edited ones.
    pub fn read<const N: usize>(&mut self, len: usize) -> ArrayVec<u8, N> {
        let canonical = self.local(ICANON);
        let (mut taken, mut used) = (ArrayVec::new(), 0);
        for &byte in &self.ready {
            if taken.len() >= len || taken.is_full() {
                break;
            }
            used += 1;
            if canonical && byte == EOF {
                self.lines = self.lines.saturating_sub(1);
                break;
            }
            taken.push(byte);
            if canonical && byte == b'\n' {
                self.lines = self.lines.saturating_sub(1);
                break;
            }
        }
        self.ready.drain(..used);
        if !canonical || self.ready.is_empty() {
            self.lines = if canonical { 0 } else { self.ready.len() as u32 };
        }
        taken
    }
}

/// Writes a word of a structure.
const fn put(bytes: &mut [u8; TERMIOS], at: usize, word: u32) {
    let word = word.to_ne_bytes();
    let mut n = 0;
    while n < word.len() {
        bytes[at + n] = word[n];
        n += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn type_in(line: &mut Line, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::new();
        bytes.iter().for_each(|&byte| line.input(byte, |echo| shown.extend_from_slice(echo)));
        shown
    }

    #[test]
    fn lines_are_edited_until_they_end() {
        let mut line = Line::new();
        assert_eq!(type_in(&mut line, b"ab\x7fc\x15xy"), b"ab\x08 \x08c\x08 \x08\x08 \x08xy");
        assert!(!line.is_ready());
        assert_eq!(type_in(&mut line, b"z\rnext\x04"), b"z\nnext");
        assert_eq!(line.read::<8>(2).as_slice(), b"xy");
        assert_eq!(line.read::<8>(8).as_slice(), b"z\n");
        assert!(line.is_ready());
        assert_eq!(line.read::<8>(8).as_slice(), b"next");
        assert!(!line.is_ready());
        // The end of the file is read once.
        type_in(&mut line, b"\x04");
        assert!(line.is_ready() && line.read::<8>(8).is_empty() && !line.is_ready());
        assert_eq!(type_in(&mut line, b"gone\x03\x01\n"), b"gone^C\n^A\n");
        assert_eq!(line.read::<8>(8).as_slice(), b"\x01\n");
    }

    #[test]
    fn bytes_are_read_as_they_come_without_lines() {
        let mut line = Line::new();
        let at = offset_of!(termios, c_lflag);
        line.termios[at..at + 4].fill(0);
        assert!(type_in(&mut line, b"a\x03\x7f\xff").is_empty());
        assert_eq!(line.read::<8>(2).as_slice(), b"a\x03");
        assert_eq!(line.read::<8>(8).as_slice(), b"\x7f\xff");
        assert!(!line.is_ready());
    }

    #[test]
    fn a_line_that_is_too_long_still_ends() {
        let mut line = Line::new();
        let shown = type_in(&mut line, &[b'x'; ROOM + 50]);
        assert!(shown.ends_with(b"\x07"));
        type_in(&mut line, b"\n");
        let read = line.read::<{ ROOM + 1 }>(ROOM);
        assert!(read.len() > ROOM - 3 && read.ends_with(b"x\n"));
    }
}
