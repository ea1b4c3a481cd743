//! Requests to the threads of a node that reclaim and compact in the background (Linux: the
//! fields of pg_data_t that begin with kswapd and kcompactd). The threads are in `vmscan` and
//! `compaction`.

use super::ZoneType;
use crate::addr::Order;
use crate::sched::WaitQueue;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use core::sync::atomic::{AtomicBool, AtomicU32};

/// Request to kswapd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::mm) struct KswapdRequest {
    /// Order of the wanted block (Linux: kswapd_order).
    pub order: Order,
    /// Widest zone that the request may use (Linux: kswapd_highest_zoneidx).
    pub highest: ZoneType,
}

/// State of a node's kswapd.
pub(in crate::mm) struct Kswapd {
    /// Wait queue of the thread (Linux: kswapd_wait).
    pub wait: WaitQueue,
    /// Rounds in a row that reclaimed nothing (Linux: kswapd_failures).
    pub failures: AtomicU32,
    /// True if there is a request. Set after the two below.
    is_requested: AtomicBool,
    /// Largest requested order.
    order: AtomicU32,
    /// Widest requested zone.
    highest: AtomicU32,
}

impl Kswapd {
    pub(super) const fn new() -> Self {
        Self {
            wait: WaitQueue::new(),
            failures: AtomicU32::new(0),
            is_requested: AtomicBool::new(false),
            order: AtomicU32::new(0),
            highest: AtomicU32::new(0),
        }
    }

    /// Adds a request. Returns true if the thread has to be woken for it.
    pub fn request(&self, wanted: KswapdRequest) -> bool {
        self.order.fetch_max(u32::from(wanted.order.get()), Relaxed);
        self.highest.fetch_max(wanted.highest as u32, Relaxed);
        // Whoever takes the request sees both.
        !self.is_requested.swap(true, AcqRel)
    }

    /// Returns true if there is a request.
    pub fn is_requested(&self) -> bool {
        self.is_requested.load(Acquire)
    }

    /// Takes all requests since the last call, as one.
    pub fn take_request(&self) -> Option<KswapdRequest> {
        if !self.is_requested.swap(false, AcqRel) {
            return None;
        }
        let order = self.order.swap(0, Relaxed) as u8;
        let highest = self.highest.swap(0, Relaxed) as usize;
        Some(KswapdRequest {
            order: Order::new(order).unwrap_or(Order::MAX),
            highest: ZoneType::ALL.into_iter().nth(highest).unwrap_or(ZoneType::Movable),
        })
    }
}

/// State of a node's kcompactd.
pub(in crate::mm) struct Kcompactd {
    /// Wait queue of the thread (Linux: kcompactd_wait).
    pub wait: WaitQueue,
    /// Checks to skip before the next one that compacts proactively.
    pub deferred_checks: AtomicU32,
    /// Largest requested order plus one; 0 without a request (Linux: kcompactd_max_order).
    max_order: AtomicU32,
}

impl Kcompactd {
    pub(super) const fn new() -> Self {
        Self {
            wait: WaitQueue::new(),
            deferred_checks: AtomicU32::new(0),
            max_order: AtomicU32::new(0),
        }
    }

    /// Requests a free block of `order`. Returns true if the thread has to be woken for it.
    pub fn request(&self, order: Order) -> bool {
        let wanted = u32::from(order.get()) + 1;
        self.max_order.fetch_max(wanted, Relaxed) < wanted
    }

    /// Returns the order of the largest requested block.
    pub fn requested(&self) -> Option<Order> {
        Order::new(self.max_order.load(Relaxed).checked_sub(1)? as u8)
    }

    /// Takes all requests since the last call, as one.
    pub fn take_request(&self) -> Option<Order> {
        Order::new(self.max_order.swap(0, Relaxed).checked_sub(1)? as u8)
    }
}
