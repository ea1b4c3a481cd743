//! The contiguous memory allocator (Linux: mm/cma.c).
//!
//! An area is memory that was reserved at boot for large contiguous allocations. Once
//! activated, its free pages are lent to movable allocations; what is wanted back is
//! taken out of the page allocator by isolating its pageblocks. A bit map says which parts
//! of an area are allocated as contiguous memory.
//!
//! An area is declared while memblock reigns ([`cma_init_reserved_mem`]) and activated once
//! the page allocator is up ([`cma_init_reserved_areas`]).
//!
//! Lock order: one allocation at a time works on pageblocks (`WORKING`, a mutex: the owners
//! that move pages may sleep); an area's bit map has a lock of `Rank::Cma`, held for the bit map alone.

mod debug;
mod memory;
mod pages;
#[cfg(test)]
mod tests;

pub use pages::{CmaPages, cma_release};

use crate::addr::{Order, Pfn, PfnRange};
use crate::arch::irq::with_masked;
use crate::collections::bitmap::Bitmap;
use crate::machine_local;
use crate::mm::contig::alloc_contig_range;
use crate::mm::hooks::{are_rare_events_on, points};
use crate::mm::page::Frame;
use crate::mm::page_alloc::{self, ContigError};
use crate::sched::Mutex;
use crate::sync::{Once, Rank, SleepRank, SpinLock};
use arrayvec::ArrayString;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use memory::Words;

/// Maximum number of areas (Linux: MAX_CMA_AREAS).
pub const MAX_CMA_AREAS: usize = 20;
/// Bytes of an area's name that are kept.
const CMA_MAX_NAME: usize = 32;

/// Reason why an area can't be declared or activated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CmaError {
    /// There are [`MAX_CMA_AREAS`] already.
    TooMany,
    /// The area's start or size is no multiple of a pageblock, or it is empty.
    Misaligned,
    /// The area overlaps another.
    Overlap,
    /// No memory for its bit map.
    NoMemory,
    /// The area's memory is not in the state in which reserved memory should be, according to
    /// the page allocator.
    Memory(ContigError),
}

impl fmt::Display for CmaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "more than {MAX_CMA_AREAS} areas"),
            Self::Misaligned => f.write_str("not made of whole pageblocks of 2 MiB"),
            Self::Overlap => f.write_str("it overlaps another area"),
            Self::NoMemory => f.write_str("no memory for its bit map"),
            Self::Memory(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for CmaError {}

/// Parameters of an area's declaration.
struct Declared {
    name: ArrayString<CMA_MAX_NAME>,
    range: PfnRange,
    order_per_bit: Order,
}

/// An area of contiguous memory (Linux: struct cma).
pub struct Cma {
    declared: Once<Declared>,
    /// The words of the bit map, once the area is active.
    words: SpinLock<Option<&'static [AtomicU64]>>,
    successes: AtomicU32,
    failures: AtomicU32,
    pages_succeeded: AtomicU64,
    pages_failed: AtomicU64,
    pages_released: AtomicU64,
    /// Last allocation made by hand (Linux: cma.mem_head).
    mem: SpinLock<Option<debug::Last>>,
}

machine_local! {
    static AREAS: [Cma; MAX_CMA_AREAS] = [const { Cma::new() }; MAX_CMA_AREAS];
    static DEFAULT: Once<&'static Cma> = Once::new();
    /// Lock held while pageblocks are isolated and emptied: one thread at a time (Linux:
    /// cma_mutex).
    static WORKING: Mutex = Mutex::new(SleepRank::Cma);
}

/// An area's figures (Linux: /sys/kernel/mm/cma, and /proc/vmstat for the allocations).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CmaInfo {
    /// Frames of the area.
    pub range: PfnRange,
    /// True if the area can be allocated from.
    pub active: bool,
    /// Pages that are allocated from it as contiguous memory, in whole units.
    pub allocated: u32,
    /// The longest run of pages that are not.
    pub longest: u32,
    /// Number of allocations that succeeded (Linux: cma_alloc_success).
    pub successes: u32,
    /// Number of allocations that failed (Linux: cma_alloc_fail).
    pub failures: u32,
    /// Pages that were asked for with success (Linux: alloc_pages_success).
    pub pages_succeeded: u64,
    /// Pages that were asked for in vain (Linux: alloc_pages_fail).
    pub pages_failed: u64,
    /// Pages that were given back (Linux: release_pages_success).
    pub pages_released: u64,
}

