//! Guests' tables at stage 2 on the misbehaving MMU: code at EL2 on one CPU, the guest on another.

mod edits;
mod formats;
mod steps;

use crate::addr::{Ipa, IpaRange, PAGE_SIZE, PhysAddr, PhysRange, VirtAddr, VirtRange};
use crate::arch::hosted::Machine;
use crate::arch::hosted::mmu::{
    Access, AtEl2, Config, Fault, Mmu, Mode, Stage2Fault, Stage2Reason, write_hcr_vm, write_stage1,
    write_vtcr, write_vttbr,
};
use crate::arch::pgtable::descriptor::{Descriptor, KernelAttrs, Level};
use crate::arch::pgtable::flush::{FlushOwed, Reach};
use crate::arch::pgtable::{
    Gathered, Geometry, IdMmfr, Leaf, MapError, MapFlags, Mapper, MmuGather, Regime, Stage2,
    Stage2Attrs, Stage2Memory, Stage2Prot, Stage2Root, Table, TableAccess, TableAddr, Vm, Vmid,
};
use crate::arch::{CpuId, mmu, phys_to_virt};
use std::collections::BTreeSet;
use std::vec::Vec;

type Guest = Stage2<AtEl2>;

const RAM: PhysAddr = PhysAddr::new(0x4000_0000);
const PAGES: usize = 64;
/// Pages of RAM before those of guests' tables: the host's tables.
const HOST: usize = 16;
const M: PhysAddr = PhysAddr::new(0x10_0000_0000);
const SEEDS: u64 = if cfg!(miri) { 2 } else { 12 };
const CPU1: CpuId = CpuId::new(1).unwrap();
const VMID: Vmid = Vmid::new(3, 8).unwrap();
/// Page of the host's, and its frame.
const KERNEL: VirtAddr = VirtAddr::new(0xffff_8000_0000_0000);
const HOST_FRAME: PhysAddr = PhysAddr::new(0x30_0000_0000);

/// A CPU with 44-bit addresses and nothing optional, and one with hardware access flag.
const ID: IdMmfr = IdMmfr { mmfr0: 4, mmfr1: 0, mmfr2: 0, isar0: 0 };
const WITH_HA: IdMmfr = IdMmfr { mmfr1: 1, ..ID };
/// The first page, in the second of two root tables.
const IPA: Ipa = Ipa::new(0x80_4000_0000);

type Outcome = Result<PhysAddr, Fault>;

const fn fault(reason: Stage2Reason, level: u8, ipa: Option<u64>) -> Outcome {
    Err(Fault::Stage2(Stage2Fault { reason, level, ipa, s1ptw: false }))
}
const fn missing(n: usize) -> Outcome {
    fault(Stage2Reason::Translation, 3, Some(page(n).get()))
}
const DENIED: Outcome = fault(Stage2Reason::Permission, 3, None);

/// Table pages out of the machine's RAM.
struct GuestAccess {
    free: Vec<TableAddr<Guest>>,
    in_use: usize,
    vm: Option<Vm<AtEl2>>,
}

impl GuestAccess {
    fn new() -> Self {
        // SAFETY: RAM of the test's machine that it uses for nothing else.
        let table = |i| unsafe { TableAddr::new(RAM + (i * PAGE_SIZE) as u64) };
        Self { free: (HOST..PAGES).rev().map(table).collect(), in_use: 0, vm: None }
    }

    /// First tables for a guest, empty.
    fn new_root(&mut self, geometry: Geometry) -> Stage2Root<AtEl2> {
        let tables: Vec<_> =
            (0..geometry.root_tables()).map(|_| self.free.pop().unwrap()).collect();
        let root = Stage2Root::new(&tables, geometry).unwrap();
        root.clear(self);
        root
    }
}

impl TableAccess for GuestAccess {
    type Regime = Guest;

    fn alloc(&mut self) -> Option<TableAddr<Guest>> {
        self.in_use += 1;
        self.free.pop()
    }
    fn free(&mut self, table: TableAddr<Guest>) {
        assert!(!self.free.contains(&table), "{table:?} is freed twice");
        self.in_use -= 1;
        self.free.push(table);
    }
    fn with<T>(&self, table: TableAddr<Guest>, f: impl FnOnce(&Table<Guest>) -> T) -> T {
        assert!(!self.free.contains(&table), "{table:?} is used after it was freed");
        // SAFETY: RAM of this machine.
        f(unsafe { Table::at(phys_to_virt(table.phys())) })
    }
    fn tag(&self) -> Option<Vm<AtEl2>> {
        self.vm
    }
    fn window(&self, table: TableAddr<Guest>, _broken: VirtRange) -> VirtAddr {
        phys_to_virt(table.phys())
    }
    fn may_break(&self, _va: VirtRange) -> bool {
        true
    }
    // A guest that faults meanwhile tries again.
    fn begin_bbm(&mut self, _va: VirtRange) {}
    fn end_bbm(&mut self) {}
}

