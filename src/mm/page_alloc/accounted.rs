//! Pages that are charged (`__GFP_ACCOUNT`): counted while they are in use (Linux:
//! __memcg_kmem_charge_page). There are no control groups, so there is one count for all.
//!
//! The first page of a charged block has the flag `ACCOUNTED`, which its owner's marks leave
//! in place. Such pages take neither of the short ways, of allocation and of free.
#![deny(unsafe_code)]

use crate::addr::Order;
use crate::machine_local;
use crate::mm::page::{Frame, PageFlags};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

machine_local! {
    static ACCOUNTED: AtomicU32 = AtomicU32::new(0);
}

/// Pages in use that were allocated with `__GFP_ACCOUNT`.
#[must_use]
pub fn nr_accounted_pages() -> u32 {
    ACCOUNTED.load(Relaxed)
}

/// Charges a block that was just allocated.
#[cold]
pub(super) fn charge(frame: Frame, order: Order) {
    let page = frame.page();
    page.add_flags(PageFlags::ACCOUNTED);
    ACCOUNTED.fetch_add(order.pages(), Relaxed);
}

/// Takes the charge off a block that is freed, if it is charged.
pub(super) fn uncharge(frame: Frame, order: Order) {
    let page = frame.page();
    if page.flags().contains(PageFlags::ACCOUNTED) {
        page.remove_flags(PageFlags::ACCOUNTED);
        ACCOUNTED.fetch_sub(order.pages(), Relaxed);
    }
}

/// Charges `new` for what `old` is charged, in whose place it is; `old` is uncharged when it
/// is freed (Linux: mem_cgroup_migrate).
pub(super) fn inherit(old: Frame, new: Frame) {
    if old.page().flags().contains(PageFlags::ACCOUNTED) {
        charge(new, Order::ZERO);
    }
}