impl Cma {
    const fn new() -> Self {
        Self {
            declared: Once::new(),
            words: SpinLock::new(Rank::Cma, None),
            successes: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            pages_succeeded: AtomicU64::new(0),
            pages_failed: AtomicU64::new(0),
            pages_released: AtomicU64::new(0),
            mem: SpinLock::new(Rank::Cma, None),
        }
    }

    /// Name of the area; empty before it is declared.
    #[must_use]
    pub fn name(&self) -> &str {
        self.declared.get().map_or("", |declared| &declared.name)
    }

    /// Frames of the area; empty before it is declared.
    #[must_use]
    pub fn range(&self) -> PfnRange {
        let none = PfnRange::new(Pfn::new(0), Pfn::new(0));
        self.declared.get().map_or(none, |declared| declared.range)
    }

    /// Statistics of the area.
    #[must_use]
    pub fn info(&self) -> CmaInfo {
        let map = self.with_bitmap(|declared, map| {
            (map.count(0..map.len()), map.longest_zero_area(), declared.order_per_bit)
        });
        let (allocated, longest) = map.map_or((0, 0), |(allocated, longest, order)| {
            (allocated as u32 * order.pages(), longest as u32 * order.pages())
        });
        CmaInfo {
            range: self.range(),
            active: map.is_some(),
            allocated,
            longest,
            successes: self.successes.load(Relaxed),
            failures: self.failures.load(Relaxed),
            pages_succeeded: self.pages_succeeded.load(Relaxed),
            pages_failed: self.pages_failed.load(Relaxed),
            pages_released: self.pages_released.load(Relaxed),
        }
    }

    /// Runs `f` on the bit map of an active area, under its lock.
    fn with_bitmap<R>(&self, f: impl FnOnce(&Declared, Bitmap<'static>) -> R) -> Option<R> {
        let declared = self.declared.get()?;
        with_masked(|irq| {
            let words = self.words.lock(irq);
            let bits = declared.range.len() >> declared.order_per_bit.get();
            Some(f(declared, Bitmap::new((*words)?, bits as usize)?))
        })
    }

    /// The order of the units that it is allocated in.
    #[must_use]
    pub fn order_per_bit(&self) -> Order {
        self.declared.get().map_or(Order::ZERO, |declared| declared.order_per_bit)
    }

    /// Bits 32 * `n` and up of the bit map of an active area, a bit for each unit, set where it
    /// is allocated; `None` behind its end.
    #[must_use]
    pub fn bitmap_word(&self, n: usize) -> Option<u32> {
        self.with_bitmap(|_, map| map.word32(n)).flatten()
    }

    /// Makes the area's memory the page allocator's, on loan.
    fn activate(&self) -> Result<(), CmaError> {
        let Some(declared) = self.declared.get() else { return Ok(()) };
        if with_masked(|irq| self.words.lock(irq).is_some()) {
            return Ok(());
        }
        let bits = declared.range.len() >> declared.order_per_bit.get();
        let words = Words::alloc(bits as usize).ok_or(CmaError::NoMemory)?;
        // SAFETY: whoever declared the area has promised it, and it is activated once.
        let activated = unsafe { page_alloc::init_cma_reserved(declared.range) };
        activated.map_err(CmaError::Memory)?;
        with_masked(|irq| *self.words.lock(irq) = Some(words.leak()));
        Ok(())
    }
}

impl fmt::Debug for Cma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cma({}, {:?})", self.name(), self.range().phys())
    }
}

