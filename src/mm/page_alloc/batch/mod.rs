//! Batches between a CPU's lists and a zone: many blocks under one hold of its lock
//! (Linux: rmqueue_bulk, free_pcppages_bulk).
//!
//! A refill takes free blocks whole and cuts them up on the way to the list, without a
//! detour over the lists of the orders between. What is given back is first merged among
//! itself: blocks that lie in the same [`Chunk`] become bits of a word, the whole aligned
//! runs of ones in it are freed as one block each.
#![deny(unsafe_code)]

use super::buddy::pageblock_migratetype;
use super::fallback::Reach;
use crate::addr::Order;
use crate::mm::mmzone::{LockedZone, Migratetype};
use crate::mm::page::{Frame, PageType};
use crate::mm::pcp_list::PcpList;
use core::sync::atomic::Ordering::Relaxed;

#[cfg(test)]
mod tests;

/// Takes a batch of blocks of `mt` and `order` of `zone`: one for the caller, the others go to
/// the list. All have a reference.
pub(super) fn refill(
    list: &PcpList,
    zone: &mut LockedZone<'_>,
    order: Order,
    mt: Migratetype,
    reach: Reach,
) -> Option<Frame> {
    // Rounded up to a power of two: one free block may hold it all.
    let batch = zone.zone.pcp_batch.load(Relaxed) >> order.get();
    let mut left = batch.max(1).next_power_of_two();
    if left == 1 {
        let frame = zone.rmqueue(order, mt, reach)?;
        frame.page().set_refcount(1);
        return Some(frame);
    }
    while left > 0 {
        let most = Order::new(order.get() + left.ilog2() as u8).unwrap_or(Order::MAX);
        let Some((head, size)) = zone.rmqueue_run(order, most, mt, reach) else { break };
        let step = order.pages();
        // From the end, so that the list hands them out rising.
        for at in (0..size.pages()).step_by(step as usize).rev() {
            let frame = head.within(size, at);
            frame.page().set_order(order);
            frame.page().set_refcount(1);
            list.push(frame, order);
        }
        left -= size.pages() / step;
    }
    // Neighbours stay together on the list, to be merged when they come back.
    list.pop(order)
}

/// Frees `frame`, taken off a CPU's list of `order`, with the others that `chunk` gathers.
pub(super) fn give_back(chunk: &mut Chunk, zone: &mut LockedZone<'_>, frame: Frame, order: Order) {
    frame.page().set_type(PageType::None);
    frame.page().set_refcount(0);
    let start = frame.align_down(chunk_order(order));
    if chunk.start != Some(start) || chunk.order != order {
        chunk.flush(zone);
        *chunk = Chunk { start: Some(start), order, free: 0 };
    }
    chunk.free |= 1 << ((frame.pfn() - start.pfn()) >> order.get());
}

/// The blocks of a chunk are the bits of a word, and of one pageblock.
fn chunk_order(order: Order) -> Order {
    Order::new(order.get() + u64::BITS.ilog2() as u8)
        .map_or(Order::PAGEBLOCK, |chunk| chunk.min(Order::PAGEBLOCK))
}

/// Blocks of one order on their way to the zone that lie close together.
pub(super) struct Chunk {
    start: Option<Frame>,
    order: Order,
    /// Bit n: the block n after the start.
    free: u64,
}

impl Chunk {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self { start: None, order: Order::ZERO, free: 0 }
    }

    /// Frees what was gathered.
    pub(super) fn flush(&mut self, zone: &mut LockedZone<'_>) {
        let Some(start) = self.start.take() else { return };
        let mt = pageblock_migratetype(start);
        for (bit, doublings) in aligned_runs(self.free) {
            let run = Order::new(self.order.get() + doublings).unwrap_or(Order::MAX);
            let frame = start.within(chunk_order(self.order), bit << self.order.get());
            zone.free_one(frame, run, mt);
        }
    }
}

/// Positions at which a run of 2^k bits may start, for each k.
const ALIGNED: [u64; 7] = [
    !0,
    0x5555_5555_5555_5555,
    0x1111_1111_1111_1111,
    0x0101_0101_0101_0101,
    0x0001_0001_0001_0001,
    0x0000_0001_0000_0001,
    1,
];

/// Takes `bits` apart into the fewest runs of 2^k ones that start at a multiple of 2^k:
/// where each starts, and its k.
fn aligned_runs(bits: u64) -> impl Iterator<Item = (u32, u8)> {
    let mut whole = [0; ALIGNED.len()];
    whole[0] = bits;
    for k in 1..ALIGNED.len() {
        let half = 1 << (k - 1);
        whole[k] = whole[k - 1] & whole[k - 1] >> half & ALIGNED[k];
        if whole[k] == 0 {
            break;
        }
    }
    let mut left = bits;
    core::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let at = left.trailing_zeros();
        // The largest run that starts here: a larger one would have to start below.
        let k = (0..ALIGNED.len()).rev().find(|&k| whole[k] >> at & 1 != 0)?;
        let run = if k == 6 { !0 } else { (1 << (1 << k)) - 1 };
        left &= !(run << at);
        Some((at, k as u8))
    })
}
