//! Description of an event: its fields, as they lie in a record, and their text form (Linux:
//! struct trace_event_call, TRACE_EVENT).
//!
//! The fields and one format in the manner of printf say all: the file `format`, by which
//! other programs read records, and our own text both come from them.

use super::flags::GFP_NAMES;
use super::printf::{self, Printed};
use crate::addr::Order;
use core::fmt;

/// Bytes of what each record begins with: `common_type` and what follows (Linux: struct
/// trace_entry).
pub(super) const COMMON: usize = 8;
/// The most bytes of a record.
pub(super) const MAX_RECORD: usize = 128;
/// The number of the first event: Linux's own kinds of records are below.
const FIRST_ID: u16 = 32;

/// The type of a field, in C.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Type {
    Int,
    UInt,
    ULong,
    SizeT,
    Pointer,
    Bool,
    /// A string behind the fields; the field says where, and how long it is.
    Str,
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::UInt => "unsigned int",
            Self::ULong => "unsigned long",
            Self::SizeT => "size_t",
            Self::Pointer => "const void *",
            Self::Bool => "bool",
            Self::Str => "__data_loc char[]",
        }
    }

    pub(super) const fn size(self) -> usize {
        match self {
            Self::Bool => 1,
            Self::Int | Self::UInt | Self::Str => 4,
            Self::ULong | Self::SizeT | Self::Pointer => 8,
        }
    }

    const fn is_signed(self) -> bool {
        matches!(self, Self::Int)
    }
}

/// A field of an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub ty: Type,
    pub name: &'static str,
}

/// Argument of a conversion; the number is that of a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arg {
    /// The field.
    Field(usize),
    /// The descriptor of the frame that it numbers; none for `!0`.
    Page(usize),
    /// GFP flags by name.
    Gfp(usize),
    /// The name of the value.
    Symbol(usize, &'static [(u64, &'static str)]),
    /// Choice of a word: the first if a bit of the mask is set, else the second.
    Choice(usize, u64, &'static str, &'static str),
    /// The order of a pageblock.
    PageblockOrder,
    /// Test whether the field is below the order of a pageblock.
    BelowPageblock(usize),
}

/// An event.
#[derive(Debug)]
pub struct Event {
    /// Subsystem of the event.
    pub system: &'static str,
    /// Name of the event.
    pub name: &'static str,
    pub(super) fields: &'static [Field],
    pub(super) print: &'static str,
    pub(super) args: &'static [Arg],
}

/// Value of a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    /// A number, cut to the field's size.
    N(u64),
    /// A string, cut to what fits.
    S(&'a str),
}

impl Event {
    /// The fields with their offsets in a record.
    pub(super) fn layout(&self) -> impl Iterator<Item = (usize, &'static Field)> + Clone {
        self.fields.iter().scan(COMMON, |at, field| {
            let offset = at.next_multiple_of(field.ty.size());
            *at = offset + field.ty.size();
            Some((offset, field))
        })
    }

    /// Returns the offset at which the fields end, and strings begin.
    fn fixed_len(&self) -> usize {
        let end = self.layout().last().map_or(COMMON, |(at, field)| at + field.ty.size());
        let align = self.fields.iter().map(|field| field.ty.size()).max().unwrap_or(4).max(4);
        end.next_multiple_of(align)
    }

    /// Writes the fields into `record`. Returns the number of bytes used, a multiple of 4.
    pub(super) fn encode(&self, values: &[Value<'_>], record: &mut [u8; MAX_RECORD]) -> usize {
        let mut end = self.fixed_len();
        for ((at, field), value) in self.layout().zip(values) {
            let word = match *value {
                Value::N(n) => n,
                Value::S(text) => {
                    let room = (MAX_RECORD - end).saturating_sub(1);
                    let len = text.floor_char_boundary(room.min(text.len()));
                    record[end..end + len].copy_from_slice(&text.as_bytes()[..len]);
                    let loc = (end | (len + 1) << 16) as u64;
                    end += len + 1;
                    loc
                }
            };
            let size = field.ty.size();
            record[at..at + size].copy_from_slice(&word.to_le_bytes()[..size]);
        }
        end.next_multiple_of(4).min(MAX_RECORD)
    }

    /// Reads a field of a record, a signed number with all bits of its sign.
    pub(super) fn number(&self, record: &[u8], field: usize) -> u64 {
        let Some((at, field)) = self.layout().nth(field) else { return 0 };
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(record.iter().skip(at).take(field.ty.size())) {
            *to = *from;
        }
        let word = u64::from_le_bytes(word);
        if field.ty.is_signed() { word as u32 as i32 as u64 } else { word }
    }

    /// The string that a field of a record leads to.
    pub(super) fn string<'a>(&self, record: &'a [u8], field: usize) -> &'a str {
        let loc = self.number(record, field) as usize;
        let (at, len) = (loc & 0xffff, loc >> 16);
        let bytes = record.get(at..at + len.saturating_sub(1)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }

    fn is_string(&self, field: usize) -> bool {
        self.fields.get(field).is_some_and(|field| field.ty == Type::Str)
    }

