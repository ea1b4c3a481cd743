//! Places for caches in per-CPU memory (Linux: the first chunk's PERCPU_DYNAMIC_RESERVE and what
//! pcpu_populate_chunk adds).
//!
//! A [`RawCache`] begins with a [`PerCpu`](crate::percpu::PerCpu), so it lies in the boot CPU's
//! unit, and the sheaves of another CPU are as far behind it as that CPU's unit. A few caches
//! have places in the image; for more, pages are added to all units.

use super::kmem_cache::RawCache;
use crate::addr::{Order, PAGE_SIZE, VirtAddr, VirtRange};
use crate::arch::CpuId;
use crate::arch::irq::with_masked;
use crate::arch::layout::PERCPU_DYNAMIC;
use crate::arch::pgtable::KernelAttrs;
use crate::mm::alloc_pages::alloc_pages_node;
use crate::mm::gfp::Gfp;
use crate::mm::init_mm;
use crate::mm::page::Frame;
use crate::mm::page_alloc::{cpu_to_node, free_pages};
use crate::percpu::{self, possible_cpus};
use crate::sched::{Mutex, kick_all_cpus_sync};
use crate::sync::{Rank, SleepRank, SpinLock};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};

/// Places in the image.
const RESERVED: usize = 16;

/// A place, with a cache or without.
#[repr(transparent)]
struct Place(UnsafeCell<MaybeUninit<RawCache>>);

// SAFETY: whoever got it from `take` has it to himself until he gives it back.
unsafe impl Sync for Place {}

#[unsafe(link_section = ".percpu")]
static RESERVE: [Place; RESERVED] =
    [const { Place(UnsafeCell::new(MaybeUninit::uninit())) }; RESERVED];

/// Pages that a unit's dynamic area has room for.
const PAGES: usize = PERCPU_DYNAMIC.len() / PAGE_SIZE;

/// Places without a cache. The first word of one leads to the next.
struct Free {
    first: usize,
    /// Places of the image that have been handed out once.
    carved: usize,
    /// Places with a cache of each page of the dynamic area.
    used: [u8; PAGES],
}

static FREE: SpinLock<Free> =
    SpinLock::new(Rank::SlabCaches, Free { first: 0, carved: 0, used: [0; PAGES] });
/// Lock of those who add pages.
static GROWING: Mutex = Mutex::new(SleepRank::PcpuAlloc);

fn place_at(at: usize) -> NonNull<RawCache> {
    NonNull::new(ptr::with_exposed_provenance_mut(at)).expect("no place is at address 0")
}

/// The page of the dynamic area that a place lies in; `None` for one of the image.
fn page_of(at: usize) -> Option<usize> {
    let at = VirtAddr::new(at);
    PERCPU_DYNAMIC.contains(at).then(|| (at - PERCPU_DYNAMIC.start()) / PAGE_SIZE)
}

/// The place behind a free one.
///
/// # Safety
/// `at` is a place on the list of [`FREE`], which is locked.
unsafe fn next_of(at: usize) -> usize {
    // SAFETY: a free place is nobody's, and its first word was written when it became free.
    unsafe { place_at(at).cast::<usize>().read() }
}

/// Links `next` behind a free place.
///
/// # Safety
/// `at` is a place that is free, and nobody's, while [`FREE`] is locked.
unsafe fn set_next(at: usize, next: usize) {
    // SAFETY: as the caller says.
    unsafe { place_at(at).cast::<usize>().write(next) }
}

fn take_free() -> Option<NonNull<RawCache>> {
    with_masked(|irq| {
        let mut free = FREE.lock(irq);
        let at = free.first;
        if at != 0 {
            // SAFETY: the first of the list.
            free.first = unsafe { next_of(at) };
            if let Some(page) = page_of(at) {
                free.used[page] += 1;
            }
            return Some(place_at(at));
        }
        let place = RESERVE.get(free.carved)?;
        free.carved += 1;
        Some(place_at(place.0.get().expose_provenance()))
    })
}

/// A place that nobody else has, in all units; its content is undefined. Process context. `None`
/// for want of memory, or of addresses: a unit has room for some 2,000.
pub(super) fn take() -> Option<NonNull<RawCache>> {
    loop {
        if let Some(place) = take_free() {
            return Some(place);
        }
        let _growing = GROWING.lock();
        // Another may have added a page meanwhile.
        if let Some(place) = take_free() {
            return Some(place);
        }
        grow()?;
    }
}

