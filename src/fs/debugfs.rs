//! /sys/kernel/debug.

use super::FsError;
use super::proc::snapshot;
use super::tree::{File, Node};
use crate::mm::cma::{self, Cma, MAX_CMA_AREAS};
use crate::mm::debug::{self, Leaks, PageOwner, Stacks};
use crate::mm::memblock::Kind;
use crate::mm::memblock::debugfs::{self, DebugRegions};
use crate::mm::{ptdump, stat};
use core::fmt;

/// Age from which an object without references is a leak, in nanoseconds (Linux:
/// jiffies_min_age).
const MIN_AGE: u64 = 5_000_000_000;

pub(super) const FILES: &[Node] = &[
    Node::Dir("cma", &[Node::Each { count: || MAX_CMA_AREAS, name: cma_name, files: CMA }]),
    Node::Dir(
        "extfrag",
        &[
            Node::File(File::new("extfrag_index", |_, out| write!(out, "{}", stat::ExtfragIndex))),
            Node::File(File::new("unusable_index", |_, out| {
                write!(out, "{}", stat::UnusableIndex)
            })),
        ],
    ),
    Node::File(File::private("kernel_page_tables", |_, out| ptdump::dump(out))),
    Node::File(File::new("kmemleak", |_, out| write!(out, "{Leaks}")).with_store(kmemleak)),
    Node::Dir(
        "memblock",
        &[
            Node::File(File::new("memory", |_, out| memblock(Kind::Memory, out))),
            Node::File(File::new("reserved", |_, out| memblock(Kind::Reserved, out))),
        ],
    ),
    Node::File(File::private("memory_snapshot", |_, out| snapshot().write(out))),
    Node::File(File::private("page_owner", |_, out| write!(out, "{PageOwner}"))),
    Node::Dir(
        "page_owner_stacks",
        &[Node::File(File::private("show_stacks", |_, out| write!(out, "{}", Stacks(0))))],
    ),
];

fn memblock(kind: Kind, out: &mut dyn fmt::Write) -> fmt::Result {
    write!(out, "{}", DebugRegions(debugfs::regions(kind)))
}

/// Executes a command written to kmemleak.
fn kmemleak(text: &str) -> Result<(), FsError> {
    match text {
        "scan" => {
            debug::kmemleak_scan(MIN_AGE);
        }
        "clear" => debug::kmemleak_clear(),
        "off" => debug::kmemleak_off(),
        _ => return Err(FsError::InvalidArgument),
    }
    Ok(())
}

fn cma_name(n: usize) -> Option<&'static str> {
    cma::areas().nth(n).map(Cma::name)
}

/// Writes a line of an area's file.
fn of_area(n: usize, out: &mut dyn fmt::Write, figure: fn(&'static Cma) -> u64) -> fmt::Result {
    cma::areas().nth(n).map_or(Ok(()), |area| writeln!(out, "{}", figure(area)))
}

/// Has an area act on a number of pages (Linux: DEFINE_DEBUGFS_ATTRIBUTE of mm/cma_debug.c).
fn act(
    n: usize,
    text: &str,
    f: fn(&'static Cma, u32) -> Result<(), FsError>,
) -> Result<(), FsError> {
    let area = cma::areas().nth(n).ok_or(FsError::NotFound)?;
    f(area, number(text).ok_or(FsError::InvalidArgument)?)
}

/// A number as Linux reads it (kstrtouint with base 0): 0x and 0 begin other bases than ten.
fn number(text: &str) -> Option<u32> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    // The language takes a sign here.
    digits
        .bytes()
        .all(|b| b.is_ascii_hexdigit())
        .then(|| u32::from_str_radix(digits, radix).ok())?
}

/// The files of an area, in pages unless they say otherwise.
const CMA: &[File] = &[
    File::write_only_of("alloc", |n, text| {
        act(n, text, |area, pages| area.alloc_mem(pages).map_err(|_| FsError::OutOfMemory))
    }),
    File::new("base_pfn", |n, out| of_area(n, out, |area| area.range().start().get().into())),
    File::new("bitmap", |n, out| {
        cma::areas().nth(n).map_or(Ok(()), |area| write!(out, "{}", stat::CmaBitmap(area)))
    }),
    File::new("count", |n, out| of_area(n, out, |area| area.range().len().into())),
    File::write_only_of("free", |n, text| {
        act(n, text, |area, pages| {
            area.free_mem(pages);
            Ok(())
        })
    }),
    File::new("maxchunk", |n, out| of_area(n, out, |area| area.info().longest.into())),
    File::new("order_per_bit", |n, out| of_area(n, out, |area| area.order_per_bit().get().into())),
    File::new("used", |n, out| of_area(n, out, |area| area.info().allocated.into())),
];
