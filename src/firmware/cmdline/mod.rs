//! The kernel command line (Linux: Documentation/admin-guide/kernel-parameters.rst).
//!
//! `key`, `key=value` and `key="a value with spaces"`, separated by white space; a
//! lone `--` ends what is the kernel's. In keys `-` and `_` are the same. A parameter
//! that occurs more than once counts by its last occurrence, except where it says
//! otherwise. What cannot be parsed is a [`ParamError`] that names the parameter, and
//! never stops the boot by itself.

use crate::addr::{PhysAddr, PhysRange};
use core::fmt;

mod memparse;
#[cfg(test)]
mod tests;

pub use memparse::{memparse, parse_size};

/// The most bytes of a command line that count (Linux on arm64: COMMAND_LINE_SIZE). It
/// is looked through for each parameter anew.
pub const COMMAND_LINE_SIZE: usize = 2048;

/// A parameter with its value, without quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Param<'a> {
    /// Text before the first `=`.
    pub key: &'a str,
    /// Text after the first `=`; `None` without one.
    pub value: Option<&'a str>,
}

impl Param<'_> {
    /// Returns whether this is the parameter `key`.
    #[must_use]
    pub fn is(&self, key: &str) -> bool {
        let same = |a: u8, b: u8| a == b || matches!((a, b), (b'-', b'_') | (b'_', b'-'));
        self.key.len() == key.len() && self.key.bytes().zip(key.bytes()).all(|(a, b)| same(a, b))
    }
}

/// A parameter whose value makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParamError<'a> {
    /// The parameter.
    pub key: &'a str,
    /// Value of the parameter.
    pub value: &'a str,
    /// Description of the values that are accepted.
    pub expected: &'static str,
}

impl fmt::Display for ParamError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Debug, so that a control character does not reach the terminal.
        write!(f, "{}={:?} ignored: expected {}", self.key, self.value, self.expected)
    }
}

impl core::error::Error for ParamError<'_> {}

/// `cma=size[@base[-end]]`: how large the default CMA area is to be, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CmaParam {
    /// Bytes; zero for no area.
    pub size: u64,
    /// Place: `None` for anywhere; exactly a base (`@base`), or a range to lie in (`@base-end`).
    pub at: Option<CmaPlace>,
}

/// Place of the area of [`CmaParam`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CmaPlace {
    /// The area must start exactly here.
    Fixed(PhysAddr),
    /// The area must lie inside this range.
    Within(PhysRange),
}

/// Amount of memory that `kernelcore=` or `movablecore=` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CoreSize {
    /// Bytes.
    Bytes(u64),
    /// Percent of all memory.
    Percent(u8),
    /// `kernelcore=mirror`: the mirrored regions.
    Mirror,
}

/// The command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CommandLine<'a>(&'a str);

