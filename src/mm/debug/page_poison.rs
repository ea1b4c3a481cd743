//! A pattern in free pages: who writes to one is found when it is next allocated, and what
//! was in it can't be read (Linux: page_poison=on, mm/page_poison.c).

use super::memory;
use super::page_ext::{self, PageExtFlags};
use super::page_owner;
use super::report::report;
use crate::addr::{Order, PAGE_SIZE};
use crate::machine_local;
use crate::mm::page::Frame;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Pattern of free pages (Linux: PAGE_POISON).
pub const PAGE_POISON: u8 = 0xaa;

machine_local! {
    static ON: AtomicBool = AtomicBool::new(false);
}

/// Switches it on; pages are filled from their next free on.
pub(super) fn enable() {
    if !ON.swap(true, Relaxed) {
        super::watch_pages();
    }
}

/// Fills a block that is about to be free (Linux: kernel_poison_pages).
pub(super) fn poison(frame: Frame, order: Order) {
    if !ON.load(Relaxed) {
        return;
    }
    for page in frame.block(order) {
        if let Some(ext) = page_ext::lookup(page) {
            memory::fill(page, PAGE_POISON);
            ext.set_flags(PageExtFlags::POISONED, true);
        }
    }
}

/// Checks a block that was free until now (Linux: kernel_unpoison_pages).
pub(super) fn check_alloc(frame: Frame, order: Order) {
    if !ON.load(Relaxed) {
        return;
    }
    for page in frame.block(order) {
        let Some(ext) = page_ext::lookup(page) else { continue };
        if !ext.flags().contains(PageExtFlags::POISONED) {
            continue;
        }
        ext.set_flags(PageExtFlags::POISONED, false);
        memory::look(page, |bytes| {
            if let Some(damage) = find(bytes) {
                corrupted(page, bytes, damage);
            }
        });
    }
}

/// Finds the bytes that differ from the pattern: the first, and the one after the last.
fn find(bytes: &[u8; PAGE_SIZE]) -> Option<(usize, usize)> {
    let first = bytes.iter().position(|&byte| byte != PAGE_POISON)?;
    let last = bytes.iter().rposition(|&byte| byte != PAGE_POISON)?;
    Some((first, last + 1))
}

/// Linux: check_poison_mem.
#[cold]
fn corrupted(page: Frame, bytes: &[u8; PAGE_SIZE], (start, end): (usize, usize)) {
    let single = end == start + 1 && (bytes[start] ^ PAGE_POISON).is_power_of_two();
    let what = if single { "single bit error" } else { "memory corruption" };
    let at = page.virt() + start;
    report!(
        "pagealloc: {what} at {at}, {} bytes of a free page (PFN {:#x})\n{}{}",
        end - start,
        page.pfn().get(),
        HexDump { base: page.virt().get(), bytes: &bytes[start..end], start },
        page_owner::History(page)
    );
}

/// Bytes in rows of sixteen, the first few rows of them.
struct HexDump<'a> {
    base: usize,
    start: usize,
    bytes: &'a [u8],
}

impl fmt::Display for HexDump<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ROWS: usize = 16;
        for (n, row) in self.bytes.chunks(16).take(ROWS).enumerate() {
            write!(f, "{:016x}:", self.base + self.start + 16 * n)?;
            row.iter().try_for_each(|byte| write!(f, " {byte:02x}"))?;
            writeln!(f)?;
        }
        match self.bytes.len().checked_sub(16 * ROWS) {
            None | Some(0) => Ok(()),
            Some(more) => writeln!(f, "... and {more} bytes more"),
        }
    }
}