/// Declares an area of memory that is reserved, in units of 2^`order_per_bit` pages. At
/// boot, before or after the page allocator is up (Linux: cma_init_reserved_mem).
///
/// # Errors
/// [`CmaError`], all but `NoMemory` and `Memory`.
///
/// # Safety
/// The range is RAM in the linear map which was reserved for this, and nobody uses it.
pub unsafe fn cma_init_reserved_mem(
    name: &str,
    range: PfnRange,
    order_per_bit: Order,
) -> Result<&'static Cma, CmaError> {
    let aligned = |pfn: Pfn| pfn.is_aligned(Order::PAGEBLOCK) && pfn.is_aligned(order_per_bit);
    if range.is_empty() || !aligned(range.start()) || !aligned(range.end()) {
        return Err(CmaError::Misaligned);
    }
    if areas().any(|area| area.range().overlaps(range)) {
        return Err(CmaError::Overlap);
    }
    let mut kept = ArrayString::new();
    for c in name.chars() {
        if kept.try_push(c).is_err() {
            break;
        }
    }
    for area in AREAS.iter() {
        let mut mine = false;
        area.declared.call_once(|| {
            mine = true;
            Declared { name: kept, range, order_per_bit }
        });
        if mine {
            return Ok(area);
        }
    }
    Err(CmaError::TooMany)
}

/// Activates all declared areas, once the page allocator is up; those that can't be stay
/// reserved, with a line in the log (Linux: cma_init_reserved_areas).
pub fn cma_init_reserved_areas() {
    for area in areas() {
        if let Err(error) = area.activate() {
            log::warn!("cma: {} at {:?}: {error}", area.name(), area.range().phys());
        }
    }
    page_alloc::setup_watermarks();
}

/// The declared areas.
pub fn areas() -> impl Iterator<Item = &'static Cma> {
    AREAS.iter().take_while(|area| area.declared.is_completed())
}

/// Makes `area` the one for devices that have none of their own (Linux:
/// dma_contiguous_set_default). The first call counts.
pub fn set_default_area(area: &'static Cma) {
    DEFAULT.call_once(|| area);
}

/// The area for devices that have none of their own (Linux: dma_contiguous_default_area).
#[must_use]
pub fn default_area() -> Option<&'static Cma> {
    DEFAULT.get().copied()
}

/// Allocates `count` contiguous pages of `area`, aligned to 2^`align` pages, as single
/// pages with a reference each, and returns the first; `None` where no such run is free or
/// can be emptied, and everything is then as it was. The content is whatever was there.
/// For threads with interrupts on. [`CmaPages`] gives them back when it is dropped
/// (Linux: cma_alloc).
pub fn cma_alloc(area: &Cma, count: u32, align: Order) -> Option<Frame> {
    if are_rare_events_on() {
        points::cma_alloc_start(area.name(), count, align);
    }
    let frame = find_and_take(area, count, align);
    if are_rare_events_on() {
        points::cma_alloc_finish(area.name(), frame, count, align);
    }
    let (calls, pages) = match frame {
        Some(_) => (&area.successes, &area.pages_succeeded),
        None => (&area.failures, &area.pages_failed),
    };
    calls.fetch_add(1, Relaxed);
    pages.fetch_add(count.into(), Relaxed);
    frame
}

fn find_and_take(area: &Cma, count: u32, align: Order) -> Option<Frame> {
    if count == 0 {
        return None;
    }
    let mut from = 0;
    loop {
        // Claims the bits first, so that the pageblocks are emptied without the lock.
        let (range, bits) = area.with_bitmap(|declared, map| {
            let per_bit = declared.order_per_bit;
            let align = align.max(per_bit).pages() >> per_bit.get();
            let offset = declared.range.start().get() >> per_bit.get() & (align - 1);
            let need = count.div_ceil(per_bit.pages()) as usize;
            let bit = map.find_zero_area(from, need, align as usize, offset as usize)?;
            map.set(bit..bit + need);
            let start = declared.range.start() + ((bit as u32) << per_bit.get());
            from = bit + align as usize;
            Some((PfnRange::new(start, start + count), bit..bit + need))
        })??;
        let working = WORKING.lock();
        let taken = alloc_contig_range(range);
        drop(working);
        if taken.is_ok() {
            return Frame::new(range.start());
        }
        area.with_bitmap(|_, map| map.clear(bits));
    }
}
