//! Memory of the debugging tools: blocks of words that are never freed.

use crate::addr::{Order, PAGE_SIZE};
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::hooks::busy;
use crate::mm::page::Frame;
use crate::mm::page_alloc::Pages;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Words of a page.
pub(in crate::mm) const WORDS: usize = PAGE_SIZE / size_of::<AtomicU64>();

machine_local! {
    static METADATA: AtomicU32 = AtomicU32::new(0);
}

/// Pages that the tools keep for themselves, for good.
#[must_use]
pub fn metadata_pages() -> u32 {
    METADATA.load(Relaxed)
}

/// A block of words, all zero, that nobody else knows of. It is given back when dropped.
pub(in crate::mm) struct FreshWords(Option<Pages>);

impl FreshWords {
    /// Takes a block. Never waits; any context that allocates. `None` where memory is short, or
    /// inside of a tool that does so.
    pub(in crate::mm) fn take(order: Order) -> Option<Self> {
        let gfp = Gfp::GFP_NOWAIT | Gfp::__GFP_NOWARN | Gfp::__GFP_ZERO;
        busy(|| Pages::alloc(gfp, order)).flatten().map(|pages| Self(Some(pages)))
    }

    /// Number of the first frame, plus 1.
    pub(in crate::mm) fn number(&self) -> u32 {
        self.0.as_ref().map_or(0, |pages| pages.frame().pfn().get() + 1)
    }

    /// Keeps it for good: its first frame, and its words.
    pub(in crate::mm) fn keep(mut self) -> Option<(Frame, &'static [AtomicU64])> {
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
pub(in crate::mm) fn take_words(order: Order) -> Option<(Frame, &'static [AtomicU64])> {
    FreshWords::take(order)?.keep()
}

/// The words of a block that `take_words` has taken.
pub(in crate::mm) fn words_of(frame: Frame, order: Order) -> &'static [AtomicU64] {
    let at = core::ptr::with_exposed_provenance::<AtomicU64>(frame.virt().get());
    // SAFETY: RAM in the linear map, which its owner never gives back, and whose words are
    // accessed as atomics alone.
    unsafe { core::slice::from_raw_parts(at, WORDS * order.pages() as usize) }
}

/// Counts pages that a tool took by itself, and keeps.
pub(in crate::mm) fn note_metadata(pages: u32) {
    METADATA.fetch_add(pages, Relaxed);
}
