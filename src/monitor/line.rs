//! A line being typed: editing, and the lines that were typed before.
//!
//! Commands, paths and names are ASCII, so a byte is a character and a column. Any other byte
//! is answered by the bell. A line that is longer than the terminal is wide shows the part
//! around the cursor. docs/decisions/0012 tells why this is no crate.
#![deny(unsafe_code)]

use super::history::History;
use arrayvec::ArrayString;
use core::fmt::{self, Write};

/// Bytes of the longest line.
pub const MAX: usize = 240;
/// Columns that are used of the terminal, the prompt's included.
const COLUMNS: usize = 79;

const BELL: char = '\x07';
const ESC: u8 = 0x1b;

/// The byte that a key with Ctrl sends.
const fn ctrl(key: u8) -> u8 {
    key & 0x1f
}
const BACKSPACE: u8 = ctrl(b'h');
const TAB: u8 = ctrl(b'i');
const LINE_FEED: u8 = ctrl(b'j');
const RETURN: u8 = ctrl(b'm');
const DELETE: u8 = 0x7f;
const CTRL_A: u8 = ctrl(b'a');
const CTRL_B: u8 = ctrl(b'b');
const CTRL_C: u8 = ctrl(b'c');
const CTRL_D: u8 = ctrl(b'd');
const CTRL_E: u8 = ctrl(b'e');
const CTRL_F: u8 = ctrl(b'f');
const CTRL_K: u8 = ctrl(b'k');
const CTRL_L: u8 = ctrl(b'l');
const CTRL_N: u8 = ctrl(b'n');
const CTRL_P: u8 = ctrl(b'p');
const CTRL_U: u8 = ctrl(b'u');
const CTRL_W: u8 = ctrl(b'w');

/// Text of a line.
pub type Text = ArrayString<MAX>;

/// Result of a byte of input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The line goes on.
    Typing,
    /// The line is complete: [`Line::take`] it.
    Done,
    /// The line was given up.
    Cancelled,
    /// The text before the cursor is to be completed.
    Complete,
}

/// State of a key that sends several bytes (ECMA-48, 5.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Escape {
    None,
    /// ESC was read.
    Began,
    /// `ESC O` was read: one byte follows.
    Single,
    /// `ESC [` was read, with its first number.
    Sequence(u8),
}

/// A line, its cursor, and the history. What is shown of it goes to the writer that each
/// function gets; that writer's errors are not the line's, and are not looked at.
pub struct Line {
    prompt: &'static str,
    text: Text,
    cursor: usize,
    escape: Escape,
    /// The last byte was a carriage return, whose line feed is no second line.
    returned: bool,
    history: History,
}

impl Line {
    /// An empty line behind `prompt`, without history.
    pub const fn new(prompt: &'static str) -> Self {
        Self {
            prompt,
            text: Text::new_const(),
            cursor: 0,
            escape: Escape::None,
            returned: false,
            history: History::new(),
        }
    }

    /// Returns the text before the cursor.
    pub fn before_cursor(&self) -> &str {
        self.text.get(..self.cursor).unwrap_or("")
    }

    /// The complete line, for an empty one to begin.
    pub fn take(&mut self) -> Text {
        self.history.add(&self.text);
        self.cursor = 0;
        core::mem::take(&mut self.text)
    }

    /// Shows prompt, text and cursor in the line where the terminal's cursor is.
    pub fn show(&self, out: &mut dyn Write) {
        let width = COLUMNS - self.prompt.len();
        let start = self.cursor.saturating_sub(width);
        let end = self.text.len().min(start + width);
        let shown = self.text.get(start..end).unwrap_or("");
        let _ = write!(out, "\r{}{shown}\x1b[K", self.prompt);
        let back = end - self.cursor;
        if back > 0 {
            let _ = write!(out, "\x1b[{back}D");
        }
    }

