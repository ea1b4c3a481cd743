//! Per-CPU data that is allocated as the kernel runs (Linux: alloc_percpu, mm/percpu.c).
//!
//! A chunk is a unit of memory for each CPU that there can be, on that CPU's own node. An area
//! lies at the same offset in all units of its chunk. Chunks are made when the others have no
//! room, of units of 16 KiB, or larger where an area is. One that is empty is kept, others go
//! back.
//!
//! [`PerCpuBox`] is for this what [`PerCpu`](crate::percpu::PerCpu) is for static data: a CPU
//! reaches its own value with the same proof, and without a lock.
//!
//! Lock: one, over the chunks; memory is taken and given back outside of it.
#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "the mechanism: values in units, by an offset")]
mod boxed;
mod map;
#[cfg(test)]
mod tests;
#[expect(unsafe_code, reason = "the mechanism: memory of units")]
mod units;

pub use boxed::PerCpuBox;

use crate::addr::PAGE_SIZE;
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::mm::alloc::{AllocError, KBox};
use crate::mm::gfp::{Gfp, might_alloc};
use crate::percpu::nr_cpu_ids;
use crate::sync::{Rank, SpinLock};
use core::alloc::Layout;
use core::mem::ManuallyDrop;
use map::{GRANULE, MAX_UNIT, Map};
use units::{Units, UnitsRef};

/// Bytes of the largest value that each CPU can have (Linux: PCPU_MIN_UNIT_SIZE).
pub const PERCPU_MAX_SIZE: usize = MAX_UNIT;

/// Bytes of a unit, where no area needs more: whole pages, and no slab's.
const UNIT: usize = 16 << 10;

struct Chunk {
    units: KBox<Units>,
    map: Map,
    next: Link,
}

type Link = Option<KBox<Chunk>>;

machine_local! {
    /// Whatever is there stays for as long as the machine.
    static CHUNKS: SpinLock<ManuallyDrop<Link>> =
        SpinLock::new(Rank::PerCpu, ManuallyDrop::new(None));
}

/// An area of a chunk: which of its units there are, and where in each of them it lies.
#[derive(Clone, Copy)]
struct Area {
    units: UnitsRef,
    offset: u32,
}

impl Chunk {
    fn new(bytes: usize, gfp: Gfp) -> Result<KBox<Self>, AllocError> {
        // First what is small, and then what might be had in vain.
        let chunk = KBox::<Self>::new_uninit(gfp)?;
        let units = KBox::new(Units::new(bytes, gfp)?, gfp)?;
        Ok(KBox::write(chunk, Self { units, map: Map::new(bytes), next: None }))
    }
}

/// The chunks from `link` on, each with its own link left out of sight.
fn for_each_chunk<R>(mut link: &mut Link, mut f: impl FnMut(&mut Chunk) -> Option<R>) -> Option<R> {
    while let Some(chunk) = link {
        if let Some(found) = f(chunk) {
            return Some(found);
        }
        link = &mut chunk.next;
    }
    None
}

/// Takes an area for `layout` out of a chunk that has room.
fn take(chunks: &mut Link, layout: Layout) -> Option<Area> {
    let granules = layout.size().div_ceil(GRANULE) as u32;
    let align = layout.align().div_ceil(GRANULE) as u32;
    for_each_chunk(chunks, |chunk| {
        let at = chunk.map.alloc(granules, align)?;
        Some(Area { units: UnitsRef::of(&chunk.units), offset: at * GRANULE as u32 })
    })
}

/// An area for `layout` for each CPU, of bytes 0. Any context that `gfp` is fit for.
fn alloc_area(layout: Layout, gfp: Gfp) -> Result<Area, AllocError> {
    might_alloc(gfp);
    if layout.size() > MAX_UNIT || layout.align() > PAGE_SIZE {
        return Err(AllocError);
    }
    // A value of no bytes has a place too.
    let layout =
        Layout::from_size_align(layout.size().max(1), layout.align()).map_err(|_| AllocError)?;
    let take_now = || with_masked(|irq| take(&mut CHUNKS.lock(irq), layout));
    let area = match take_now() {
        Some(area) => area,
        None => {
            let mut chunk = Chunk::new(layout.size().next_power_of_two().max(UNIT), gfp)?;
            with_masked(|irq| {
                let mut chunks = CHUNKS.lock(irq);
                chunk.next = chunks.take();
                **chunks = Some(chunk);
                // It is the first, and empty.
                take(&mut chunks, layout)
            })
            .ok_or(AllocError)?
        }
    };
    area.units.clear(area.offset as usize, layout.size());
    Ok(area)
}

/// Gives an area back. Any context.
///
/// # Panics
/// Where there is no such area, or it was given back before.
fn free_area(area: Area) {
    let surplus = with_masked(|irq| {
        let mut chunks = CHUNKS.lock(irq);
        let freed = for_each_chunk(&mut chunks, |chunk| {
            let is_it = area.units == UnitsRef::of(&chunk.units);
            is_it.then(|| chunk.map.free(area.offset / GRANULE as u32))
        });
        assert!(
            freed.flatten().is_some(),
            "percpu: an area at offset {:#x} that nobody has is freed",
            area.offset
        );
        unlink_surplus(&mut chunks)
    });
    drop(surplus);
}

/// Takes an empty chunk off the list, where there is another.
fn unlink_surplus(chunks: &mut Link) -> Link {
    let mut empty = 0;
    let mut at = chunks;
    loop {
        let chunk = at.as_deref()?;
        empty += usize::from(chunk.map.is_empty());
        if empty > 1 {
            break;
        }
        at = &mut at.as_deref_mut()?.next;
    }
    let mut gone = at.take()?;
    *at = gone.next.take();
    Some(gone)
}

/// Pages of all chunks (Linux: pcpu_nr_pages).
#[must_use]
pub fn pcpu_nr_pages() -> usize {
    let mut pages = 0;
    with_masked(|irq| {
        for_each_chunk(&mut CHUNKS.lock(irq), |chunk| -> Option<()> {
            pages += chunk.units.bytes() * nr_cpu_ids() / PAGE_SIZE;
            None
        })
    });
    pages
}

/// Gives chunks back that nobody has anything of, the last empty one too.
pub fn shrink() {
    loop {
        let gone = with_masked(|irq| {
            let mut chunks = CHUNKS.lock(irq);
            let mut at = &mut **chunks;
            while !at.as_deref()?.map.is_empty() {
                at = &mut at.as_deref_mut()?.next;
            }
            let mut gone = at.take()?;
            *at = gone.next.take();
            Some(gone)
        });
        if gone.is_none() {
            return;
        }
    }
}

/// Checks all chunks.
///
/// # Panics
/// Where something is not as it must be.
pub fn validate() {
    with_masked(|irq| {
        for_each_chunk(&mut CHUNKS.lock(irq), |chunk| -> Option<()> {
            chunk.map.validate();
            None
        })
    });
}
