//! Users' tables on the misbehaving MMU.

mod edits;
mod formats;
mod share;
mod state;
mod steps;

use crate::addr::{PAGE_SIZE, PhysAddr, PhysRange, UserAddr, UserRange, VirtAddr, VirtRange};
use crate::arch::asid::{Asid, Context};
use crate::arch::hosted::Machine;
use crate::arch::hosted::mmu::{Access, Config, Fault, Mmu, Mode, set_pan, write_tcr, write_ttbr0};
use crate::arch::pgtable::descriptor::{Descriptor, Level, NG, PXN};
use crate::arch::pgtable::flush::{FlushOwed, Reach};
use crate::arch::pgtable::mair::MemoryType;
use crate::arch::pgtable::{
    Attributes, Gathered, Leaf, MapError, MapFlags, Mapper, MigrationPte, MmuGather, Prot,
    PteMarker, Regime, SwapPte, Table, TableAccess, TableAddr, TableLimits, User, UserAttrs,
    UserPte,
};
use crate::arch::{CpuId, mmu, phys_to_virt};
use std::collections::BTreeSet;
use std::vec::Vec;

const RAM: PhysAddr = PhysAddr::new(0x4000_0000);
const PAGES: usize = 64;
const VA: UserAddr = UserAddr::new(0x5555_0000_0000).unwrap();
const M: PhysAddr = PhysAddr::new(0x10_0000_0000);
const SEEDS: u64 = if cfg!(miri) { 2 } else { 12 };

const CPU0: CpuId = CpuId::BOOT;
const CPU1: CpuId = CpuId::new(1).unwrap();
const ASID: Asid = Asid::new(5);

/// TCR_EL1: 48 bits in both halves, 4 KiB, ASIDs of 16 bits, no updates by hardware.
const TCR: u64 = 16 | 16 << 16 | 0b10 << 30 | 1 << 36;
/// Updates of the access flag and the dirty state by hardware (HA, HD).
const HAFDBS: u64 = 0b11 << 39;

type Outcome = Result<PhysAddr, Fault>;
const MISSING: Outcome = Err(Fault::Translation);
const DENIED: Outcome = Err(Fault::Permission);
const UNFLAGGED: Outcome = Err(Fault::AccessFlag);

/// Table pages out of the machine's RAM.
struct UserAccess {
    free: Vec<TableAddr<User>>,
    in_use: usize,
    tag: Option<Asid>,
}

impl UserAccess {
    /// All pages of RAM but the first, which is the root of an empty kernel half.
    fn new() -> Self {
        // SAFETY: RAM of the test's machine that it uses for nothing else.
        let table = |i| unsafe { TableAddr::new(RAM + (i * PAGE_SIZE) as u64) };
        Self { free: (1..PAGES).map(table).collect(), in_use: 0, tag: Some(ASID) }
    }
}

impl TableAccess for UserAccess {
    type Regime = User;

    fn alloc(&mut self) -> Option<TableAddr<User>> {
        self.in_use += 1;
        self.free.pop()
    }
    fn free(&mut self, table: TableAddr<User>) {
        assert!(!self.free.contains(&table), "{table:?} is freed twice");
        self.in_use -= 1;
        self.free.push(table);
    }
    fn with<T>(&self, table: TableAddr<User>, f: impl FnOnce(&Table<User>) -> T) -> T {
        assert!(!self.free.contains(&table), "{table:?} is used after it was freed");
        // SAFETY: RAM of this machine.
        f(unsafe { Table::at(phys_to_virt(table.phys())) })
    }
    fn tag(&self) -> Option<Asid> {
        self.tag
    }
    fn window(&self, table: TableAddr<User>, _broken: VirtRange) -> VirtAddr {
        phys_to_virt(table.phys())
    }
    fn may_break(&self, _va: VirtRange) -> bool {
        true
    }
    fn begin_bbm(&mut self, _va: VirtRange) {
        mmu::begin_bbm();
    }
    fn end_bbm(&mut self) {
        mmu::end_bbm();
    }
}

/// A machine both of whose CPUs run one user.
struct Rig<'m> {
    machine: &'m Machine,
    access: UserAccess,
    root: TableAddr<User>,
    /// A table that is out of the tree.
    shared: Option<TableAddr<User>>,
}

impl Rig<'_> {
    fn run<R>(seed: u64, tcr: u64, f: impl FnOnce(&mut Rig<'_>) -> R) -> R {
        Machine::run(&[PhysRange::from_size(RAM, (PAGES * PAGE_SIZE) as u64)], |machine| {
            machine.mmu().attach(RAM, Config::eager(seed));
            let mut access = UserAccess::new();
            let root = Mapper::new_table(&mut access).unwrap();
            for cpu in [CPU0, CPU1] {
                machine.on_cpu(cpu, || {
                    // SAFETY: the root of the test's tables, which stays one.
                    unsafe { write_ttbr0(root.phys().get() | u64::from(ASID.get()) << 48) };
                    mmu::isb();
                    // SAFETY: TTBR0_EL1 holds a table.
                    unsafe { write_tcr(tcr) };
                    mmu::isb();
                });
            }
            f(&mut Rig { machine, access, root, shared: None })
        })
    }

    fn mmu(&self) -> &Mmu {
        self.machine.mmu()
    }

    fn mapper(&mut self) -> Mapper<'_, UserAccess> {
        Mapper::new(self.root, &mut self.access)
    }

    /// Maps `count` pages from the `first` on, accessed, with rights `prot`.
    fn map(&mut self, first: usize, count: usize, attrs: UserAttrs) {
        let pa = M + (first * PAGE_SIZE) as u64;
        self.mapper().map(pages(first, count), pa, attrs, MapFlags::NO_CONT).unwrap();
    }

    /// All that accesses by `cpu` with LDTR and STTR come to in many attempts.
    fn tries(&self, cpu: CpuId, va: UserAddr, access: Access) -> BTreeSet<Outcome> {
        let one = |_| self.mmu().access_as(cpu, Mode::Unprivileged, va, access);
        (0..30).map(one).collect()
    }

    /// Checks that both CPUs get this and nothing else.
    #[track_caller]
    fn check(&self, va: UserAddr, access: Access, want: Outcome) {
        for cpu in [CPU0, CPU1] {
            let got = self.tries(cpu, va, access);
            assert_eq!(got, BTreeSet::from([want]), "{access:?} of {va} by {cpu:?}");
        }
    }

    fn attrs(&mut self, va: UserAddr) -> UserAttrs {
        match self.mapper().pte(va) {
            UserPte::Present(leaf) => leaf.attrs,
            other => panic!("{va}: {other:?}"),
        }
    }
}

const fn page(n: usize) -> UserAddr {
    VA.checked_add(n * PAGE_SIZE).unwrap()
}

fn pages(first: usize, count: usize) -> UserRange {
    UserRange::from_size(page(first), count * PAGE_SIZE).unwrap()
}

fn frame(n: usize) -> PhysAddr {
    M + (n * PAGE_SIZE) as u64
}

/// Data that a program may write, never accessed.
fn data() -> UserAttrs {
    UserAttrs::new(MemoryType::Normal, Prot::READ | Prot::WRITE).unwrap()
}

/// The same, accessed and dirty, so that no access changes it.
fn used() -> UserAttrs {
    data().young().dirty()
}
