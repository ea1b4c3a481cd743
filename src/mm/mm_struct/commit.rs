//! Memory that is promised, and how much may be (Linux: vm_committed_as and __vm_enough_memory of
//! mm/util.c, Documentation/mm/overcommit-accounting.rst).

use crate::addr::PAGE_SHIFT;
use crate::arch::irq::with_masked;
use crate::errno::Errno;
use crate::machine_local;
use crate::mm::page_alloc::{nr_free_pages, totalram_pages};
use crate::per_cpu;
use crate::percpu::nr_cpu_ids;
use core::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed};

/// Policy (Linux: overcommit_memory).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overcommit {
    /// A single request for more than there is in all is refused (OVERCOMMIT_GUESS).
    Guess,
    /// Nothing is refused (OVERCOMMIT_ALWAYS).
    Always,
    /// No more is promised than [`vm_commit_limit`] (OVERCOMMIT_NEVER).
    Never,
}

per_cpu! {
    /// Pages that a CPU has counted and not added to the sum.
    static COUNTED: AtomicI64 = AtomicI64::new(0);
}

machine_local! {
    static COMMITTED: AtomicI64 = AtomicI64::new(0);
    static POLICY: AtomicU8 = AtomicU8::new(0);
    static RATIO: AtomicU64 = AtomicU64::new(50);
    static KBYTES: AtomicU64 = AtomicU64::new(0);
    /// Pages; 0: as many as fits the machine and the policy.
    static BATCH: AtomicI64 = AtomicI64::new(0);
    static ADMIN_RESERVE: AtomicU64 = AtomicU64::new(UNSET);
    static USER_RESERVE: AtomicU64 = AtomicU64::new(UNSET);
}

/// Reserve that nobody has set: it depends on how much memory is free at its first use.
const UNSET: u64 = u64::MAX;

/// The policy.
#[must_use]
pub fn overcommit_memory() -> Overcommit {
    match POLICY.load(Relaxed) {
        0 => Overcommit::Guess,
        1 => Overcommit::Always,
        _ => Overcommit::Never,
    }
}

/// Sets the policy. Any context.
pub fn set_overcommit_memory(policy: Overcommit) {
    BATCH.store(compute_batch(policy), Relaxed);
    POLICY.store(policy as u8, Relaxed);
}

/// Percentage of RAM in the limit, and the number of KiB that is taken instead where it is not 0
/// (Linux: overcommit_ratio, overcommit_kbytes).
#[must_use]
pub fn overcommit_ratio_and_kbytes() -> (u64, u64) {
    (RATIO.load(Relaxed), KBYTES.load(Relaxed))
}

/// Sets the percentage of RAM in the limit, instead of KiB.
pub fn set_overcommit_ratio(percent: u64) {
    RATIO.store(percent, Relaxed);
    KBYTES.store(0, Relaxed);
}

/// Sets the limit in KiB, instead of a percentage.
pub fn set_overcommit_kbytes(kbytes: u64) {
    KBYTES.store(kbytes, Relaxed);
    RATIO.store(0, Relaxed);
}

fn reserve(of: &AtomicU64, most: u64) -> u64 {
    match of.load(Relaxed) {
        UNSET => {
            let kbytes = ((u64::from(nr_free_pages()) << (PAGE_SHIFT - 10)) / 32).min(most);
            of.store(kbytes, Relaxed);
            kbytes
        }
        kbytes => kbytes,
    }
}

/// KiB that are left to root in mode 2 (Linux: admin_reserve_kbytes).
#[must_use]
pub fn admin_reserve_kbytes() -> u64 {
    reserve(&ADMIN_RESERVE, 8 << 10)
}

/// KiB that one process leaves to others in mode 2 (Linux: user_reserve_kbytes).
#[must_use]
pub fn user_reserve_kbytes() -> u64 {
    reserve(&USER_RESERVE, 128 << 10)
}

/// Sets the reserves, in KiB.
pub fn set_reserves(admin: Option<u64>, user: Option<u64>) {
    admin.into_iter().for_each(|kbytes| ADMIN_RESERVE.store(kbytes, Relaxed));
    user.into_iter().for_each(|kbytes| USER_RESERVE.store(kbytes, Relaxed));
}

/// Pages that a CPU counts by itself at most (Linux: mm_compute_batch).
fn compute_batch(policy: Overcommit) -> i64 {
    let cpus = nr_cpu_ids() as u64;
    let share = if policy == Overcommit::Never { 256 } else { 4 };
    let of_ram = (u64::from(totalram_pages()) / cpus / share).min(i32::MAX as u64);
    of_ram.max((2 * cpus).max(32)) as i64
}

#[cold]
#[inline(never)]
fn first_batch() -> i64 {
    let batch = compute_batch(overcommit_memory());
    BATCH.store(batch, Relaxed);
    batch
}

/// Counts `pages` pages as promised, or as not promised any more (Linux: vm_acct_memory). Any
/// context.
#[inline]
pub fn vm_acct_memory(pages: i64) {
    if pages == 0 {
        return;
    }
    let batch = match BATCH.load(Relaxed) {
        0 => first_batch(),
        batch => batch,
    };
    with_masked(|irq| {
        let counted = COUNTED.get(irq);
        let mut sum = counted.load(Relaxed) + pages;
        if sum.abs() >= batch {
            COMMITTED.fetch_add(sum, Relaxed);
            sum = 0;
        }
        counted.store(sum, Relaxed);
    });
}

/// Number of pages that are promised (Linux: vm_memory_committed, Committed_AS).
#[must_use]
pub fn vm_memory_committed() -> u64 {
    let counted: i64 = crate::percpu::possible_cpus()
        .filter_map(|cpu| COUNTED.try_of(cpu))
        .map(|counted| counted.load(Relaxed))
        .sum();
    (COMMITTED.load(Relaxed) + counted).max(0) as u64
}

/// Number of pages that may be promised in mode 2 (Linux: vm_commit_limit, CommitLimit).
#[must_use]
pub fn vm_commit_limit() -> u64 {
    match KBYTES.load(Relaxed) {
        0 => u64::from(totalram_pages()) * RATIO.load(Relaxed) / 100,
        kbytes => kbytes >> (PAGE_SHIFT - 10),
    }
}

/// Promises `pages` pages to an address space that has `total_vm`, if the policy allows (Linux:
/// security_vm_enough_memory_mm, __vm_enough_memory).
///
/// # Errors
/// `ENOMEM`; nothing is promised.
#[inline]
pub fn vm_enough_memory(pages: i64, total_vm: Option<u64>, is_admin: bool) -> Result<(), Errno> {
    vm_acct_memory(pages);
    let is_enough = match overcommit_memory() {
        Overcommit::Always => true,
        Overcommit::Guess => pages <= i64::from(totalram_pages()),
        Overcommit::Never => has_room(total_vm, is_admin),
    };
    if is_enough {
        return Ok(());
    }
    vm_acct_memory(-pages);
    Err(Errno::ENOMEM)
}

#[inline(never)]
fn has_room(total_vm: Option<u64>, is_admin: bool) -> bool {
    let mut allowed = vm_commit_limit() as i64;
    if !is_admin {
        allowed -= (admin_reserve_kbytes() >> (PAGE_SHIFT - 10)) as i64;
    }
    if let Some(total_vm) = total_vm {
        let reserve = user_reserve_kbytes() >> (PAGE_SHIFT - 10);
        allowed -= (total_vm / 32).min(reserve) as i64;
    }
    (vm_memory_committed() as i64) < allowed
}
