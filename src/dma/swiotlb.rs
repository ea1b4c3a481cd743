//! Bounce buffers (Linux: kernel/dma/swiotlb.c).
//!
//! A pool of memory that devices with a narrow limit reach, in slots of 2 KiB. Memory that a
//! device doesn't reach, or must not write next to, is copied to slots and back. The pool is
//! allocated when it is first needed.
//!
//! A buffer of a page or more begins at a page.
//!
//! The first slot of a buffer remembers whose bytes it stands for. Slots belong to whoever
//! has mapped them: copies need no lock.

use super::{DmaAddr, DmaDevice, DmaError};
use crate::addr::{Order, PAGE_SIZE, PhysAddr, PhysRange};
use crate::arch::irq::with_masked;
use crate::arch::phys_to_virt;
use crate::machine_local;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::Pages;
use crate::sync::{Rank, SpinLock};
use core::mem::ManuallyDrop;

/// Bytes of a slot (Linux: IO_TLB_SIZE).
const SLOT: u64 = 2048;
/// 1 MiB.
const ORDER: Order = match Order::new(8) {
    Some(order) => order,
    None => unreachable!(),
};
const SLOTS: usize = ORDER.bytes() / SLOT as usize;
/// Slots of the largest buffer (Linux: IO_TLB_SEGSIZE).
const SEGMENT: usize = 128;

/// Use of a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Free,
    /// The first of a buffer, and whose bytes it holds.
    First(PhysRange),
    /// Slot of a buffer after its first.
    More,
}

struct Pool {
    /// Never dropped with the pool.
    pages: Option<ManuallyDrop<Pages>>,
    slots: [Use; SLOTS],
    /// Slot at which the next search begins.
    next: usize,
}

machine_local! {
    // Taken with no other lock held; the rank keeps it so.
    static POOL: SpinLock<Pool> =
        SpinLock::new(Rank::Vmap, Pool { pages: None, slots: [Use::Free; SLOTS], next: 0 });
}

impl Pool {
    fn start(&self) -> Option<PhysAddr> {
        self.pages.as_ref().map(|pages| pages.frame().phys())
    }

    /// The first of `count` free slots in a row, at a multiple of `align` slots.
    fn find(&self, count: usize, align: usize) -> Option<usize> {
        let is_free = |first: usize| {
            let slots = self.slots.get(first..first + count);
            slots.is_some_and(|slots| slots.iter().all(|slot| *slot == Use::Free))
        };
        let next = self.next.next_multiple_of(align);
        let firsts = (next..SLOTS).step_by(align).chain((0..next.min(SLOTS)).step_by(align));
        firsts.into_iter().find(|&first| is_free(first))
    }

    /// The slot of the buffer that `at` lies in.
    fn first_of(&self, at: PhysAddr) -> Option<usize> {
        let offset = at.get().checked_sub(self.start()?.get())?;
        let slot = usize::try_from(offset / SLOT).ok().filter(|&slot| slot < SLOTS)?;
        (0..=slot).rev().find(|&slot| self.slots[slot] != Use::More)
    }
}

/// Finds a buffer for the bytes of `ram` that the device reaches; the buffer, and where the
/// device finds it.
pub fn map(device: &DmaDevice<'_>, ram: PhysRange) -> Result<(PhysRange, DmaAddr), DmaError> {
    let slots = usize::try_from(ram.len().div_ceil(SLOT)).map_err(|_| DmaError::OutOfReach)?;
    if slots > SEGMENT {
        return Err(DmaError::OutOfReach);
    }
    let whole = swiotlb_init().ok_or(DmaError::NoMemory)?;
    if device.reach(whole).is_none() {
        return Err(DmaError::OutOfReach);
    }
    // Devices that take memory in pages want a page or more to begin at one: each entry of a
    // list of an NVMe's but the first is the address of a page.
    let align = if ram.len() >= PAGE_SIZE as u64 { PAGE_SIZE / SLOT as usize } else { 1 };
    with_masked(|irq| {
        let mut pool = POOL.lock(irq);
        let start = pool.start().ok_or(DmaError::NoMemory)?;
        let first = pool.find(slots, align).ok_or(DmaError::NoMemory)?;
        let buffer = PhysRange::from_size(start + first as u64 * SLOT, ram.len());
        let at = device.reach(buffer).ok_or(DmaError::OutOfReach)?;
        pool.slots[first..first + slots].fill(Use::More);
        pool.slots[first] = Use::First(ram);
        pool.next = (first + slots) % SLOTS;
        Ok((buffer, at))
    })
}