    /// Takes a byte from the terminal.
    pub fn feed(&mut self, byte: u8, out: &mut dyn Write) -> Event {
        let after_return = core::mem::replace(&mut self.returned, byte == RETURN);
        if byte == LINE_FEED && after_return {
            return Event::Typing;
        }
        // A control character ends what it stands in.
        let escape = core::mem::replace(&mut self.escape, Escape::None);
        if byte >= b' ' && byte != DELETE {
            match escape {
                Escape::None => {}
                Escape::Began => {
                    self.escape = match byte {
                        b'[' => Escape::Sequence(0),
                        b'O' => Escape::Single,
                        _ => Escape::None,
                    };
                    return Event::Typing;
                }
                Escape::Single => return self.key(byte, 0, out),
                Escape::Sequence(number) => return self.sequence(number, byte, out),
            }
        }
        match byte {
            b' '..=b'~' => self.insert(char::from(byte), out),
            RETURN | LINE_FEED => {
                let _ = out.write_str("\n");
                return Event::Done;
            }
            CTRL_C => {
                self.text.clear();
                self.cursor = 0;
                self.history.leave();
                let _ = out.write_str("^C\n");
                return Event::Cancelled;
            }
            TAB => return Event::Complete,
            ESC => self.escape = Escape::Began,
            BACKSPACE | DELETE => self.erase(self.cursor.saturating_sub(1), self.cursor, out),
            CTRL_D => self.erase(self.cursor, self.cursor + 1, out),
            CTRL_A => self.go(0, out),
            CTRL_B => self.key(b'D', 0, out).ignore(),
            CTRL_E => self.go(self.text.len(), out),
            CTRL_F => self.key(b'C', 0, out).ignore(),
            CTRL_K => self.erase(self.cursor, self.text.len(), out),
            CTRL_L => {
                let _ = out.write_str("\x1b[H\x1b[2J");
                self.show(out);
            }
            CTRL_N => self.key(b'B', 0, out).ignore(),
            CTRL_P => self.key(b'A', 0, out).ignore(),
            CTRL_U => self.erase(0, self.cursor, out),
            CTRL_W => {
                let before = self.before_cursor().trim_end_matches(' ');
                let word = before.rfind(' ').map_or(0, |space| space + 1);
                self.erase(word, self.cursor, out);
            }
            _ => bell(out),
        }
        Event::Typing
    }

    /// A byte of a control sequence: a digit of its number, something else of it, or its end.
    fn sequence(&mut self, number: u8, byte: u8, out: &mut dyn Write) -> Event {
        match byte {
            b'0'..=b'9' => {
                let number = number.saturating_mul(10).saturating_add(byte - b'0');
                self.escape = Escape::Sequence(number);
                Event::Typing
            }
            // Further parameters: keys with Shift and the like, which act as without.
            b' '..=b'?' => {
                self.escape = Escape::Sequence(number);
                Event::Typing
            }
            _ => self.key(byte, number, out),
        }
    }

    /// A key that is told by the last byte of a sequence, or by the number before it.
    fn key(&mut self, last: u8, number: u8, out: &mut dyn Write) -> Event {
        match (last, number) {
            (b'A', _) => self.recall(true, out),
            (b'B', _) => self.recall(false, out),
            (b'C', _) if self.cursor < self.text.len() => self.go(self.cursor + 1, out),
            (b'D', _) if self.cursor > 0 => self.go(self.cursor - 1, out),
            (b'H', _) | (b'~', 1 | 7) => self.go(0, out),
            (b'F', _) | (b'~', 4 | 8) => self.go(self.text.len(), out),
            (b'~', 3) => self.erase(self.cursor, self.cursor + 1, out),
            _ => bell(out),
        }
        Event::Typing
    }

    fn go(&mut self, to: usize, out: &mut dyn Write) {
        self.cursor = to;
        self.show(out);
    }

    /// Inserts text at the cursor, as much as there is room for; characters other than printable
    /// ASCII are left out.
    pub fn insert_str(&mut self, text: &str, out: &mut dyn Write) {
        for c in text.chars().filter(|c| matches!(c, ' '..='~')) {
            self.insert(c, out);
        }
    }

    fn insert(&mut self, c: char, out: &mut dyn Write) {
        if self.text.is_full() {
            return bell(out);
        }
        let mut text = Text::new();
        let (before, after) = self.text.split_at(self.cursor);
        text.push_str(before);
        text.push(c);
        text.push_str(after);
        let at_end = after.is_empty();
        self.text = text;
        self.cursor += 1;
        if at_end && self.prompt.len() + self.text.len() <= COLUMNS {
            let _ = out.write_char(c);
        } else {
            self.show(out);
        }
    }

    /// Takes bytes `from..to` away, as far as they are there, and goes to where they were.
    fn erase(&mut self, from: usize, to: usize, out: &mut dyn Write) {
        let to = to.min(self.text.len());
        if from >= to {
            return bell(out);
        }
        let mut text = Text::new();
        for part in [self.text.get(..from), self.text.get(to..)].into_iter().flatten() {
            text.push_str(part);
        }
        self.text = text;
        self.cursor = from;
        self.show(out);
    }

    /// Replaces the line by the one before it in the history, or the one after.
    fn recall(&mut self, older: bool, out: &mut dyn Write) {
        let found = if older { self.history.older(&self.text) } else { self.history.newer() };
        match found {
            Some(text) => {
                self.text = text;
                self.go(self.text.len(), out);
            }
            None => bell(out),
        }
    }
}

impl Event {
    /// The event of a key that never ends a line.
    fn ignore(self) {
        debug_assert!(self == Self::Typing);
    }
}

fn bell(out: &mut dyn fmt::Write) {
    let _ = out.write_char(BELL);
}
