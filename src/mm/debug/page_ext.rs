//! Words beside a frame's descriptor, for those who asked for them at boot (Linux:
//! mm/page_ext.c).
//!
//! A frame has a word of flags, and behind it the words of [`super::page_owner`] where that
//! is on. They come by section, in one block, when a page of the section is first allocated
//! or freed; where such a block can't be had the frames have none, and it is tried again at
//! the next. Nothing is taken while no tool asks.
//!
//! Leaves lead from sections to their blocks; both are only ever added.

use crate::addr::{Order, PAGE_SIZE, Pfn};
use crate::machine_local;
use crate::mm::hooks;
use crate::mm::page::Frame;
use crate::mm::sparse::Section;
use crate::mm::stackdepot::{WORDS, take_words, words_of};
use bitflags::bitflags;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

bitflags! {
    /// Knowledge of the tools about a frame (Linux: enum page_ext_flags).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct PageExtFlags: u64 {
        /// The first allocation since the frame has words was noted.
        const OWNER = 1 << 0;
        /// The frame is allocated.
        const OWNER_ALLOCATED = 1 << 1;
        /// The frame is free and filled with a pattern.
        const POISONED = 1 << 2;
        /// The frame is free and not mapped.
        const UNMAPPED = 1 << 3;
    }
}

/// Sections of a leaf: half a word each.
const LEAF_SECTIONS: usize = 2 * WORDS;
const LEAVES: usize = ((1 << 32) / Section::FRAMES as u64) as usize / LEAF_SECTIONS;

machine_local! {
    /// Words of a frame; 0 while nobody asks for any.
    static FRAME_WORDS: AtomicUsize = AtomicUsize::new(0);
    /// Each leaf's frame, plus 1. In a leaf: the first frames of sections' blocks, plus 1.
    static ROOT: [AtomicU32; LEAVES] = [const { AtomicU32::new(0) }; LEAVES];
    /// True if a CPU adds words.
    static ADDING: AtomicBool = AtomicBool::new(false);
}

/// The words of a frame.
#[derive(Clone, Copy)]
pub(super) struct PageExt {
    words: &'static [AtomicU64],
}

impl PageExt {
    /// Returns the flags of the frame.
    pub(super) fn flags(self) -> PageExtFlags {
        PageExtFlags::from_bits_retain(self.words[0].load(Ordering::Relaxed))
    }
    /// Changes what is known of the frame: its owner alone does.
    pub(super) fn set_flags(self, flags: PageExtFlags, on: bool) {
        let mut all = self.flags();
        all.set(flags, on);
        self.words[0].store(all.bits(), Ordering::Relaxed);
    }
    /// The words behind the flags.
    pub(super) fn words(self) -> &'static [AtomicU64] {
        &self.words[1..]
    }
}

/// Asks for words beside each frame: one of flags, and `more`. Before the page allocator is
/// up, or before any are there.
pub(super) fn require(more: usize) {
    let words = FRAME_WORDS.load(Ordering::Relaxed).max(1 + more);
    FRAME_WORDS.store(words.next_power_of_two(), Ordering::Relaxed);
}

/// Bytes of a frame's words.
pub(super) fn frame_bytes() -> usize {
    FRAME_WORDS.load(Ordering::Relaxed) * size_of::<AtomicU64>()
}

/// The block that holds a section's words.
fn section_order() -> Option<Order> {
    let bytes = frame_bytes();
    if bytes == 0 { None } else { Order::for_bytes(bytes * Section::FRAMES as usize) }
}

fn entry(leaf: &[AtomicU64], n: usize) -> u32 {
    (leaf[n / 2].load(Ordering::Acquire) >> (n % 2 * 32)) as u32
}

/// Returns the leaf of a section's words, and the index in it.
fn place(pfn: Pfn) -> (usize, usize) {
    let n = (pfn.get() / Section::FRAMES) as usize;
    (n / LEAF_SECTIONS, n % LEAF_SECTIONS)
}

fn leaf(n: usize) -> Option<&'static [AtomicU64]> {
    let pfn = ROOT[n].load(Ordering::Acquire).checked_sub(1)?;
    Some(words_of(Frame::new(Pfn::new(pfn))?, Order::ZERO))
}

/// The words of `frame`, if its section has any (Linux: page_ext_get).
pub(super) fn lookup(frame: Frame) -> Option<PageExt> {
    let (at, n) = place(frame.pfn());
    let first = entry(leaf(at)?, n).checked_sub(1)?;
    let words = words_of(Frame::new(Pfn::new(first))?, section_order()?);
    let per_frame = FRAME_WORDS.load(Ordering::Relaxed);
    let from = (frame.pfn().get() % Section::FRAMES) as usize * per_frame;
    Some(PageExt { words: words.get(from..from + per_frame)? })
}

/// Gives the section of `frame` words, if a tool asks for them and memory allows it. Never
/// waits, and not under a lock that the page allocator may take.
pub(super) fn make_ready(frame: Frame) {
    let Some(order) = section_order() else { return };
    if lookup(frame).is_some() || hooks::is_busy() || ADDING.swap(true, Ordering::Acquire) {
        return;
    }
    // Not again and again: what CPUs see as absent may be there by now.
    if lookup(frame).is_none() {
        let _ = add(frame.pfn(), order);
    }
    ADDING.store(false, Ordering::Release);
}

fn add(pfn: Pfn, order: Order) -> Option<()> {
    let (at, n) = place(pfn);
    if leaf(at).is_none() {
        let (frame, _) = take_words(Order::ZERO)?;
        ROOT[at].store(frame.pfn().get() + 1, Ordering::Release);
    }
    let (frame, _) = take_words(order)?;
    let leaf = leaf(at)?;
    let other = leaf[n / 2].load(Ordering::Relaxed);
    let word = other | u64::from(frame.pfn().get() + 1) << (n % 2 * 32);
    leaf[n / 2].store(word, Ordering::Release);
    Some(())
}

const _: () = assert!(LEAF_SECTIONS * size_of::<u32>() == PAGE_SIZE);
