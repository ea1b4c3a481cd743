//! The processes that there are, by their numbers, for /proc and the monitor.

use super::Process;
use crate::arch::irq::with_masked;
use crate::errno::Errno;
use crate::mm::alloc::{KArc, KVec};
use crate::mm::gfp::Gfp;
use crate::sync::{Rank, SpinLock};

type List = KVec<KArc<Process>>;

/// In the order of their numbers.
static PROCESSES: SpinLock<List> = SpinLock::new(Rank::Process, KVec::new());

fn with<R>(f: impl FnOnce(&mut List) -> R) -> R {
    with_masked(|irq| f(&mut PROCESSES.lock(irq)))
}

/// Adds a process. Process context.
///
/// # Errors
/// ENOMEM
pub(super) fn insert(process: &KArc<Process>) -> Result<(), Errno> {
    let mut process = process.clone();
    loop {
        // Room is made without the lock.
        let mut room = KVec::with_capacity(with(|all| all.len()) + 1, Gfp::GFP_KERNEL)?;
        let added = with(|all| {
            if room.capacity() <= all.len() {
                return Err(process);
            }
            let place = all.partition_point(|other| other.pid() < process.pid());
            while all.len() > place
                && let Some(last) = all.pop()
                && room.push_within_capacity(last).is_ok()
            {}
            if room.push_within_capacity(process).is_ok() {
                while let Some(last) = all.pop()
                    && room.push_within_capacity(last).is_ok()
                {}
            }
            room.reverse();
            core::mem::swap(all, &mut room);
            Ok(())
        });
        match added {
            Ok(()) => return Ok(()),
            Err(again) => process = again,
        }
    }
}

/// Takes a process out, if it is in. Process context.
pub(super) fn remove(pid: u32) {
    let removed = with(|all| {
        let place = all.binary_search_by_key(&pid, |process| process.pid()).ok()?;
        all.remove(place)
    });
    drop(removed);
}

/// The process of this number. Any context.
#[must_use]
pub fn find(pid: u32) -> Option<KArc<Process>> {
    next(pid).filter(|process| process.pid() == pid)
}

/// The process of the lowest number from `pid` on. Any context.
#[must_use]
pub fn next(pid: u32) -> Option<KArc<Process>> {
    with(|all| {
        let place = all.partition_point(|process| process.pid() < pid);
        all.get(place).cloned()
    })
}
