//! Shrinkers: who gives memory back when it is short (Linux: mm/shrinker.c).
#![deny(unsafe_code)]

use crate::addr::VirtAddr;
use crate::machine_local;
use crate::mm::debug::{self, ObjectType};
use crate::mm::gfp::Gfp;
use crate::sync::Once;
use core::sync::atomic::{AtomicBool, Ordering};

/// A cache that can give pages back.
pub trait Shrinker: Sync {
    /// Its name, for reports.
    fn name(&self) -> &'static str;
    /// How many objects could be freed now, without looking closely.
    fn count(&self, gfp: Gfp) -> usize;
    /// Frees up to `objects` of them, within what `gfp` allows (no input or output without
    /// `__GFP_IO`, no file systems without `__GFP_FS`); returns how many were freed. It may
    /// allocate, but gets no reclaim for it.
    fn scan(&self, gfp: Gfp, objects: usize) -> usize;
}

/// How many shrinkers there can be.
const SHRINKERS: usize = 16;

/// The priority with which reclaim starts; it scans 1/2^priority of each cache.
pub const DEF_PRIORITY: u32 = 12;

machine_local! {
    static REGISTERED: [Once<&'static dyn Shrinker>; SHRINKERS] =
        [const { Once::new() }; SHRINKERS];
    static SCANNING: AtomicBool = AtomicBool::new(false);
}

/// The table of shrinkers is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyShrinkers;

/// Adds a shrinker, for good.
///
/// # Errors
/// [`TooManyShrinkers`] where there is no room for another.
pub fn register_shrinker(shrinker: &'static dyn Shrinker) -> Result<(), TooManyShrinkers> {
    for slot in REGISTERED.iter() {
        let mut taken = false;
        slot.call_once(|| {
            taken = true;
            shrinker
        });
        if taken {
            let at = VirtAddr::from_ptr(shrinker);
            debug::debug_object_init(at, ObjectType::Shrinker);
            debug::debug_object_activate(at, ObjectType::Shrinker);
            return Ok(());
        }
    }
    Err(TooManyShrinkers)
}

/// Asks every shrinker for 1/2^priority of what it has, at least for something; returns how
/// many objects were freed. One CPU at a time: another, and a shrinker that allocates, get
/// nothing. The caller may sleep, and holds no lock (Linux: shrink_slab).
pub fn shrink_slab(gfp: Gfp, priority: u32) -> usize {
    struct Done;
    impl Drop for Done {
        fn drop(&mut self) {
            SCANNING.store(false, Ordering::Release);
        }
    }
    if SCANNING.swap(true, Ordering::Acquire) {
        return 0;
    }
    let _done = Done;
    let shrinkers = REGISTERED.iter().filter_map(|slot| slot.get());
    shrinkers.fold(0, |freed, shrinker| match shrinker.count(gfp) {
        0 => freed,
        count => freed + shrinker.scan(gfp, (count >> priority).max(1)),
    })
}
