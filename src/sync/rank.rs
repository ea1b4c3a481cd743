//! Ranks of locks, and the locks that a CPU or a task holds.
//!
//! Builds with debug assertions note the ranks of the spin locks that a CPU holds, and of the
//! sleeping locks that a task holds: a bit for each rank in the low half of a word, and one in the
//! high half where two locks of the rank are held. The two orders are apart: a sleeping lock is
//! taken with no spin lock held.

use crate::arch::{IrqMasked, cpu};
use core::fmt;
use core::marker::PhantomData;

/// A place in an order of locks.
pub trait LockRank: Copy + fmt::Debug + 'static {
    /// All ranks, the outermost first.
    const ALL: &'static [Self];
    /// Returns the place in [`LockRank::ALL`].
    fn index(self) -> u32;
}

macro_rules! ranks {
    ($(#[$enum:meta])* pub enum $Rank:ident { $($(#[$meta:meta])* $name:ident,)* }) => {
        $(#[$enum])*
        pub enum $Rank { $($(#[$meta])* $name,)* }

        impl LockRank for $Rank {
            const ALL: &'static [Self] = &[$(Self::$name),*];
            fn index(self) -> u32 {
                self as u32
            }
        }

        const _: () = assert!($Rank::ALL.len() <= 32, "a half of the word has a bit for each rank");
    };
}

ranks! {
/// The lock order: a lock may be taken while locks of lower rank are held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Rank {
    /// memblock's arrays (boot only).
    Memblock,
    /// The entries of a directory (Linux: d_lock of the directory).
    Directory,
    /// Records of the VFS: of an inode, a directory entry, the mounts, a table of descriptors
    /// (Linux: i_lock, d_lock, mount_lock, files_struct.file_lock). No two are held at once.
    Vfs,
    /// The pages of a file, or the areas that files are mapped in (Linux: i_pages.xa_lock).
    PageCache,
    /// A pool of movable objects (Linux: zs_pool.lock).
    ZsPool,
    /// A mempool's reserve (Linux: mempool_t.lock).
    Mempool,
    /// The chunks of the per-CPU allocator (Linux: pcpu_lock).
    PerCpu,
    /// Counts of scopes that forbid nodes to threads (Linux: mems_allowed).
    MemsAllowed,
    /// The list of all kmem caches (Linux: slab_mutex).
    SlabCaches,
    /// The address allocator of the vmalloc area (Linux: vmap_area_lock).
    Vmap,
    /// The links between the page tables of an address space of users (Linux: page_table_lock).
    MmPageTable,
    /// The kernel's page tables (Linux: init_mm.page_table_lock), or a last-level table of users
    /// (Linux: ptl).
    PageTable,
    /// A kmem cache's partial slabs and spare sheaves (Linux: kmem_cache_node.list_lock).
    SlabNode,
    /// A CMA area's bitmap (Linux: cma.lock).
    Cma,
    /// The bringing up of sections of frame descriptors (Linux: pgdat.node_size_lock).
    Section,
    /// A zone's free lists (Linux: zone.lock).
    Zone,
    /// The heap that serves before SLUB is up.
    BootHeap,
    /// The objects whose lives are watched (Linux: obj_hash.lock of lib/debugobjects.c).
    DebugObjects,
    /// The objects of KFENCE (Linux: kfence_metadata.lock).
    Kfence,
    /// The objects that kmemleak watches (Linux: kmemleak_lock).
    Kmemleak,
    /// The stacks that tools remember (Linux: pool_lock of lib/stackdepot.c).
    StackDepot,
    /// Objects that wait for readers to be done (Linux: rcu_data.nocb_lock).
    Rcu,
    /// Limits, actions for signals and the like of a process; the processes by their numbers; the
    /// page by which programs read the clock (Linux: task_lock, tasklist_lock, timekeeper_lock).
    Process,
    /// The numbers of tasks, and the tasks by their numbers (Linux: pidmap_lock).
    Pids,
    /// Waiters for an event (Linux: wait_queue_head.lock).
    WaitQueue,
    /// A CPU's threads (Linux: rq.__lock).
    RunQueue,
    /// The map of address space identifiers (Linux: cpu_asid_lock).
    Asids,
    /// The queues of a CPU's timers (Linux: hrtimer_cpu_base.lock).
    HrTimer,
    /// The console.
    Console,
    /// A CPU's ring of records (Linux: cpu_buffer.reader_lock).
    Trace,
    /// The random number generator (Linux: base_crng.lock).
    Random,
}
}

ranks! {
/// The order of sleeping locks: one may be taken while locks of lower rank are held. Memory is
/// allocated under all of them, so what reclaim takes comes last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum SleepRank {
    /// The position of an open file (Linux: f_pos_lock).
    FilePos,
    /// The directories of a file system (Linux: i_rwsem of directories, s_vfs_rename_mutex).
    Directories,
    /// The contents of a file (Linux: i_rwsem). Held while a user's memory is copied, so that a
    /// fault comes below it.
    Inode,
    /// The areas of an address space of users (Linux: mmap_lock).
    Mmap,
    /// The rings of trace events and their control files (Linux: trace_types_lock).
    TraceControl,
    /// The state of ranges of memory (Linux: mem_hotplug_lock).
    MemHotplug,
    /// Poisoning of one failing frame at a time (Linux: mf_mutex of mm/memory-failure.c).
    MemoryFailure,
    /// Work of one CMA allocation on pageblocks (Linux: cma_mutex).
    Cma,
    /// The pages of the CPUs' units that hold parts of caches (Linux: pcpu_alloc_mutex).
    PcpuAlloc,
    /// The areas that files are mapped in (Linux: i_mmap_rwsem).
    IMmap,
}
}

/// The bit of `rank`.
fn first<R: LockRank>(rank: R) -> u64 {
    1 << rank.index()
}

/// The bit of `rank` for the second of two locks.
fn second<R: LockRank>(rank: R) -> u64 {
    first(rank) << 32
}

/// Returns the word of what is held after a lock of `rank` was taken in order.
///
/// # Panics
/// One of the same or a higher rank is held.
#[track_caller]
pub(crate) fn with_acquired<R: LockRank>(held: u64, rank: R) -> u64 {
    let above = held & u64::from(u32::MAX) & !(first(rank) - 1);
    assert!(
        above == 0,
        "lock order: {rank:?} (rank {}) taken while {} is held",
        rank.index(),
        HeldLocks::<R>::of(held & (above | above << 32))
    );
    held | first(rank)
}

/// Returns the word of what is held after a second lock of `rank` was taken in order.
///
/// # Panics
/// Two are held, or one of a higher rank.
#[track_caller]
fn with_nested<R: LockRank>(held: u64, rank: R) -> u64 {
    let above = held & u64::from(u32::MAX) & !(first(rank) | (first(rank) - 1));
    assert!(
        above | held & second(rank) == 0,
        "lock order: a second {rank:?} taken while {} is held",
        HeldLocks::<R>::of(held)
    );
    held | second(rank)
}

/// Returns the word of what is held after a lock of `rank` was taken, out of order maybe.
pub(crate) fn with_noted<R: LockRank>(held: u64, rank: R) -> u64 {
    held | if held & first(rank) != 0 { second(rank) } else { first(rank) }
}

/// Returns the word of what is held after a lock of `rank` was given up; of two, either.
pub(crate) fn with_released<R: LockRank>(held: u64, rank: R) -> u64 {
    held & !if held & second(rank) != 0 { second(rank) } else { first(rank) }
}

/// Notes that a lock of `rank` is about to be taken.
#[track_caller]
pub(super) fn acquire(rank: Rank, irq: &IrqMasked) {
    if cfg!(debug_assertions) {
        cpu::held_ranks(irq, |held| held.set(with_acquired(held.get(), rank)));
    }
}

/// Notes that a second lock of `rank` is about to be taken.
#[track_caller]
pub(super) fn acquire_nested(rank: Rank, irq: &IrqMasked) {
    if cfg!(debug_assertions) {
        cpu::held_ranks(irq, |held| held.set(with_nested(held.get(), rank)));
    }
}

/// Notes that a lock of `rank` was taken, out of order maybe.
pub(super) fn note(rank: Rank, irq: &IrqMasked) {
    if cfg!(debug_assertions) {
        cpu::held_ranks(irq, |held| held.set(with_noted(held.get(), rank)));
    }
}

/// Notes that a lock of `rank` is given up.
pub(super) fn release(rank: Rank, irq: &IrqMasked) {
    if cfg!(debug_assertions) {
        cpu::held_ranks(irq, |held| held.set(with_released(held.get(), rank)));
    }
}

/// Names of the locks that are held, for messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HeldLocks<R = Rank>(u64, PhantomData<R>);

/// Returns the spin locks that this CPU holds, as far as the build knows: without debug assertions
/// none.
#[must_use]
pub fn held_locks(irq: &IrqMasked) -> HeldLocks {
    if cfg!(debug_assertions) {
        cpu::held_ranks(irq, |held| HeldLocks::of(held.get()))
    } else {
        HeldLocks::of(0)
    }
}

impl<R> HeldLocks<R> {
    pub(crate) const fn of(held: u64) -> Self {
        Self(held, PhantomData)
    }
    /// Returns true if there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool
    where
        R: Copy,
    {
        self.0 == 0
    }
}

impl<R: LockRank> fmt::Display for HeldLocks<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("no lock");
        }
        let held = R::ALL.iter().filter(|&&rank| self.0 & first(rank) != 0);
        for (n, &rank) in held.enumerate() {
            let twice = if self.0 & second(rank) != 0 { " twice" } else { "" };
            write!(f, "{}{rank:?}{twice}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