/// Gives a place back, and pages in which no place is used. Process context.
///
/// # Safety
/// It came from [`take`], and nobody uses it any more.
pub(super) unsafe fn give_back(at: VirtAddr) {
    let is_last = with_masked(|irq| {
        let mut free = FREE.lock(irq);
        // SAFETY: a place, which nobody uses any more, as the caller says.
        unsafe { set_next(at.get(), free.first) };
        free.first = at.get();
        page_of(at.get()).is_some_and(|page| {
            free.used[page] -= 1;
            free.used[page] == 0
        })
    });
    if is_last {
        shrink();
    }
}

/// Takes the free places of a page of the dynamic area off the list; false where one is used.
fn unlink(page: usize) -> bool {
    with_masked(|irq| {
        let mut free = FREE.lock(irq);
        if free.used[page] != 0 {
            return false;
        }
        let (mut at, mut kept) = (free.first, 0);
        free.first = 0;
        while at != 0 {
            // SAFETY: a place of the list.
            let next = unsafe { next_of(at) };
            if page_of(at) != Some(page) {
                match kept {
                    0 => free.first = at,
                    // SAFETY: a place of the list that stays on it.
                    last => unsafe { set_next(last, at) },
                }
                // SAFETY: as above.
                unsafe { set_next(at, 0) };
                kept = at;
            }
            at = next;
        }
        true
    })
}

/// Frees the last pages of the units, as long as no place of theirs is used.
fn shrink() {
    let _growing = GROWING.lock();
    while let Some(last) = percpu::dynamic_pages().checked_sub(1)
        && unlink(last)
    {
        percpu::set_dynamic_pages(last);
        // kmemleak reads them with interrupts masked, once it has seen that they are there.
        kick_all_cpus_sync();
        for at in possible_cpus().filter_map(|cpu| percpu::dynamic_page(cpu, last)) {
            // SAFETY: mapped by `grow`; its places are off the list, and none is used.
            unsafe { remove(at) };
        }
        if last == 0 {
            free_tables();
        }
    }
}

/// Frees the page tables of the dynamic areas, in which nothing is mapped.
fn free_tables() {
    for cpu in possible_cpus() {
        let Some(start) = percpu::dynamic_page(cpu, 0) else { continue };
        // SAFETY: addresses of this file's, where nothing is mapped while `GROWING` is held.
        unsafe { init_mm::free_tables(VirtRange::from_size(start, PERCPU_DYNAMIC.len())) };
    }
}

/// Adds a page to each unit, with places that are free. With [`GROWING`] held.
fn grow() -> Option<()> {
    let nth = percpu::dynamic_pages();
    let at = |cpu| percpu::dynamic_page(cpu, nth);
    at(CpuId::BOOT)?;
    for (done, cpu) in possible_cpus().enumerate() {
        let to = at(cpu)?;
        let gfp = Gfp::GFP_KERNEL | Gfp::__GFP_ZERO;
        let page = alloc_pages_node(cpu_to_node(cpu), gfp, Order::ZERO);
        let is_mapped = page.is_some_and(|page| {
            // SAFETY: addresses of the dynamic area behind its pages, of this function's alone
            // while `GROWING` is held; the page was allocated just now.
            let mapped = unsafe {
                init_mm::map_pages(to, core::iter::once(page.phys()), KernelAttrs::KERNEL)
            };
            if mapped.is_err() {
                // SAFETY: allocated above, and mapped nowhere.
                unsafe { free_pages(page, Order::ZERO) };
            }
            mapped.is_ok()
        });
        if !is_mapped {
            for at in possible_cpus().take(done).filter_map(at) {
                // SAFETY: mapped in this loop, and nobody knows of its places.
                unsafe { remove(at) };
            }
            if nth == 0 {
                free_tables();
            }
            return None;
        }
    }
    percpu::set_dynamic_pages(nth + 1);
    let start = at(CpuId::BOOT)?;
    with_masked(|irq| {
        let mut free = FREE.lock(irq);
        for n in 0..PAGE_SIZE / size_of::<RawCache>() {
            let at = (start + n * size_of::<RawCache>()).get();
            // SAFETY: a place in the page that was mapped above, which nobody has yet.
            unsafe { set_next(at, free.first) };
            free.first = at;
        }
    });
    Some(())
}

/// Unmaps and frees a page of a unit's dynamic area.
///
/// # Safety
/// [`grow`] mapped it, no place in it is used or on the list, and [`GROWING`] is held.
unsafe fn remove(at: VirtAddr) {
    let Some(page) = init_mm::translate(at).and_then(|(page, _)| page.pfn()) else { return };
    // SAFETY: as the caller says.
    unsafe { init_mm::unmap(VirtRange::from_size(at, PAGE_SIZE)) }.flush();
    // SAFETY: the frame that `grow` allocated for it, which is mapped no more.
    unsafe { free_pages(Frame::new_unchecked(page), Order::ZERO) };
}
