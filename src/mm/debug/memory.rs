//! The mechanism of the tools: words of their own, and looks at the memory of others.

use super::busy;
use crate::addr::{Order, PAGE_SIZE, VirtAddr, VirtRange};
use crate::arch::irq::with_masked;
use crate::arch::is_mapped;
use crate::arch::jump_label::static_branch_unlikely;
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::page::Frame;
use crate::mm::page_alloc::Pages;
use crate::mm::set_memory::kernel_map_pages;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Words of a page.
pub(super) const WORDS: usize = PAGE_SIZE / size_of::<AtomicU64>();

machine_local! {
    static METADATA: AtomicU32 = AtomicU32::new(0);
}

/// Returns true if a tool has to be called for a vmalloc area that was allocated: a `nop` if
/// not.
#[inline(always)]
pub(in crate::mm) fn are_areas_watched() -> bool {
    static_branch_unlikely!(super::SLAB_ALLOC_HOOKS)
}

/// Returns true if a tool has to be called for a vmalloc area that is about to be freed: a `nop`
/// if not.
#[inline(always)]
pub(in crate::mm) fn are_freed_areas_watched() -> bool {
    static_branch_unlikely!(super::SLAB_FREE_HOOKS)
}

/// Returns true if any trace event is on that is neither of pages nor of objects: a `nop` if
/// not.
#[inline(always)]
pub(in crate::mm) fn are_rare_events_on() -> bool {
    static_branch_unlikely!(crate::mm::trace::RARE_EVENTS)
}

/// Pages that the tools keep for themselves, for good.
#[must_use]
pub fn metadata_pages() -> u32 {
    METADATA.load(Relaxed)
}

/// A block of words, all zero, that nobody else knows of. It is given back when dropped.
pub(super) struct FreshWords(Option<Pages>);

impl FreshWords {
    /// Takes a block. Never waits; any context that allocates. `None` where memory is short, or
    /// inside of a tool that does so.
    pub(super) fn take(order: Order) -> Option<Self> {
        let gfp = Gfp::GFP_NOWAIT | Gfp::__GFP_NOWARN | Gfp::__GFP_ZERO;
        busy(|| Pages::alloc(gfp, order)).flatten().map(|pages| Self(Some(pages)))
    }

    /// Number of the first frame, plus 1.
    pub(super) fn number(&self) -> u32 {
        self.0.as_ref().map_or(0, |pages| pages.frame().pfn().get() + 1)
    }

    /// Keeps it for good: its first frame, and its words.
    pub(super) fn keep(mut self) -> Option<(Frame, &'static [AtomicU64])> {
        let pages = self.0.take()?;
        let order = pages.order();
        METADATA.fetch_add(order.pages(), Relaxed);
        let frame = pages.into_raw();
        Some((frame, words_of(frame, order)))
    }
}

impl Drop for FreshWords {
    fn drop(&mut self) {
        if let Some(pages) = self.0.take() {
            // As it was taken: no tool watches.
            busy(|| drop(pages));
        }
    }
}

/// A block of words, all zero, that is never freed, and its first frame: as
/// [`FreshWords::take`].
pub(super) fn take_words(order: Order) -> Option<(Frame, &'static [AtomicU64])> {
    FreshWords::take(order)?.keep()
}

/// The words of a block that `take_words` has taken.
pub(super) fn words_of(frame: Frame, order: Order) -> &'static [AtomicU64] {
    let at = core::ptr::with_exposed_provenance::<AtomicU64>(frame.virt().get());
    // SAFETY: RAM in the linear map, which its owner never gives back, and whose words are
    // accessed as atomics alone.
    unsafe { core::slice::from_raw_parts(at, WORDS * order.pages() as usize) }
}

/// The words of a page that nobody uses.
///
/// # Safety
/// The page was taken off the free lists, or has left its user and is on no list yet; the
/// slice is not kept.
unsafe fn bytes_of(frame: Frame) -> &'static mut [u8; PAGE_SIZE] {
    let at = core::ptr::with_exposed_provenance_mut(frame.virt().get());
    // SAFETY: RAM in the linear map that nobody else touches, as the caller says.
    unsafe { &mut *at }
}

