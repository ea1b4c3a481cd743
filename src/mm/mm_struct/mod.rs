//! Address spaces of users: what the memory calls do (Linux: struct mm_struct, mm/mmap.c and the
//! files of the calls).
//!
//! | file | what it has | Linux |
//! | --- | --- | --- |
//! | `mod` | [`MmStruct`] | struct mm_struct |
//! | `lock` | the areas under their lock | mmap_lock |
//! | `space` | areas, totals and limits under that lock | mm/vma.c |
//! | `mmap`, `brk`, `mprotect`, `mremap`, `madvise`, `mlock`, `mincore`, `remap_file_pages` | the calls of these names; munmap, mseal and msync beside them | mm/mmap.c, mm/mprotect.c, ... |
//! | `exec` | areas that a new program gets | fs/exec.c, install_special_mapping |
//! | `fault` | faults: find the area, grow a stack | arch/arm64/mm/fault.c |
//! | `handle` | address spaces of processes, and their users | mmget, mmput |
//! | `layout` | where mappings go | mm/util.c, get_unmapped_area |
//! | `commit` | memory that is promised | mm/util.c |
//! | `sysctl` | numbers of `/proc/sys/vm` | kernel/sysctl.c |
//! | `user_tables` | the tables of `memory` as these calls use them | |
//! | `maps` | the text of `/proc/PID/maps` and `smaps` | fs/proc/task_mmu.c |
//!
//! A call checks its arguments and limits in Linux's order, computes its change, makes room and
//! carries it out: [`vma`](crate::mm::vma). Where Linux stops in the middle, so do these: what was done before the
//! error stays.
//!
//! # Locks
//! The areas have a sleeping lock (`SleepRank::Mmap`). Faults and calls that only look hold it for
//! reading, together. Page tables have locks of their own below it.
#![deny(unsafe_code)]

mod brk;
mod commit;
mod exec;
mod fault;
#[expect(unsafe_code, reason = "the mechanism: an address space by its `Mm`")]
mod handle;
mod layout;
#[expect(unsafe_code, reason = "the mechanism: a value under a lock")]
mod lock;
mod madvise;
mod maps;
mod mincore;
mod mlock;
mod mmap;
mod mprotect;
mod mremap;
mod remap_file_pages;
mod space;
pub mod sysctl;
mod user_tables;

#[cfg(test)]
mod tests;

pub use commit::{
    Overcommit, admin_reserve_kbytes, overcommit_memory, overcommit_ratio_and_kbytes,
    set_overcommit_kbytes, set_overcommit_memory, set_overcommit_ratio, set_reserves,
    user_reserve_kbytes, vm_acct_memory, vm_commit_limit, vm_enough_memory, vm_memory_committed,
};
pub use exec::SpecialMapping;
#[cfg(target_os = "none")]
pub use handle::with_current;
pub use handle::{MmHandle, UserMm, init};
pub use layout::{Layout, MMAP_RND_BITS, STACK_RND_MASK, TASK_UNMAPPED_BASE};
pub use mmap::MmapArgs;

use crate::addr::UserAddr;
use crate::mm::vma::{PageTables, Totals, VmFlags};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use lock::MmapLock;
use space::Space;

/// Limits of the process that calls, in bytes, and its rights (Linux: rlimit(), capable()).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// RLIMIT_AS
    pub as_: u64,
    /// RLIMIT_DATA
    pub data: u64,
    /// The hard limit of RLIMIT_DATA.
    pub data_max: u64,
    /// RLIMIT_STACK
    pub stack: u64,
    /// RLIMIT_MEMLOCK
    pub memlock: u64,
    /// CAP_IPC_LOCK
    pub can_ipc_lock: bool,
    /// CAP_SYS_ADMIN
    pub can_sys_admin: bool,
    /// CAP_SYS_RAWIO
    pub cap_sys_rawio: bool,
    /// READ_IMPLIES_EXEC of personality()
    pub read_implies_exec: bool,
}

impl Limits {
    /// Limits of a process of root that has set none, but for that of its stack.
    pub const ROOT: Self = Self {
        as_: u64::MAX,
        data: u64::MAX,
        data_max: u64::MAX,
        stack: 8 << 20,
        memlock: 8 << 20,
        can_ipc_lock: true,
        can_sys_admin: true,
        cap_sys_rawio: true,
        read_implies_exec: false,
    };
}

/// Numeric values of addresses of a program's parts (Linux: start_code and so on of struct
/// mm_struct).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are Linux's")]
pub struct Marks {
    pub start_code: usize,
    pub end_code: usize,
    pub start_data: usize,
    pub end_data: usize,
    pub start_brk: usize,
    pub brk: usize,
    pub start_stack: usize,
    pub arg_start: usize,
    pub arg_end: usize,
    pub env_start: usize,
    pub env_end: usize,
}

