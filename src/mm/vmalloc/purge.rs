//! Giving back what was lazily unmapped (Linux: __purge_vmap_area_lazy).
#![deny(unsafe_code)]

use super::area::Backing;
use super::area_pages::AreaPages;
use super::memtype::{self, Claim};
use super::reclaim::{BATCH, Purge, PurgeStart};
use super::with_areas;
use crate::arch::{cpu, irq};
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::hooks::points;
use crate::mm::init_mm::Flushed;
use crate::mm::shrinker::{Shrinker, register_shrinker};
use crate::sync::Once;
use arrayvec::ArrayVec;

/// Choice whether to wait for a purge by another CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Until it is done.
    Yes,
    /// Don't wait: the other CPU's purge is good enough.
    No,
}

/// Flushes the TLBs for lazily unmapped areas, and frees their memory and addresses. Returns
/// true if there were some. Areas that another CPU is purging are waited for, unless that could
/// be this very CPU, below an interrupt (Linux: __purge_vmap_area_lazy).
#[cold]
#[inline(never)]
pub fn purge(wait: Wait) -> bool {
    let mut done = false;
    loop {
        let mut purge = Purge::NONE;
        match with_areas(|areas| areas.start_purge(&mut purge)) {
            PurgeStart::Areas => {
                flush_and_reclaim(purge);
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

#[inline(always)]
fn flush_and_reclaim(Purge { owed, mut others, mut held }: Purge) {
    points::purge_vmap_area_lazy(|| with_areas(|areas| areas.purging(others)));
    let flushed = owed.flush();
    held.release(&flushed);
    if !with_areas(|areas| areas.reclaim_sized(&flushed, &mut others)) {
        reclaim_others(&flushed, others);
    }
}

/// Reclaims areas one by one, and ends the purge.
#[inline(never)]
fn reclaim_others(flushed: &Flushed, mut others: u32) {
    let (mut left, mut freed) = (true, Freed::new(flushed));
    while left {
        left = with_areas(|areas| areas.reclaim(&mut others, &mut freed));
        freed.release();
    }
    with_areas(|areas| areas.end_purge());
}

/// Backings of reclaimed areas, to be given back without the lock.
pub struct Freed {
    claims: ArrayVec<Claim, BATCH>,
    pages: ArrayVec<AreaPages, BATCH>,
}

impl Freed {
    /// Creates an empty set, for areas that the flush was done for.
    #[inline(always)]
    fn new(_: &Flushed) -> Self {
        Self { claims: ArrayVec::new(), pages: ArrayVec::new() }
    }

    /// Adds the backing of one of [`BATCH`] areas.
    #[inline(always)]
    pub fn add(&mut self, backing: Backing) {
        match backing {
            Backing::None => {}
            Backing::Pages(chain) => self.pages.push(chain),
            Backing::Io(reservation) => self.claims.push(reservation.into_claim()),
        }
    }

    /// Gives it all back.
    fn release(&mut self) {
        if !self.claims.is_empty() {
            memtype::release(&self.claims);
            self.claims.clear();
        }
        self.pages.clear();
    }
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
