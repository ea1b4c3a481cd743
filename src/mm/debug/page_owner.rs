//! Owners of pages: the stacks that allocated and freed each page (Linux: page_owner=on,
//! mm/page_owner.c).
//!
//! A frame's words in `page_ext`: the handles of the stacks that allocated and freed it, the
//! allocation's flags and order, the times of both, the thread's name, the numbers of the
//! threads. They are written by whoever allocates or frees, and read by reports, which may
//! see a page that changes hands half way.

use super::page_ext::{self, PageExt, PageExtFlags};
use super::stackdepot::{self, Handle, Stack};
use crate::addr::{Order, Pfn};
use crate::arch::cpu;
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::mmzone::{Migratetype, ZoneId};
use crate::mm::page::{Frame, PageMarks};
use crate::mm::page_alloc::pageblock_migratetype;
use crate::mm::sparse::Section;
use crate::sched;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

machine_local! {
    static ON: AtomicBool = AtomicBool::new(false);
}

/// Words of a frame, which [`page_ext::require`] is asked for.
pub(super) const WORDS: usize = 7;
const HANDLES: usize = 0;
const GFP_ORDER: usize = 1;
const TIME: usize = 2;
const FREE_TIME: usize = 3;
const COMM: usize = 4;
const PIDS: usize = 6;

/// Switches it on; what is allocated by then has no known owner.
pub(super) fn enable() {
    if !ON.swap(true, Relaxed) {
        super::watch_pages();
    }
}

/// Returns whether it is on.
#[must_use]
pub fn page_owner_on() -> bool {
    ON.load(Relaxed)
}

fn halves(word: &AtomicU64) -> (u32, u32) {
    let word = word.load(Relaxed);
    (word as u32, (word >> 32) as u32)
}

fn set_halves(word: &AtomicU64, low: u32, high: u32) {
    word.store(u64::from(low) | u64::from(high) << 32, Relaxed);
}

/// The number of the thread that runs, 0 where there are none.
fn current_pid() -> u32 {
    sched::current().pid()
}

fn current_comm() -> [u64; 2] {
    let mut bytes = [0; 16];
    if let Some(comm) = sched::current_comm() {
        bytes[..comm.len()].copy_from_slice(comm.as_bytes());
    }
    let half =
        |n: usize| bytes[n..n + 8].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
    [half(0), half(8)]
}

/// Notes who allocates a block. With `can_alloc` as for [`stackdepot::save`].
#[inline(never)]
pub(super) fn set_page_owner(frame: Frame, order: Order, gfp: Gfp, can_alloc: bool) {
    if !page_owner_on() {
        return;
    }
    if can_alloc {
        page_ext::make_ready(frame);
    }
    let handle = stackdepot::save_here(can_alloc);
    let (now, pid, comm) = (cpu::sched_clock(), current_pid(), current_comm());
    for page in frame.block(order) {
        let Some(ext) = page_ext::lookup(page) else { return };
        let words = ext.words();
        let (_, free) = halves(&words[HANDLES]);
        set_halves(&words[HANDLES], Handle::number(handle), free);
        set_halves(&words[GFP_ORDER], gfp.bits(), u32::from(order.get()));
        words[TIME].store(now, Relaxed);
        words[COMM].store(comm[0], Relaxed);
        words[COMM + 1].store(comm[1], Relaxed);
        let (_, free_pid) = halves(&words[PIDS]);
        set_halves(&words[PIDS], pid, free_pid);
        ext.set_flags(PageExtFlags::OWNER | PageExtFlags::OWNER_ALLOCATED, true);
    }
    if let Some(handle) = handle {
        stackdepot::count(handle, order.pages() as i32);
    }
}

