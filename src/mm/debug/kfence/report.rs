//! Text of reports, in Linux's words (mm/kfence/report.c).

use super::{Meta, State, Track};
use crate::addr::VirtAddr;
use crate::arch::cpu;
use crate::mm::debug::report::{Call, Trail, report};
use crate::mm::debug::stackdepot::Stack;
use arrayvec::ArrayString;
use core::fmt::{self, Write};

/// Kind of error; `true` for a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    OutOfBounds(bool),
    UseAfterFree(bool),
    Corruption,
    Invalid(bool),
    InvalidFree,
}

/// Bytes around an object that are not as they were left: where, and what they are.
pub(super) type Damage = (VirtAddr, [Option<u8>; 16]);

struct Access(bool);

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "write" } else { "read" })
    }
}

/// Location of the culprit: the innermost entry of a stack that is not in the allocator (Linux:
/// get_stack_skipnr).
struct Culprit<'a>(Trail<'a>);

impl fmt::Display for Culprit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_allocator = |entry: &usize| {
            let mut name = ArrayString::<64>::new();
            // What is cut off does not matter.
            let _ = write!(name, "{}", Call(*entry));
            ["mm::slab::", "mm::debug::", "mm::hooks::", "mm::heap::"]
                .iter()
                .any(|room| name.contains(room))
        };
        let mut entries = self.0.entries().filter(|entry| !of_allocator(entry));
        match entries.next().or_else(|| self.0.entries().next()) {
            Some(entry) => Call(entry).fmt(f),
            None => f.write_str("?"),
        }
    }
}

struct Title<'a>(Kind, Trail<'a>);

impl fmt::Display for Title<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::OutOfBounds(write) => write!(f, "out-of-bounds {}", Access(write))?,
            Kind::UseAfterFree(write) => write!(f, "use-after-free {}", Access(write))?,
            Kind::Corruption => write!(f, "memory corruption")?,
            Kind::Invalid(write) => write!(f, "invalid {}", Access(write))?,
            Kind::InvalidFree => write!(f, "invalid free")?,
        }
        write!(f, " in {}", Culprit(self.1))
    }
}

struct What<'a>(Kind, VirtAddr, u8, &'a Meta, Option<Damage>);

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(kind, at, place, meta, damage) = *self;
        let object = format_args!("kfence-#{place}");
        match kind {
            Kind::OutOfBounds(write) => {
                let (bytes, side) = if at < meta.range.start() {
                    (meta.range.start() - at, "left")
                } else {
                    (at - meta.range.end(), "right")
                };
                let how = Access(write);
                write!(f, "Out-of-bounds {how} at {at} ({bytes}B {side} of {object}):")
            }
            Kind::UseAfterFree(write) => {
                write!(f, "Use-after-free {} at {at} (in {object}):", Access(write))
            }
            Kind::Corruption => {
                write!(f, "Corrupted memory at {at} [")?;
                for byte in damage.iter().flat_map(|(_, bytes)| bytes) {
                    match byte {
                        Some(byte) => write!(f, " {byte:#04x}")?,
                        None => write!(f, " .")?,
                    }
                }
                write!(f, " ] (in {object}):")
            }
            Kind::Invalid(write) => write!(f, "Invalid {} at {at}:", Access(write)),
            Kind::InvalidFree if place == 0 => write!(f, "Invalid free of {at}:"),
            Kind::InvalidFree => write!(f, "Invalid free of {at} (in {object}):"),
        }
    }
}

struct Tracked<'a>(&'a str, &'a Track);

impl fmt::Display for Tracked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Track { pid, cpu, time, stack } = *self.1;
        let ago = cpu::sched_clock().saturating_sub(time) / 1000;
        let us = time / 1000;
        writeln!(
            f,
            "\n{} by task {pid} on cpu {cpu} at {}.{:06}s ({}.{:06}s ago):",
            self.0,
            us / 1_000_000,
            us % 1_000_000,
            ago / 1_000_000,
            ago % 1_000_000
        )?;
        write!(f, "{}", Stack(stack))
    }
}

struct Object<'a>(u8, &'a Meta);

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(place, meta) = *self;
        if place == 0 || meta.state == State::Unused {
            return Ok(());
        }
        let (start, size) = (meta.range.start(), meta.range.len());
        writeln!(f, "\nkfence-#{place}: {start}-{}, size={size}", start + size - 1)?;
        write!(f, "{}", Tracked("allocated", &meta.alloc))?;
        if meta.state == State::Freed {
            write!(f, "{}", Tracked("freed", &meta.free))?;
        }
        Ok(())
    }
}

/// Names an object that is still allocated, and who did.
pub(super) fn print_live(place: u8, meta: &Meta) {
    log::error!("{}", Object(place, meta));
}

/// Prints a report. Without the lock.
pub(super) fn print(
    kind: Kind,
    at: VirtAddr,
    place: u8,
    meta: &Meta,
    stack: Trail<'_>,
    damage: Option<Damage>,
) {
    report!(
        "BUG: KFENCE: {}\n\n{}\n{}{}",
        Title(kind, stack),
        What(kind, at, place, meta, damage),
        stack,
        Object(place, meta)
    );
}