/// A machine whose CPU 1 runs a guest with its stage 1 off, and whose CPU 0 is at EL2.
struct Rig<'m> {
    machine: &'m Machine,
    access: GuestAccess,
    root: Stage2Root<AtEl2>,
    id: IdMmfr,
    geometry: Geometry,
}

impl Rig<'_> {
    fn run<R>(seed: u64, f: impl FnOnce(&mut Rig<'_>) -> R) -> R {
        Self::run_on(ID, 40, seed, f)
    }

    fn run_on<R>(id: IdMmfr, bits: u32, seed: u64, f: impl FnOnce(&mut Rig<'_>) -> R) -> R {
        Machine::run(&[PhysRange::from_size(RAM, (PAGES * PAGE_SIZE) as u64)], |machine| {
            for (n, level) in [Level::Pgd, Level::Pud, Level::Pmd].into_iter().enumerate() {
                set_host(n, level, Descriptor::table(RAM + ((n + 1) * PAGE_SIZE) as u64));
            }
            set_host(
                3,
                Level::Pte,
                Descriptor::leaf(Level::Pte, HOST_FRAME, KernelAttrs::KERNEL, false),
            );
            machine.mmu().attach(RAM, Config::eager(seed));
            assert_eq!(machine.mmu().access(KERNEL, Access::Read), Ok(HOST_FRAME));
            let geometry = Geometry::new(&id, bits).unwrap();
            let mut access = GuestAccess::new();
            let root = access.new_root(geometry);
            access.vm = Some(Vm::new(root, VMID, AtEl2));
            let mut rig = Rig { machine, access, root, id, geometry };
            rig.enter();
            f(&mut rig)
        })
    }

    /// CPU 1 enters the guest.
    fn enter(&self) {
        self.machine.on_cpu(CPU1, || {
            // SAFETY: the guest's tables, which stay some.
            unsafe {
                write_vtcr(self.geometry.vtcr(&self.id));
                write_vttbr(self.access.vm.unwrap().vttbr());
                // 48 bits, no walks of the upper half.
                write_stage1(false, 16 | 16 << 16 | 0b10 << 30 | 1 << 23, 0);
                write_hcr_vm(true);
            }
        });
    }

    fn mmu(&self) -> &Mmu {
        self.machine.mmu()
    }

    fn mapper(&mut self) -> Mapper<'_, GuestAccess> {
        Mapper::new(self.root, &mut self.access)
    }

    fn map(&mut self, first: usize, count: usize, attrs: Stage2Attrs) {
        self.mapper().map(pages(first, count), frame(first), attrs, MapFlags::NO_CONT).unwrap();
    }

    fn tries(&self, ipa: Ipa, access: Access) -> BTreeSet<Outcome> {
        let va = VirtAddr::new(ipa.get() as usize);
        (0..30).map(|_| self.mmu().access_as(CPU1, Mode::El0, va, access)).collect()
    }

    /// Checks that the guest gets this and nothing else.
    #[track_caller]
    fn check(&self, n: usize, access: Access, want: Outcome) {
        assert_eq!(self.tries(page(n), access), BTreeSet::from([want]), "{access:?} of page {n}");
    }

    /// CPU 0 invalidates something of the host's own, and goes on at EL1.
    #[track_caller]
    fn host_goes_on(&self) {
        set_host(3, Level::Pte, Descriptor::INVALID);
        mmu::dsb_ishst();
        mmu::tlbi_vaale1is(KERNEL);
        mmu::dsb_ish();
        for _ in 0..30 {
            assert_eq!(self.mmu().access(KERNEL, Access::Read), Err(Fault::Translation));
        }
    }
}

/// Stores to the host's table number `n`, of `level`, for its page.
fn set_host(n: usize, level: Level, word: Descriptor) {
    let at = phys_to_virt(RAM + (n * PAGE_SIZE + 8 * level.index(KERNEL)) as u64);
    // SAFETY: a word of the RAM of the test's machine.
    let at = unsafe { &*core::ptr::with_exposed_provenance(at.get()) };
    mmu::write_descriptor(at, word);
}

const fn page(n: usize) -> Ipa {
    Ipa::new(IPA.get() + (n * PAGE_SIZE) as u64)
}

fn pages(first: usize, count: usize) -> IpaRange {
    IpaRange::from_size(page(first), (count * PAGE_SIZE) as u64)
}

fn frame(n: usize) -> PhysAddr {
    M + (n * PAGE_SIZE) as u64
}

fn ram() -> Stage2Attrs {
    Stage2Attrs::new(Stage2Memory::Normal, Stage2Prot::all()).unwrap()
}
