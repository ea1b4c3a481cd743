//! The pages that entries map.

use crate::addr::{PAGE_SIZE, PhysAddr};
use crate::arch;
use crate::arch::pgtable::{Prot, PteWord};
use crate::mm::filemap::PageRef;
use crate::mm::page::Frame;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The frame of the page that a valid entry maps, which is not special: this room alone makes such
/// entries, from frames.
#[inline(always)]
pub(super) fn frame_of(pte: PteWord) -> Frame {
    debug_assert!(pte.is_valid() && !pte.attrs().is_special(), "{pte:?} maps no page of users");
    // SAFETY: entries that are not special are made from frames.
    unsafe { Frame::from_virt_unchecked(arch::phys_to_virt(pte.phys())) }
}

/// Lets instruction fetches see what was stored in the page of `pte`, if that may be executed: before
/// the entry is in a table (Linux: __sync_icache_dcache). It is done for each mapping, as no flag says
/// whether the page was written to since the last time.
#[inline(always)]
pub(super) fn sync_icache(pte: PteWord) {
    if pte.attrs().prot().contains(Prot::EXEC) {
        // SAFETY: RAM in the linear map, which the mapping that is to come keeps.
        unsafe { arch::cache::sync_icache_page(pte.phys()) };
    }
}

/// The contents of a page that others may be writing to.
pub(super) struct SharedBytes<'a>(&'a [AtomicU64; PAGE_SIZE / 8]);

/// The contents of the page that an entry maps, for as long as the table is locked.
pub(super) fn bytes_of(pte: PteWord) -> SharedBytes<'static> {
    shared_bytes(pte.phys())
}

/// The contents of a page of a file.
pub(super) fn file_bytes(page: &PageRef) -> SharedBytes<'_> {
    shared_bytes(page.frame().phys())
}

fn shared_bytes<'a>(page: PhysAddr) -> SharedBytes<'a> {
    let at = arch::phys_to_virt(page).get();
    // SAFETY: RAM in the linear map, which a mapping or a reference keeps. Others may be writing it:
    // programs by their mappings, the kernel by its file.
    SharedBytes(unsafe { &*core::ptr::with_exposed_provenance(at) })
}

impl SharedBytes<'_> {
    /// Copies the page, each word of it as it was or as it is.
    pub fn copy_to(&self, to: &mut [u8; PAGE_SIZE]) {
        let (words, _) = to.as_chunks_mut::<8>();
        for (word, from) in words.iter_mut().zip(self.0) {
            *word = from.load(Relaxed).to_ne_bytes();
        }
    }
}
