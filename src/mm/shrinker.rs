//! Shrinkers: who gives memory back when it is short (Linux: mm/shrinker.c).
#![deny(unsafe_code)]

use crate::addr::VirtAddr;
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::hooks::{self, ObjectType};
use crate::sync::Once;

/// A cache that can give pages back.
pub trait Shrinker: Sync {
    /// Returns the name, for reports.
    fn name(&self) -> &'static str;
    /// Returns the flags that an allocation must have for this shrinker to be asked: `__GFP_IO`,
    /// `__GFP_FS`, both or none.
    fn needs(&self) -> Gfp {
        Gfp::empty()
    }
    /// Estimates the number of objects that could be freed now.
    fn count(&self, gfp: Gfp) -> usize;
    /// Frees up to `objects` of them, within what `gfp` allows (no input or output without
    /// `__GFP_IO`, no file systems without `__GFP_FS`); returns how many were freed. Several
    /// CPUs may ask at once. It may allocate, with the reserves open to it, but gets no
    /// reclaim for it.
    fn scan(&self, gfp: Gfp, objects: usize) -> usize;
}

/// Maximum number of shrinkers.
const SHRINKERS: usize = 16;

/// The priority with which reclaim starts; it scans 1/2^priority of each cache.
pub const DEF_PRIORITY: u32 = 12;

machine_local! {
    static REGISTERED: [Once<&'static dyn Shrinker>; SHRINKERS] =
        [const { Once::new() }; SHRINKERS];
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
            // One without bytes has no memory that could be freed, and no address of its own.
            if size_of_val(shrinker) != 0 {
                let at = VirtAddr::from_ptr(shrinker);
                hooks::debug_object_init(at, ObjectType::Shrinker);
                hooks::debug_object_activate(at, ObjectType::Shrinker);
            }
            return Ok(());
        }
    }
    Err(TooManyShrinkers)
}

/// Returns the shrinkers that an allocation with `gfp` may ask.
fn shrinkers(gfp: Gfp) -> impl Iterator<Item = &'static dyn Shrinker> {
    let all = REGISTERED.iter().filter_map(|slot| slot.get().copied());
    all.filter(move |shrinker| gfp.contains(shrinker.needs()))
}

/// Counts the objects that could be freed for an allocation with `gfp`.
pub(in crate::mm) fn reclaimable(gfp: Gfp) -> usize {
    shrinkers(gfp).map(|shrinker| shrinker.count(gfp)).sum()
}

/// Result of a call of the shrinkers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(in crate::mm) struct Shrunk {
    /// Objects that were asked for.
    pub scanned: usize,
    /// Objects that were freed.
    pub freed: usize,
}

/// Asks every shrinker that `gfp` allows for 1/2^priority of what it has, at least for
/// something. The caller may sleep, holds no lock, and keeps them from reclaim
/// ([`super::context`]) (Linux: shrink_slab).
pub(in crate::mm) fn shrink_slab(gfp: Gfp, priority: u32) -> Shrunk {
    let mut all = Shrunk::default();
    for shrinker in shrinkers(gfp) {
        let count = shrinker.count(gfp);
        if count > 0 {
            let objects = (count >> priority).max(1);
            all.scanned += objects;
            all.freed += shrinker.scan(gfp, objects);
        }
    }
    all
}