    fn printed<'a>(&self, record: &'a [u8], arg: Arg) -> Printed<'a> {
        let of = |field| self.number(record, field);
        let pageblock = u64::from(Order::PAGEBLOCK.get());
        match arg {
            Arg::Field(field) if self.is_string(field) => Printed::Str(self.string(record, field)),
            Arg::Field(field) => Printed::Number(of(field)),
            Arg::Page(field) => Printed::Number(page_of(of(field))),
            Arg::Gfp(field) => Printed::Flags(of(field), GFP_NAMES),
            Arg::Symbol(field, names) => Printed::Symbol(of(field), names),
            Arg::Choice(field, mask, yes, no) => {
                Printed::Str(if of(field) & mask != 0 { yes } else { no })
            }
            Arg::PageblockOrder => Printed::Number(pageblock),
            Arg::BelowPageblock(field) => Printed::Number(u64::from(of(field) < pageblock)),
        }
    }
}

/// The address of a frame's descriptor; 0 for the frame `!0`, which is none.
fn page_of(pfn: u64) -> u64 {
    if pfn == u64::MAX { 0 } else { vmemmap().wrapping_add(pfn.wrapping_mul(PAGE_STRUCT)) }
}

/// Bytes of a descriptor.
const PAGE_STRUCT: u64 = size_of::<crate::mm::page::Page>() as u64;

fn vmemmap() -> u64 {
    crate::arch::vmemmap_base() as u64
}

/// A record's text, behind the event's name.
pub(super) struct Text<'a>(pub &'static Event, pub &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(event, record) = *self;
        let args = event.args.iter().map(|&arg| event.printed(record, arg));
        printf::print(f, event.print, args)
    }
}

/// The number of the event that stands at `index` of the table.
#[must_use]
pub(super) const fn id(index: usize) -> u16 {
    FIRST_ID + index as u16
}

/// The place in the table of the event with this number.
pub(super) const fn index(id: u16) -> Option<usize> {
    match id.checked_sub(FIRST_ID) {
        Some(index) => Some(index as usize),
        None => None,
    }
}

/// The file `format` of an event (Linux: f_show of kernel/trace/trace_events.c).
pub struct Format(pub usize);

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(event) = super::EVENTS.get(self.0) else { return Ok(()) };
        writeln!(f, "name: {}\nID: {}\nformat:", event.name, id(self.0))?;
        for (ty, name, offset, size, signed) in [
            ("unsigned short", "common_type", 0, 2, 0),
            ("unsigned char", "common_flags", 2, 1, 0),
            ("unsigned char", "common_preempt_count", 3, 1, 0),
            ("int", "common_pid", 4, 4, 1),
        ] {
            writeln!(f, "\tfield:{ty} {name};\toffset:{offset};\tsize:{size};\tsigned:{signed};")?;
        }
        writeln!(f)?;
        for (offset, Field { ty, name }) in event.layout() {
            writeln!(
                f,
                "\tfield:{} {name};\toffset:{offset};\tsize:{};\tsigned:{};",
                ty.name(),
                ty.size(),
                u8::from(ty.is_signed())
            )?;
        }
        write!(f, "\nprint fmt: \"{}\"", event.print)?;
        for &arg in event.args {
            write!(f, ", {}", Expression(event, arg))?;
        }
        writeln!(f)
    }
}

/// An argument as an expression in C.
struct Expression(&'static Event, Arg);

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |field: usize| self.0.fields.get(field).map_or("", |field| field.name);
        let list = |f: &mut fmt::Formatter<'_>, names: &[(u64, &str)]| {
            for (n, (value, name)) in names.iter().enumerate() {
                write!(f, "{}{{ {value:#x}, \"{name}\" }}", if n == 0 { "" } else { ", " })?;
            }
            Ok(())
        };
        match self.1 {
            Arg::Field(field) if self.0.is_string(field) => write!(f, "__get_str({})", name(field)),
            Arg::Field(field) => write!(f, "REC->{}", name(field)),
            Arg::Page(field) => {
                let (pfn, base) = (name(field), vmemmap());
                write!(
                    f,
                    "REC->{pfn} != 0xffffffffffffffffUL ? {base:#x}UL + REC->{pfn} * {PAGE_STRUCT} : 0"
                )
            }
            Arg::Gfp(field) => {
                let name = name(field);
                write!(f, "(REC->{name}) ? __print_flags(REC->{name}, \"|\", ")?;
                list(f, GFP_NAMES)?;
                f.write_str(") : \"none\"")
            }
            Arg::Symbol(field, names) => {
                write!(f, "__print_symbolic(REC->{}, ", name(field))?;
                list(f, names)?;
                f.write_str(")")
            }
            Arg::Choice(field, mask, yes, no) => {
                write!(f, "(REC->{} & {mask:#x}) ? \"{yes}\" : \"{no}\"", name(field))
            }
            Arg::PageblockOrder => write!(f, "{}", Order::PAGEBLOCK.get()),
            Arg::BelowPageblock(field) => {
                write!(f, "REC->{} < {}", name(field), Order::PAGEBLOCK.get())
            }
        }
    }
}