/// The buffer that `part` lies in, and how far behind its start.
pub fn find(part: PhysRange) -> Option<(PhysRange, usize)> {
    with_masked(|irq| {
        let pool = POOL.lock(irq);
        let first = pool.first_of(part.start())?;
        let Use::First(ram) = pool.slots[first] else { return None };
        let start = pool.start()? + first as u64 * SLOT;
        let buffer = PhysRange::from_size(start, ram.len());
        buffer.contains_range(part).then(|| (buffer, (part.start() - start) as usize))
    })
}

/// Gives a buffer back.
pub fn unmap(buffer: PhysRange) {
    with_masked(|irq| {
        let mut pool = POOL.lock(irq);
        let Some(first) = pool.first_of(buffer.start()) else { return };
        pool.slots[first] = Use::Free;
        let more = pool.slots[first + 1..].iter_mut().take_while(|slot| **slot == Use::More);
        more.for_each(|slot| *slot = Use::Free);
    });
}

/// Copies bytes from where they belong to the buffer that stands for them.
///
/// # Safety
/// The mapping that the buffer is of is the caller's: nobody writes to its bytes meanwhile.
pub unsafe fn copy_to_buffer(buffer: PhysRange, offset: usize, size: usize) {
    copy(buffer, offset, size, |memory, bounce| {
        // SAFETY: both are RAM of the linear map. The slots are the mapping's, and so are the
        // bytes, as the caller says.
        unsafe { core::ptr::copy(memory, bounce, size) }
    });
}

/// Copies bytes from a buffer to where they belong.
///
/// # Safety
/// The mapping that the buffer is of is the caller's: nobody else uses its bytes meanwhile.
pub unsafe fn copy_from_buffer(buffer: PhysRange, offset: usize, size: usize) {
    copy(buffer, offset, size, |memory, bounce| {
        // SAFETY: as above.
        unsafe { core::ptr::copy(bounce, memory, size) }
    });
}

fn copy(buffer: PhysRange, offset: usize, size: usize, f: impl FnOnce(*mut u8, *mut u8)) {
    let ram = with_masked(|irq| {
        let pool = POOL.lock(irq);
        match pool.first_of(buffer.start()).map(|first| pool.slots[first]) {
            Some(Use::First(ram)) => Some(ram),
            _ => None,
        }
    });
    let Some(ram) = ram else { return };
    assert!(offset + size <= ram.len() as usize, "{size} bytes at {offset} of {ram:?}");
    let pointer = |start: PhysAddr| {
        core::ptr::with_exposed_provenance_mut::<u8>(phys_to_virt(start + offset as u64).get())
    };
    f(pointer(ram.start()), pointer(buffer.start()));
}

/// Allocates the pool where that isn't done yet; where it is, or `None` for want of memory
/// (Linux: swiotlb_init). Any context.
pub fn swiotlb_init() -> Option<PhysRange> {
    let mut new = None;
    loop {
        let start = with_masked(|irq| {
            let mut pool = POOL.lock(irq);
            if pool.pages.is_none() {
                pool.pages = new.take().map(ManuallyDrop::new);
            }
            pool.start()
        });
        // Somebody else was first: not needed.
        drop(new.take());
        if let Some(start) = start {
            return Some(PhysRange::from_size(start, ORDER.bytes() as u64));
        }
        let gfp = Gfp::GFP_NOWAIT | Gfp::__GFP_DMA | Gfp::__GFP_NOWARN;
        new = Some(Pages::alloc(gfp, ORDER)?);
    }
}

/// Returns true if memory is part of the pool (Linux: is_swiotlb_buffer).
#[must_use]
pub fn is_swiotlb_buffer(at: PhysAddr) -> bool {
    let start = with_masked(|irq| POOL.lock(irq).start());
    start.is_some_and(|start| PhysRange::from_size(start, ORDER.bytes() as u64).contains(at))
}

/// Frees the pool if no buffer is in use. Returns true if there is no pool any more.
pub fn swiotlb_exit() -> bool {
    let (pages, busy) = with_masked(|irq| {
        let mut pool = POOL.lock(irq);
        let busy = pool.slots.iter().any(|slot| *slot != Use::Free);
        (if busy { None } else { pool.pages.take() }, busy)
    });
    drop(pages.map(ManuallyDrop::into_inner));
    !busy
}

const _: () = assert!(PAGE_SIZE.is_multiple_of(SLOT as usize));
