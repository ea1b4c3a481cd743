//! The order in which a new slab gives out its objects (Linux: shuffle_freelist,
//! SLAB_FREELIST_RANDOM in mm/slub.c).
//!
//! By default it is random in builds with debug assertions: nobody can tell which object
//! lies beside another, so an overflow hits what it hits by chance, and code that relies
//! on neighbours fails. `slab_freelist_random=` on the command line says otherwise.
#![deny(unsafe_code)]

use super::kmem_cache::{RawCache, mix_link};
use super::memory::Slots;
use super::slab::END;
use crate::machine_local;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

machine_local! {
    static RANDOM: AtomicBool = AtomicBool::new(cfg!(debug_assertions));
    static SEQUENCE: AtomicU64 = AtomicU64::new(0);
}

/// Objects that are put into a random order together: a slab has rarely more.
const SHUFFLED: usize = 512;

/// Returns whether new slabs give out their objects in random order from here on.
pub fn set_freelist_random(on: bool) {
    RANDOM.store(on, Relaxed);
}

/// Lets the sequence begin at `seed`.
pub(super) fn seed(seed: u64) {
    SEQUENCE.store(seed, Relaxed);
}

/// Spreads every bit of `x` over all (the finaliser of splitmix64).
pub(super) const fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Links all objects of a new slab; the first of the list.
pub(super) fn link(cache: &RawCache, slots: &Slots) -> u16 {
    if RANDOM.load(Relaxed) { link_shuffled(cache, slots) } else { link_rising(cache, slots) }
}

fn link_rising(cache: &RawCache, slots: &Slots) -> u16 {
    let key = cache.key();
    let last = slots.count() - 1;
    for index in 0..last {
        slots.set_link(index, mix_link(key, slots.address(index), u64::from(index + 1)));
    }
    slots.set_link(last, mix_link(key, slots.address(last), END.into()));
    0
}

/// Shuffles run by run (Fisher and Yates), so that it takes a bounded part of the stack.
fn link_shuffled(cache: &RawCache, slots: &Slots) -> u16 {
    let mut state = SEQUENCE.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
    let mut below = |n: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        // The high half times n: even enough for n this small.
        (((mix(state) >> 32) * n as u64) >> 32) as usize
    };
    let mut order = [0u16; SHUFFLED];
    let mut next = END;
    let mut end = usize::from(slots.count());
    while end > 0 {
        let start = end.saturating_sub(SHUFFLED);
        let run = &mut order[..end - start];
        for (slot, index) in run.iter_mut().zip(start as u16..) {
            *slot = index;
        }
        for last in (1..run.len()).rev() {
            run.swap(last, below(last + 1));
        }
        for &index in run.iter() {
            slots.set_link(index, cache.encode(slots.address(index), u64::from(next)));
            next = index;
        }
        end = start;
    }
    next
}