impl<'a> CommandLine<'a> {
    /// Takes a text as a command line.
    #[must_use]
    pub const fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// Takes the boot loader's bytes, as far as they are text and no longer than
    /// [`COMMAND_LINE_SIZE`].
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        let bytes = bytes.get(..COMMAND_LINE_SIZE).unwrap_or(bytes);
        Self(bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid()))
    }

    /// Returns the text as written.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.0
    }

    /// The kernel's parameters in order.
    #[must_use]
    pub const fn params(&self) -> Params<'a> {
        Params { rest: self.0 }
    }

    /// The last occurrence of a parameter.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<Param<'a>> {
        self.params().filter(|param| param.is(key)).last()
    }

    /// Returns whether a parameter occurs, with or without a value.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The value of the last occurrence of a parameter that has one.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&'a str> {
        self.params().filter(|param| param.is(key)).filter_map(|param| param.value).last()
    }

    fn parsed<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        parse: impl Fn(&'a str) -> Option<T>,
    ) -> Result<Option<T>, ParamError<'a>> {
        let Some(param) = self.find(key) else { return Ok(None) };
        let value = param.value.unwrap_or("");
        parse(value).map(Some).ok_or(ParamError { key: param.key, value, expected })
    }

    /// A parameter that is a yes or a no, as Linux reads one (kstrtobool): `on`, `y`, `1`
    /// and their like; without a value it is a yes.
    ///
    /// # Errors
    /// It is something else.
    pub fn switch(&self, key: &'static str) -> Result<Option<bool>, ParamError<'a>> {
        if self.find(key).is_some_and(|param| param.value.is_none()) {
            return Ok(Some(true));
        }
        self.parsed(key, "on or off", |value| match value.as_bytes() {
            [b'y' | b'Y' | b't' | b'T' | b'1', ..] | [b'o' | b'O', b'n' | b'N', ..] => Some(true),
            [b'n' | b'N' | b'f' | b'F' | b'0', ..] | [b'o' | b'O', b'f' | b'F', ..] => Some(false),
            _ => None,
        })
    }

    /// A parameter that is a plain decimal, octal (`0`) or hexadecimal (`0x`) number.
    ///
    /// # Errors
    /// It is something else.
    pub fn number(&self, key: &'static str) -> Result<Option<u64>, ParamError<'a>> {
        self.parsed(key, "a number", |value| match memparse::number(value) {
            Some((number, "")) => Some(number),
            _ => None,
        })
    }

    /// A parameter that is a size in bytes, with a suffix K, M, G, T, P or E or none.
    ///
    /// # Errors
    /// It is something else.
    pub fn size(&self, key: &'static str) -> Result<Option<u64>, ParamError<'a>> {
        self.parsed(key, "a size such as 512M", parse_size)
    }

    /// A parameter that switches something: without a value, `1`, `y`, `on` or
    /// `0`, `n`, `off` (Linux: kstrtobool).
    ///
    /// # Errors
    /// It is something else.
    pub fn flag(&self, key: &'static str) -> Result<Option<bool>, ParamError<'a>> {
        let Some(param) = self.find(key) else { return Ok(None) };
        let Some(value) = param.value else { return Ok(Some(true)) };
        match value {
            "1" | "y" | "Y" | "yes" | "on" | "t" | "true" => Ok(Some(true)),
            "0" | "n" | "N" | "no" | "off" | "f" | "false" => Ok(Some(false)),
            _ => Err(ParamError { key: param.key, value, expected: "on or off" }),
        }
    }

    /// `mem=`: use no more memory than this many bytes.
    ///
    /// # Errors
    /// It is no size, or zero.
    pub fn mem(&self) -> Result<Option<u64>, ParamError<'a>> {
        self.parsed("mem", "a size such as 512M", |value| parse_size(value).filter(|&n| n > 0))
    }

    /// `memmap=size$start[,size$start]`: ranges to keep away from. Every occurrence
    /// counts.
    pub fn memmap(&self) -> impl Iterator<Item = Result<PhysRange, ParamError<'a>>> + use<'a> {
        let values = self.params().filter(|param| param.is("memmap"));
        let parts = values.flat_map(|param| {
            param.value.unwrap_or("").split(',').map(move |value| (param.key, value))
        });
        parts.map(|(key, value)| {
            let error = ParamError { key, value, expected: "size$start, such as 16M$0x50000000" };
            let (size, rest) = memparse(value).ok_or(error)?;
            let start = rest.strip_prefix('$').and_then(parse_size).ok_or(error)?;
            match start.checked_add(size) {
                Some(end) if size > 0 => {
                    Ok(PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)))
                }
                _ => Err(error),
            }
        })
    }

    /// `cma=nn[MG]@[start[MG][-end[MG]]]`: the default CMA area.
    ///
    /// # Errors
    /// It reads otherwise, or the end lies below the start.
    pub fn cma(&self) -> Result<Option<CmaParam>, ParamError<'a>> {
        self.parsed("cma", "size, size@start or size@start-end, such as 64M@1G-2G", |value| {
            let (size, rest) = memparse(value)?;
            let Some(place) = rest.strip_prefix('@') else {
                return rest.is_empty().then_some(CmaParam { size, at: None });
            };
            if place.is_empty() {
                return Some(CmaParam { size, at: None });
            }
            let (start, rest) = memparse(place)?;
            let base = PhysAddr::new(start);
            let at = match rest.strip_prefix('-') {
                None if rest.is_empty() => CmaPlace::Fixed(base),
                None => return None,
                Some(end) => {
                    let end = parse_size(end).filter(|&end| end >= start)?;
                    CmaPlace::Within(PhysRange::new(base, PhysAddr::new(end)))
                }
            };
            start.checked_add(size)?;
            Some(CmaParam { size, at: Some(at) })
        })
    }

    /// `earlycon`: `Some("")` for the console of the device tree, or the value:
    /// `pl011,0x9000000`.
    #[must_use]
    pub fn earlycon(&self) -> Option<&'a str> {
        self.find("earlycon").map(|param| param.value.unwrap_or(""))
    }

    /// The console's log level: messages of a lower number are printed (Linux: 3 is an
    /// error, 4 a warning, 6 information, 7 debugging). `loglevel=`, or `debug` (10) or
    /// `quiet` (4), the last of them.
    ///
    /// # Errors
    /// `loglevel` is no number from 0 to 15.
    pub fn loglevel(&self) -> Result<Option<u8>, ParamError<'a>> {
        let mut level = Ok(None);
        for param in self.params() {
            if param.is("debug") && param.value.is_none() {
                level = Ok(Some(10));
            } else if param.is("quiet") && param.value.is_none() {
                level = Ok(Some(4));
            } else if param.is("loglevel") {
                let value = param.value.unwrap_or("");
                let error = ParamError { key: param.key, value, expected: "a level from 0 to 15" };
                level = match memparse::number(value) {
                    Some((number @ 0..=15, "")) => Ok(Some(number as u8)),
                    _ => Err(error),
                };
            }
        }
        level
    }

    /// `kernelcore=` or `movablecore=`: how much memory unmovable allocations may
    /// use, or movable ones only.
    ///
    /// # Errors
    /// It is no size, no percentage and not `mirror`.
    pub fn core_size(&self, key: &'static str) -> Result<Option<CoreSize>, ParamError<'a>> {
        self.parsed(key, "a size, a percentage or mirror", |value| {
            if value == "mirror" && key == "kernelcore" {
                return Some(CoreSize::Mirror);
            }
            match memparse::number(value) {
                Some((percent @ 0..=100, "%")) => Some(CoreSize::Percent(percent as u8)),
                _ => parse_size(value).map(CoreSize::Bytes),
            }
        })
    }

    /// `granule.<name>=`: the project's own switches, such as `granule.fault=null`.
    #[must_use]
    pub fn granule(&self, name: &str) -> Option<&'a str> {
        let named = self.granule_params().filter(|param| param.is(name));
        named.last().map(|param| param.value.unwrap_or(""))
    }

    /// All of the project's own switches, without their prefix.
    pub fn granule_params(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        self.params().filter_map(|param| {
            let key = param.key.strip_prefix("granule.")?;
            Some(Param { key, ..param })
        })
    }
}

/// The parameters of a command line.
#[derive(Clone, Debug)]
pub struct Params<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        let text = self.rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
        if text.is_empty() {
            self.rest = "";
            return None;
        }
        let mut quoted = false;
        let end = text.find(|c: char| {
            quoted ^= c == '"';
            !quoted && c.is_ascii_whitespace()
        });
        let (word, rest) = text.split_at(end.unwrap_or(text.len()));
        if word == "--" {
            self.rest = "";
            return None;
        }
        self.rest = rest;
        // The quotes may stand around the whole, or around the value.
        let word = unquote(word);
        Some(match word.split_once('=') {
            Some((key, value)) => Param { key, value: Some(unquote(value)) },
            None => Param { key: word, value: None },
        })
    }
}

/// Takes away a quote at the start, and then one at the end.
fn unquote(text: &str) -> &str {
    match text.strip_prefix('"') {
        Some(text) => text.strip_suffix('"').unwrap_or(text),
        None => text,
    }
}
