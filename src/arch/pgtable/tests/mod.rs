//! The mapper on the misbehaving MMU.

mod cached;
mod model;
mod mutations;
mod scenarios;
mod stage2;
mod user;

use super::{Kernel, KernelAttrs, Mapper, Permission, RecentTables, Table, TableAccess, TableAddr};
use crate::addr::{PAGE_SIZE, PhysAddr, PhysRange, VirtAddr, VirtRange};
use crate::arch::CpuId;
use crate::arch::hosted::Machine;
use crate::arch::hosted::mmu::{Access, Config, Fault, Mmu};
use crate::arch::{mmu, phys_to_virt};
use std::vec::Vec;

/// Table pages out of the machine's RAM. A page given back is filled with words that a
/// walker would take for mappings of something else.
pub struct ArenaAccess {
    free: Vec<TableAddr>,
    pub in_use: usize,
    /// Number of table pages given back.
    pub freed: usize,
    /// Number of allocations that still succeed.
    pub budget: usize,
    pub breakable: bool,
    /// Window by which the tables are reached, if not through the linear map.
    pub window: Option<VirtAddr>,
    recent: RecentTables,
}

pub const RAM: PhysAddr = PhysAddr::new(0x4000_0000);
const TABLE_PAGES: usize = 48;

impl ArenaAccess {
    pub fn new() -> Self {
        // SAFETY: RAM of the test's machine that it uses for nothing else.
        let tables = (0..TABLE_PAGES)
            .map(|i| unsafe { TableAddr::new(RAM + (i * PAGE_SIZE) as u64) })
            .collect();
        let recent = RecentTables::new();
        let mut access = Self {
            free: tables,
            in_use: 0,
            freed: 0,
            budget: usize::MAX,
            breakable: true,
            window: None,
            recent,
        };
        access.free.clone().into_iter().for_each(|t| access.poison(t));
        access
    }

    fn poison(&mut self, table: TableAddr) {
        for i in 0..512 {
            let word = phys_to_virt(table.phys() + 8 * i).get();
            // A read-only page of memory that nobody maps, different in each word.
            let hostile = 0x0060_0123_0000_0783 + (i << 12);
            // SAFETY: a free page of this machine's RAM.
            unsafe { core::ptr::with_exposed_provenance_mut::<u64>(word).write(hostile) };
        }
    }
}

impl TableAccess for ArenaAccess {
    type Regime = Kernel;

    fn alloc(&mut self) -> Option<TableAddr> {
        self.budget = self.budget.checked_sub(1)?;
        let table = self.free.pop()?;
        self.in_use += 1;
        Some(table)
    }
    fn free(&mut self, table: TableAddr) {
        assert!(!self.free.contains(&table), "{table:?} is freed twice");
        self.recent.forget();
        self.poison(table);
        self.in_use -= 1;
        self.freed += 1;
        self.free.push(table);
    }
    fn with<R>(&self, table: TableAddr, f: impl FnOnce(&Table) -> R) -> R {
        assert!(!self.free.contains(&table), "{table:?} is used after it was freed");
        // SAFETY: RAM of this machine.
        f(unsafe { Table::at(phys_to_virt(table.phys())) })
    }
    fn recent(&mut self) -> Option<&mut RecentTables> {
        Some(&mut self.recent)
    }
    fn near(&self, table: TableAddr) -> Option<&Table> {
        assert!(!self.free.contains(&table), "{table:?} is remembered after it was freed");
        // SAFETY: RAM of this machine.
        Some(unsafe { Table::at(phys_to_virt(table.phys())) })
    }
    #[inline(always)]
    fn tag(&self) {}

    fn window(&self, table: TableAddr, _broken: VirtRange) -> VirtAddr {
        self.window.unwrap_or_else(|| phys_to_virt(table.phys()))
    }
    fn may_break(&self, _va: VirtRange) -> bool {
        self.breakable
    }
    fn begin_bbm(&mut self, _va: VirtRange) {
        mmu::begin_bbm();
    }
    fn end_bbm(&mut self) {
        mmu::end_bbm();
    }
}

/// A machine, its tables, and the MMU walking them.
pub struct Rig<'m> {
    pub machine: &'m Machine,
    pub access: ArenaAccess,
    pub root: TableAddr,
}

impl<'m> Rig<'m> {
    pub fn run<R>(config: Config, f: impl FnOnce(&mut Rig<'_>) -> R) -> R {
        let ram = PhysRange::from_size(RAM, (TABLE_PAGES * PAGE_SIZE) as u64);
        Machine::run(&[ram], |machine| {
            let mut access = ArenaAccess::new();
            let root = Mapper::new_table(&mut access).unwrap();
            machine.mmu().attach(root.phys(), config);
            f(&mut Rig { machine, access, root })
        })
    }

    pub fn mapper(&mut self) -> Mapper<'_, ArenaAccess> {
        Mapper::new(self.root, &mut self.access)
    }

    /// Checks that every CPU finds `expected` at `va`, however often it looks.
    #[track_caller]
    pub fn check(&self, va: VirtAddr, expected: Option<(PhysAddr, KernelAttrs)>) {
        check(self.machine.mmu(), va, expected);
    }

    /// Like [`Rig::check`] for all of `va`, mapped to memory from `pa` on, or not at all.
    #[track_caller]
    pub fn check_range(&self, va: VirtRange, expected: Option<(PhysAddr, KernelAttrs)>) {
        // Every page of a small range, the edges of the pieces of a large one.
        let step = if va.len() <= 64 * PAGE_SIZE { PAGE_SIZE } else { 16 * PAGE_SIZE };
        for offset in (0..va.len()).step_by(step).chain([va.len() - PAGE_SIZE]) {
            let expected = expected.map(|(pa, attrs)| (pa + offset as u64, attrs));
            self.check(va.start() + offset, expected);
        }
    }
}

#[track_caller]
pub fn check(mmu: &Mmu, va: VirtAddr, expected: Option<(PhysAddr, KernelAttrs)>) {
    for cpu in 0..2 {
        let cpu = CpuId::new(cpu).unwrap();
        for access in [Access::Read, Access::Write, Access::Exec] {
            let want = match (expected, access) {
                (None, _) => Err(Fault::Translation),
                (Some((pa, _)), Access::Read) => Ok(pa),
                (Some((pa, a)), Access::Write) if a.permission() == Permission::Rw => Ok(pa),
                (Some((pa, a)), Access::Exec) if a.permission() == Permission::Rx => Ok(pa),
                _ => Err(Fault::Permission),
            };
            for _ in 0..3 {
                let got = mmu.access_by(cpu, va, access);
                assert_eq!(got, want, "{access:?} of {va} by {cpu:?}");
            }
        }
    }
}

pub const VA: VirtAddr = VirtAddr::new(0xffff_8001_0000_0000);

pub fn pages(first: usize, count: usize) -> VirtRange {
    VirtRange::from_size(VA + first * PAGE_SIZE, count * PAGE_SIZE)
}