impl Marks {
    /// No program.
    pub const NONE: Self = Self {
        start_code: 0,
        end_code: 0,
        start_data: 0,
        end_data: 0,
        start_brk: 0,
        brk: 0,
        start_stack: 0,
        arg_start: 0,
        arg_end: 0,
        env_start: 0,
        env_end: 0,
    };
}

/// An address without its tag, the top byte, which the CPU ignores (Linux: untagged_addr).
#[inline(always)]
const fn untagged(at: usize) -> usize {
    at & ((at << 8) as isize >> 8) as usize
}

/// Address space of users with page tables `T` (Linux: struct mm_struct).
#[repr(C)]
pub struct MmStruct<T: PageTables> {
    tables: T,
    space: MmapLock<Space>,
    /// Number of the last identity of anonymous pages.
    anon_vmas: AtomicU32,
    /// Number of the family in the descriptors of anonymous pages.
    family: u32,
    /// Number of handles (Linux: mm_users).
    mm_users: AtomicU32,
}

impl<T: PageTables> MmStruct<T> {
    /// An address space without areas. `id` is its number in the lists of who maps a file, and that of
    /// its family.
    #[must_use]
    pub const fn new(tables: T, id: u32, layout: Layout) -> Self {
        let space = MmapLock::new(Space::new(id as u64, layout));
        Self {
            tables,
            space,
            anon_vmas: AtomicU32::new(0),
            family: id,
            mm_users: AtomicU32::new(1),
        }
    }

    /// The page tables.
    #[must_use]
    pub const fn tables(&self) -> &T {
        &self.tables
    }

    /// Number of areas (Linux: map_count).
    #[must_use]
    pub fn map_count(&self) -> usize {
        self.space.read().vmas.len()
    }

    /// Pages by what they count as (Linux: total_vm, locked_vm, exec_vm, stack_vm, data_vm). Those that
    /// count as committed are in the sum of all address spaces alone.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.space.read().totals
    }

    /// Largest number of pages so far (Linux: hiwater_vm, VmPeak).
    #[must_use]
    pub fn hiwater_vm(&self) -> u64 {
        let space = self.space.read();
        space.hiwater_vm.max(space.totals.pages)
    }

    /// Layout.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.space.read().layout
    }

    /// Sets the layout, before there are areas.
    pub fn set_layout(&self, layout: Layout) {
        self.space.write_always().layout = layout;
    }

    /// Addresses of the program's parts.
    #[must_use]
    pub fn marks(&self) -> Marks {
        self.space.read().marks
    }

    /// Changes the addresses of the program's parts.
    pub fn set_marks(&self, change: impl FnOnce(&mut Marks)) {
        change(&mut self.space.write_always().marks);
    }

    /// Flags of the area that `at` lies in.
    #[must_use]
    pub fn flags_at(&self, at: UserAddr) -> Option<VmFlags> {
        self.space.read().vmas.find(at).map(|vma| vma.flags())
    }

    /// Takes a number for an identity of anonymous pages.
    fn next_anon_vma(&self) -> crate::mm::vma::AnonVma {
        // Numbers come again after 2^31, by when areas with the first ones are long gone.
        let number = self.anon_vmas.fetch_add(1, Relaxed) % (i32::MAX as u32);
        crate::mm::vma::AnonVma::new(1 + number)
    }

    /// Sets the limits that a stack has to keep to as it grows by faults: those of the process.
    pub fn set_limits(&self, limits: Limits) {
        self.space.write_always().limits = limits;
    }

    /// Unmaps everything and gives back what areas need (Linux: exit_mmap). The tables stay, empty.
    pub fn exit_mmap(&self) {
        let mut space = self.space.write_always();
        let accounted: u64 = space
            .vmas
            .iter()
            .filter(|vma| vma.flags().contains(VmFlags::ACCOUNT))
            .map(crate::mm::vma::Vma::pages)
            .sum();
        if !space.vmas.is_empty() {
            let all = space::user_range(0, crate::addr::TASK_SIZE).expect("all addresses");
            space.vmas.clear();
            self.tables.zap(all);
            self.tables.free_tables(all);
        }
        space.totals = Totals::default();
        commit::vm_acct_memory(-(accounted as i64));
    }

    /// Checks areas and totals.
    ///
    /// # Panics
    /// If an invariant is broken.
    pub fn validate(&self) {
        let space = self.space.read();
        space.vmas.validate();
        let mut totals = Totals::default();
        space.vmas.iter().for_each(|vma| totals.add(vma.flags(), vma.pages()));
        totals.accounted = 0;
        assert_eq!(totals, space.totals, "totals of the areas");
    }
}

impl<T: PageTables> Drop for MmStruct<T> {
    fn drop(&mut self) {
        self.exit_mmap();
    }
}