/// Notes who frees a block.
#[inline(never)]
pub(super) fn reset_page_owner(frame: Frame, order: Order) {
    if !page_owner_on() {
        return;
    }
    page_ext::make_ready(frame);
    let handle = stackdepot::save_here(true);
    let (now, pid) = (cpu::sched_clock(), current_pid());
    for page in frame.block(order) {
        let Some(ext) = page_ext::lookup(page) else { return };
        let words = ext.words();
        let (allocated, _) = halves(&words[HANDLES]);
        if ext.flags().contains(PageExtFlags::OWNER_ALLOCATED)
            && let Some(allocated) = Handle::from_number(allocated)
        {
            stackdepot::count(allocated, -1);
        }
        set_halves(&words[HANDLES], allocated, Handle::number(handle));
        words[FREE_TIME].store(now, Relaxed);
        let (owner_pid, _) = halves(&words[PIDS]);
        set_halves(&words[PIDS], owner_pid, pid);
        ext.set_flags(PageExtFlags::OWNER_ALLOCATED, false);
    }
}

/// Notes that a block has become single pages (Linux: __split_page_owner).
pub(super) fn split(frame: Frame, order: Order) {
    if !page_owner_on() {
        return;
    }
    for ext in frame.block(order).filter_map(page_ext::lookup) {
        let (gfp, _) = halves(&ext.words()[GFP_ORDER]);
        set_halves(&ext.words()[GFP_ORDER], gfp, 0);
    }
}

/// Last allocation and last free of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// True if it is allocated.
    pub allocated: bool,
    /// GFP flags of the allocation.
    pub gfp: Gfp,
    /// The order of the block that it was allocated in.
    pub order: u8,
    /// Stack of the allocation.
    pub handle: Option<Handle>,
    /// Stack of the last free.
    pub free_handle: Option<Handle>,
    /// Time of the allocation, in nanoseconds.
    pub time: u64,
    /// Time of the free, in nanoseconds.
    pub free_time: u64,
    /// The number of the thread that allocated it.
    pub pid: u32,
    /// Process that freed the page.
    pub free_pid: u32,
    comm: [u64; 2],
}

impl Owner {
    fn read(ext: PageExt) -> Option<Self> {
        let words = ext.words();
        if !ext.flags().contains(PageExtFlags::OWNER) || words.len() < WORDS {
            return None;
        }
        let (allocated, free) = halves(&words[HANDLES]);
        let (gfp, order) = halves(&words[GFP_ORDER]);
        let (pid, free_pid) = halves(&words[PIDS]);
        Some(Self {
            allocated: ext.flags().contains(PageExtFlags::OWNER_ALLOCATED),
            gfp: Gfp::from_bits_retain(gfp),
            order: order as u8,
            handle: Handle::from_number(allocated),
            free_handle: Handle::from_number(free),
            time: words[TIME].load(Relaxed),
            free_time: words[FREE_TIME].load(Relaxed),
            pid,
            free_pid,
            comm: [words[COMM].load(Relaxed), words[COMM + 1].load(Relaxed)],
        })
    }

    /// The name of the thread that allocated it.
    #[must_use]
    pub fn comm(&self) -> Comm {
        Comm(self.comm)
    }
}

/// A thread's name, for print; empty where there were no threads yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Comm([u64; 2]);

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.iter().flat_map(|word| word.to_le_bytes()).take_while(|&b| b != 0);
        bytes.into_iter().try_for_each(|byte| write!(f, "{}", char::from(byte)))
    }
}

/// Returns the owner of `frame`; `None` where page_owner is off, or came too late.
#[must_use]
pub fn owner_of(frame: Frame) -> Option<Owner> {
    if page_owner_on() { Owner::read(page_ext::lookup(frame)?) } else { None }
}

/// Flags by name (Linux: %pGg).
struct Names(Gfp);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (name, _)) in self.0.iter_names().enumerate() {
            write!(f, "{}{name}", if n == 0 { "" } else { "|" })?;
        }
        Ok(())
    }
}

/// Flags of a page by name, in small letters (Linux: %pGp): page_owner_sort looks for `slab`.
struct PageNames(PageMarks);

