//! The mechanism of the tools: words of their own, and looks at the memory of others.

use crate::addr::{Order, PAGE_SIZE, VirtAddr, VirtRange};
use crate::arch::irq::with_masked;
use crate::arch::is_mapped;
use crate::mm::page::Frame;
use crate::mm::set_memory::kernel_map_pages;

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

/// Makes a page valid in the linear map, or invalid. Returns false if it is mapped by a block,
/// and so can't be changed.
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