/// Fills a page that nobody uses.
///
/// Called by hooks alone, for pages between the free lists and their users.
pub(super) fn fill(frame: Frame, value: u8) {
    // SAFETY: as said.
    unsafe { bytes_of(frame) }.fill(value);
}

/// Fills a page that nobody uses with zeros. As [`fill`].
pub(super) fn clear(frame: Frame) {
    // SAFETY: as said for `fill`.
    unsafe { crate::arch::clear_page(frame.phys()) }
}

/// Fills a part of a page of KFENCE's pool, an object that its user has given up, with zeros.
pub(super) fn clear_part(page: Frame, part: VirtRange) {
    let from = part.start() - page.virt();
    // SAFETY: as said; the page's object is being freed, under the pool's lock.
    let bytes = unsafe { bytes_of(page) };
    bytes[from..from + part.len()].fill(0);
}

/// Looks at a page that nobody uses. As [`fill`].
pub(super) fn look<R>(frame: Frame, f: impl FnOnce(&[u8; PAGE_SIZE]) -> R) -> R {
    // SAFETY: as said for `fill`.
    f(unsafe { bytes_of(frame) })
}

/// Shows a page in the linear map, or hides it; whether it is mapped by itself, so that it can be.
///
/// Called by debug_pagealloc for pages that are free or about to be, and by KFENCE for pages of its
/// pool that nobody has an object in.
pub(super) fn set_mapped(page: Frame, mapped: bool) -> bool {
    // SAFETY: as said: a page that its tool has for itself.
    unsafe { kernel_map_pages(page, Order::ZERO, mapped) }
}

/// Calls `f` on each aligned word of a range, as it is at some moment. Pages that are invalid in
/// the linear map (`set_memory_valid`) are skipped.
///
/// The caller keeps the range allocated: it holds the lock under which what lies there would
/// be given up, or the range is the image's.
pub(super) fn for_each_word(range: VirtRange, mut f: impl FnMut(usize)) {
    const WORD: usize = size_of::<usize>();
    let mut at = range.start().get().next_multiple_of(WORD);
    let mut page = None;
    while at + WORD <= range.end().get() {
        let here = VirtAddr::new(at).align_down(PAGE_SIZE);
        if page != Some(here) {
            if !with_masked(|irq| is_mapped(here, irq)) {
                at = here.get() + PAGE_SIZE;
                continue;
            }
            page = Some(here);
        }
        let word = core::ptr::with_exposed_provenance::<usize>(at);
        // SAFETY: an aligned word of memory that is mapped, and whose owner, who alone may
        // hide it, keeps it as said; volatile, for others write it.
        f(unsafe { word.read_volatile() });
        at += WORD;
    }
}

/// Counts pages that a tool took by itself, and keeps.
pub(super) fn note_metadata(pages: u32) {
    METADATA.fetch_add(pages, Relaxed);
}

/// Canary value of a byte beside a KFENCE object (Linux: KFENCE_CANARY_PATTERN_U8).
fn canary(at: usize) -> u8 {
    0xaa ^ (at & 7) as u8
}

/// Fills the page of an object but for the object, which is about to be somebody's.
pub(super) fn fill_canary(page: Frame, object: VirtRange) {
    let base = page.virt().get();
    // SAFETY: a page of KFENCE's pool whose object nobody has yet.
    for (n, byte) in unsafe { bytes_of(page) }.iter_mut().enumerate() {
        if !object.contains(VirtAddr::new(base + n)) {
            *byte = canary(base + n);
        }
    }
}

/// The first byte that differs from what `fill_canary` left, and what it and those behind it
/// are where they do.
pub(super) fn check_canary(page: Frame, object: VirtRange) -> Option<(VirtAddr, [Option<u8>; 16])> {
    let base = page.virt();
    look(page, |bytes| {
        let other = |n: usize| {
            let at = base + n;
            let is = *bytes.get(n)?;
            (!object.contains(at) && is != canary(at.get())).then_some(is)
        };
        let first = (0..PAGE_SIZE).find(|&n| other(n).is_some())?;
        Some((base + first, core::array::from_fn(|n| other(first + n))))
    })
}