impl fmt::Display for PageNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, name) in self.0.names().enumerate() {
            f.write_str(if n == 0 { "" } else { "|" })?;
            name.chars().try_for_each(|c| f.write_char(c.to_ascii_lowercase()))?;
        }
        Ok(())
    }
}

/// History of a page for a report: the origin of the page and its owners (Linux:
/// __dump_page_owner).
pub(super) struct History(pub Frame);

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(owner) = owner_of(self.0) else {
            return writeln!(f, "page_owner info is not present: page_owner=on tells more");
        };
        writeln!(
            f,
            "page_owner tracks the page as {}",
            if owner.allocated { "allocated" } else { "freed" }
        )?;
        writeln!(
            f,
            "page last allocated via order {}, gfp_mask {:#x}({}), pid {}, tgid {} ({}), ts {}, free_ts {}",
            owner.order,
            owner.gfp.bits(),
            Names(owner.gfp),
            owner.pid,
            owner.pid,
            owner.comm(),
            owner.time,
            owner.free_time
        )?;
        write!(f, "{}", Stack(owner.handle))?;
        match owner.free_handle {
            None => writeln!(f, "page_owner free stack trace missing"),
            Some(_) => write!(
                f,
                "page last free pid {} tgid {} stack trace:\n{}",
                owner.free_pid,
                owner.free_pid,
                Stack(owner.free_handle)
            ),
        }
    }
}

/// All allocated blocks, in the format of Linux's /sys/kernel/debug/page_owner, which
/// page_owner_sort reads: a record a block, an empty line after each.
pub struct PageOwner;

impl fmt::Display for PageOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for zone in ZoneId::all().map(ZoneId::zone) {
            let (mut at, end) = (zone.spanned().start(), zone.spanned().end());
            while at < end {
                let Some(ext) = Frame::new(at).filter(|f| f.zone() == zone.id()) else {
                    at = next_block(at);
                    continue;
                };
                let owner = page_ext::lookup(ext).and_then(Owner::read);
                let Some(owner) = owner.filter(|owner| owner.allocated) else {
                    at = at + 1;
                    continue;
                };
                record(f, at, &owner)?;
                let order = Order::new(owner.order).unwrap_or(Order::ZERO);
                at = if at.is_aligned(order) { at + order.pages() } else { at + 1 };
            }
        }
        Ok(())
    }
}

/// The next frame that may have a descriptor where `pfn` has none.
fn next_block(pfn: Pfn) -> Pfn {
    let block = pfn.align_down(Order::MAX) + Order::MAX.pages();
    if block.get() > pfn.get() { block } else { Section::of(pfn).end() }
}

fn record(f: &mut fmt::Formatter<'_>, pfn: Pfn, owner: &Owner) -> fmt::Result {
    let Some(frame) = Frame::new(pfn) else { return Ok(()) };
    writeln!(
        f,
        "Page allocated via order {}, mask {:#x}({}), pid {}, tgid {} ({}), ts {} ns",
        owner.order,
        owner.gfp.bits(),
        Names(owner.gfp),
        owner.pid,
        owner.pid,
        owner.comm(),
        owner.time
    )?;
    let block: Migratetype = pageblock_migratetype(frame);
    writeln!(
        f,
        "PFN {:#x} type {} Block {} type {} Flags {:#x}({})",
        pfn.get(),
        owner.gfp.migratetype(),
        pfn.get() >> Order::PAGEBLOCK.get(),
        block,
        frame.page().marks().bits(),
        PageNames(frame.page().marks())
    )?;
    writeln!(f, "{}", Stack(owner.handle))
}

/// Number of pages that each stack has allocated and that are not free yet, in the format of
/// Linux's /sys/kernel/debug/page_owner_stacks/show_stacks: stacks with `0` pages or more.
pub struct Stacks(pub u32);

impl fmt::Display for Stacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (handle, pages) in stackdepot::all().filter(|&(_, pages)| pages != 0) {
            if pages >= self.0 {
                writeln!(f, "{}nr_base_pages: {pages}\n", Stack(Some(handle)))?;
            }
        }
        Ok(())
    }
}
