//! Slabs that readers may still look into when they are empty (Linux: SLAB_TYPESAFE_BY_RCU,
//! rcu_free_slab in mm/slub.c).
//!
//! Their pages go back after a grace period. They wait on two lists: `waiting` for the period
//! that has been asked for, and `next` for one that has not, since that may have begun before
//! they came.
#![deny(unsafe_code)]

use super::node::SlabList;
use super::slab::Slab;
use crate::arch::irq::with_masked;
use crate::machine_local;
use crate::sched::rcu::{RcuHead, rcu_barrier};
use crate::sync::{Rank, SpinLock};

struct Lists {
    waiting: SlabList,
    next: SlabList,
    /// True while a grace period that was asked for is under way.
    asked: bool,
}

machine_local! {
    static LISTS: SpinLock<Lists> = SpinLock::new(
        Rank::SlabNode,
        Lists { waiting: SlabList::new(), next: SlabList::new(), asked: false },
    );
    static HEAD: RcuHead = RcuHead::new();
}

impl Lists {
    /// Moves the slabs of `next` to `waiting`. Returns true if a grace period has to be asked for.
    fn turn(&mut self) -> bool {
        self.waiting = core::mem::replace(&mut self.next, SlabList::new());
        self.asked = self.waiting.first().is_some();
        self.asked
    }
}

/// Gives the pages of an empty slab that is on no list back when all readers are done. No
/// lock of a higher rank than a node's may be held, nor that.
pub(super) fn release_later(slab: Slab) {
    let asks = with_masked(|irq| {
        let mut lists = LISTS.lock(irq);
        lists.next.push_back(slab);
        !lists.asked && lists.turn()
    });
    if asks {
        ask();
    }
}

#[expect(unsafe_code, reason = "the callback's head is a static")]
fn ask() {
    let head = core::ptr::NonNull::from(&*HEAD);
    // SAFETY: it lives as long as the machine, and is asked with again by the callback at the
    // earliest: `asked` says so.
    unsafe { crate::sched::rcu::call_rcu(head, passed, core::ptr::null_mut()) };
}

/// Callback after a grace period: frees the slabs that waited for it.
fn passed(_: *mut ()) {
    let mut done =
        with_masked(|irq| core::mem::replace(&mut LISTS.lock(irq).waiting, SlabList::new()));
    while let Some(slab) = done.pop() {
        slab.release();
    }
    // Only now: the head is this callback's until here.
    if with_masked(|irq| LISTS.lock(irq).turn()) {
        ask();
    }
}

/// Waits until no slab waits that was given here before. Process context.
pub(super) fn flush() {
    // One period for those that are waiting, and one for those that came after it was asked for.
    rcu_barrier();
    rcu_barrier();
}
