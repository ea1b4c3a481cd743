//! JSON, written as it comes (RFC 8259): nothing is kept but whether a comma is due.

use core::fmt::{self, Write};

/// A writer of one JSON text.
pub(super) struct Json<'a> {
    out: &'a mut dyn fmt::Write,
    /// True if a value precedes the next one in its array or object.
    comma: bool,
}

impl<'a> Json<'a> {
    pub(super) fn new(out: &'a mut dyn fmt::Write) -> Self {
        Self { out, comma: false }
    }

    /// Writes the separator before a value.
    fn separate(&mut self) -> fmt::Result {
        if self.comma {
            self.out.write_char(',')?;
        }
        self.comma = true;
        Ok(())
    }

    /// A value between `open` and `close`, whose parts `f` writes.
    fn nest(
        &mut self,
        open: char,
        close: char,
        f: impl FnOnce(&mut Self) -> fmt::Result,
    ) -> fmt::Result {
        self.separate()?;
        self.out.write_char(open)?;
        self.comma = false;
        f(self)?;
        self.comma = true;
        self.out.write_char(close)
    }

    pub(super) fn object(&mut self, f: impl FnOnce(&mut Self) -> fmt::Result) -> fmt::Result {
        self.nest('{', '}', f)
    }

    pub(super) fn array(&mut self, f: impl FnOnce(&mut Self) -> fmt::Result) -> fmt::Result {
        self.nest('[', ']', f)
    }

    /// The name of the value that follows, in an object.
    pub(super) fn key(&mut self, name: impl fmt::Display) -> Result<&mut Self, fmt::Error> {
        self.text(name)?;
        self.out.write_char(':')?;
        self.comma = false;
        Ok(self)
    }

    /// A string.
    pub(super) fn text(&mut self, text: impl fmt::Display) -> fmt::Result {
        self.separate()?;
        self.out.write_char('"')?;
        write!(Escaped(&mut *self.out), "{text}")?;
        self.out.write_char('"')
    }

    /// A number that every reader takes exactly: below 2^53.
    pub(super) fn number(&mut self, number: u64) -> fmt::Result {
        self.separate()?;
        write!(self.out, "{number}")
    }

    pub(super) fn boolean(&mut self, is: bool) -> fmt::Result {
        self.separate()?;
        write!(self.out, "{is}")
    }

    /// An array of numbers.
    pub(super) fn numbers<N: Into<u64>>(
        &mut self,
        all: impl IntoIterator<Item = N>,
    ) -> fmt::Result {
        self.array(|json| all.into_iter().try_for_each(|number| json.number(number.into())))
    }

    /// Members of an object: a number each.
    pub(super) fn members<N: fmt::Display>(
        &mut self,
        all: impl IntoIterator<Item = (N, u64)>,
    ) -> fmt::Result {
        all.into_iter().try_for_each(|(name, number)| self.key(name)?.number(number))
    }

    /// A line break before the next value, where it is one of many: lines stay short.
    pub(super) fn line(&mut self) -> fmt::Result {
        if self.comma {
            self.out.write_char(',')?;
            self.comma = false;
        }
        self.out.write_char('\n')
    }
}

/// Text in a string: nothing that is in it ends it, or drives a terminal.
struct Escaped<'a>(&'a mut dyn fmt::Write);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            '"' | '\\' => {
                self.0.write_char('\\')?;
                self.0.write_char(c)
            }
            '\n' => self.0.write_str("\\n"),
            '\t' => self.0.write_str("\\t"),
            // All that are control characters have one unit of UTF-16.
            c if c.is_control() => write!(self.0, "\\u{:04x}", u32::from(c)),
            c => self.0.write_char(c),
        })
    }
}
