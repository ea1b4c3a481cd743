//! Subset of printf that the formats of events use (Linux: lib/vsprintf.c).

use super::sites;
use core::fmt;

/// Text that replaces a conversion.
#[derive(Clone, Copy, Debug)]
pub(super) enum Printed<'a> {
    /// A number, a signed one with all bits of its sign.
    Number(u64),
    /// A string.
    Str(&'a str),
    /// A set of flags (Linux: __print_flags).
    Flags(u64, &'static [(u64, &'static str)]),
    /// The name of a number (Linux: __print_symbolic).
    Symbol(u64, &'static [(u64, &'static str)]),
}

impl Printed<'_> {
    fn number(self) -> u64 {
        match self {
            Self::Number(n) | Self::Flags(n, _) | Self::Symbol(n, _) => n,
            Self::Str(_) => 0,
        }
    }
}

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Number(n) => write!(f, "{n}"),
            Self::Str(text) => f.write_str(text),
            Self::Flags(0, _) => f.write_str("none"),
            Self::Flags(mut left, names) => {
                let mut bar = "";
                for &(flags, name) in names {
                    if flags != 0 && left & flags == flags {
                        write!(f, "{bar}{name}")?;
                        (left, bar) = (left & !flags, "|");
                    }
                }
                if left != 0 { write!(f, "{bar}{left:#x}") } else { Ok(()) }
            }
            Self::Symbol(n, names) => match names.iter().find(|&&(value, _)| value == n) {
                Some((_, name)) => f.write_str(name),
                None => write!(f, "{n:#x}"),
            },
        }
    }
}

/// Writes `format`, with `args` in the places of its conversions: `%d`, `%u`, `%x` with `l` or
/// `z`, `0x` before `%lx` as written, `%p` in hexadecimal with `0x`, `%ps` the place in the
/// source that an address stands for, `%s`.
pub(super) fn print<'a>(
    f: &mut fmt::Formatter<'_>,
    format: &str,
    mut args: impl Iterator<Item = Printed<'a>>,
) -> fmt::Result {
    let mut parts = format.split('%');
    f.write_str(parts.next().unwrap_or_default())?;
    for part in parts {
        let Some(arg) = args.next() else { return Ok(()) };
        let (long, rest) = match part.strip_prefix(['l', 'z']) {
            Some(rest) => (true, rest),
            None => (false, part),
        };
        let n = arg.number();
        let rest = if let Some(rest) = rest.strip_prefix("ps") {
            sites::print(f, n as usize)?;
            rest
        } else {
            match rest.chars().next() {
                Some('d') if long => write!(f, "{}", n as i64)?,
                Some('d') => write!(f, "{}", n as i32)?,
                Some('u') if long => write!(f, "{n}")?,
                Some('u') => write!(f, "{}", n as u32)?,
                Some('x') => write!(f, "{n:x}")?,
                Some('p') => write!(f, "{n:#x}")?,
                _ => write!(f, "{arg}")?,
            }
            rest.get(1..).unwrap_or_default()
        };
        f.write_str(rest)?;
    }
    Ok(())
}
