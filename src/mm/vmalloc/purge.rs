//! Giving back what was lazily unmapped (Linux: __purge_vmap_area_lazy).
#![deny(unsafe_code)]

use super::vmap_areas::PurgeStart;
use super::with_areas;
use crate::arch::{cpu, irq};
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::init_mm::TlbFlush;
use crate::mm::shrinker::{Shrinker, register_shrinker};
use crate::sync::Once;
use arrayvec::ArrayVec;

/// Whether to wait for a purge by another CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Until it is done.
    Yes,
    /// It will do.
    No,
}

/// Flushes what is lazily unmapped and gives back what waited for it; whether there was
/// something. Areas that another CPU is dealing with are waited for, unless that
/// could be this very CPU, below an interrupt (Linux: __purge_vmap_area_lazy).
#[cold]
#[inline(never)]
pub fn purge(wait: Wait) -> bool {
    let mut done = false;
    loop {
        match with_areas(|areas| areas.start_purge()) {
            PurgeStart::Areas(purge) => {
                flush_and_reclaim(purge.owed, purge.head);
                return true;
            }
            PurgeStart::Nothing => return done,
            PurgeStart::Busy if wait == Wait::No || irq::is_masked() => return done,
            PurgeStart::Busy => {
                done = true;
                cpu::relax();
            }
        }
    }
}

fn flush_and_reclaim(owed: TlbFlush, mut areas_left: u32) {
    owed.flush();
    let mut left = true;
    while left {
        // Dropped without the lock at the end of each round.
        let mut freed = ArrayVec::new();
        left = with_areas(|areas| areas.reclaim(&mut areas_left, &mut freed));
    }
    with_areas(|areas| areas.end_purge());
}

machine_local! {
    static REGISTERED: Once<()> = Once::new();
}

/// Lets reclaim have the pages that wait for a flush. Once per machine does.
pub fn register() {
    REGISTERED.call_once(|| {
        if register_shrinker(&LazyPages).is_err() {
            log::warn!("vmalloc: pages that wait for a flush are out of reach of reclaim");
        }
    });
}

/// The pages of areas that are lazily unmapped.
struct LazyPages;

impl Shrinker for LazyPages {
    fn name(&self) -> &'static str {
        "vmalloc"
    }

    fn count(&self, _gfp: Gfp) -> usize {
        with_areas(|areas| areas.stat().lazy_frames)
    }

    /// All of them: the flush costs the same.
    fn scan(&self, gfp: Gfp, _objects: usize) -> usize {
        let waiting = self.count(gfp);
        if purge(Wait::No) { waiting } else { 0 }
    }
}
