//! Users' tables on the misbehaving MMU: programs access their memory, and faults bring it in.
#![expect(unsafe_code, reason = "tests install tables, and end address spaces")]

mod basics;
mod fail;
mod files;
mod model;
mod steps;
mod threads;

use super::{Access, Area, Fault, MmCounter, UserTables, Zap};
use crate::addr::{PAGE_SIZE, PhysAddr, PhysRange, UserAddr, UserRange};
use crate::arch::asid::{ActiveAsid, Asid, AsidMap, Asids, Ttbr0};
use crate::arch::hosted::Machine;
use crate::arch::hosted::mmu::{self as cpu_mmu, Config, Mode, write_tcr, write_ttbr0};
use crate::arch::irq::with_masked;
use crate::arch::mmu_context::UserRoot;
use crate::arch::pgtable::{MemoryType, Prot, UserAttrs};
use crate::arch::{CpuId, IrqMasked, NR_CPUS, mmu};
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::{self, OwnedPage};
use crate::mm::slab;
use crate::mm::vmstat::{NodeStat, node_page_state};
use crate::sched::Mm;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use std::sync::Mutex;

const RAM: PhysRange = PhysRange::from_size(PhysAddr::new(0x4000_0000), 16 << 20);
const VA: UserAddr = UserAddr::new(0x5555_0000_0000).unwrap();
const SEEDS: u64 = if cfg!(miri) { 1 } else { 6 };
/// TCR_EL1: 48 bits in both halves, 4 KiB, ASIDs of 16 bits, no updates by hardware.
const TCR: u64 = 16 | 16 << 16 | 0b10 << 30 | 1 << 36;
/// Updates of the access flag and the dirty state by hardware (HA, HD).
const HAFDBS: u64 = 0b11 << 39;
const RW: Prot = Prot::READ.union(Prot::WRITE);

/// A CPU that switches contexts.
struct ThisCpu<'a>(&'a IrqMasked);

impl Ttbr0 for ThisCpu<'_> {
    type Root = UserRoot;
    fn cpu(&self) -> CpuId {
        crate::arch::cpu::id(self.0)
    }
    fn has_cnp(&self) -> bool {
        false
    }
    fn set_reserved(&self) {}
    fn dsb_ish(&self) {
        mmu::dsb_ish();
    }
    fn local_flush_tlb_all(&self) {
        cpu_mmu::tlbi_vmalle1();
        cpu_mmu::dsb_nsh();
        mmu::isb();
    }
    fn switch_mm(&self, root: UserRoot, asid: Asid) {
        // SAFETY: tables of the test, which end after all CPUs are done with them.
        unsafe { write_ttbr0(root.phys().get() | u64::from(asid.get()) << 48) };
        mmu::isb();
    }
}

/// A machine with one address space.
struct Rig<'m> {
    machine: &'m Machine,
    tables: ManuallyDrop<UserTables>,
    asids: Asids<[ActiveAsid; NR_CPUS]>,
    map: Mutex<AsidMap<NR_CPUS, 4>>,
}

unsafe fn release(_: NonNull<Mm>) {
    unreachable!("the tests have no reference to the Mm");
}

impl Rig<'_> {
    /// Runs `f` on a machine whose CPUs have `tcr`, and checks that all memory is back at its end.
    fn run(seed: u64, tcr: u64, f: impl FnOnce(&Rig<'_>)) {
        Self::run_with(Config::eager(seed), tcr, f);
    }

    fn run_with(config: Config, tcr: u64, f: impl FnOnce(&Rig<'_>)) {
        Machine::run(&[RAM], |machine| {
            page_alloc::init(machine.ram());
            slab::kmem_cache_init(seed_of(tcr));
            let kernel = OwnedPage::alloc(Gfp::GFP_KERNEL | Gfp::__GFP_ZERO).expect("a page");
            machine.mmu().attach(kernel.frame().phys(), config);
            super::zero_page::zero_page();
            let before = page_alloc::nr_used_pages();
            let tables = UserTables::new(release).expect("a PGD");
            let mut map = AsidMap::new();
            map.init(8, NR_CPUS).expect("enough ASIDs");
            let asids = Asids::new([const { ActiveAsid::new() }; NR_CPUS]);
            let tables = ManuallyDrop::new(tables);
            let mut rig = Rig { machine, tables, asids, map: Mutex::new(map) };
            rig.switch(tcr);
            f(&rig);
            rig.tables.validate().expect("all adds up");
            rig.switch_off();
            // Only here: what a test that fails leaves is in no state to be dropped.
            // SAFETY: once.
            unsafe { ManuallyDrop::drop(&mut rig.tables) };
            assert_eq!(page_alloc::nr_used_pages(), before, "pages are lost");
            let items = [NodeStat::AnonMapped, NodeStat::FileMapped, NodeStat::PageTable];
            for item in items {
                assert_eq!(node_page_state(None, item), 0, "{item:?}");
            }
        });
    }

    /// Makes this CPU one that runs the address space.
    fn switch(&self, tcr: u64) {
        with_masked(|irq| {
            let lock = || self.map.lock().unwrap();
            let mm = self.tables.mm();
            // SAFETY: the root of the tables, which stay.
            let root = unsafe { UserRoot::new(self.tables.root().phys()) };
            self.asids.check_and_switch_context(&ThisCpu(irq), mm.context(), root, lock);
        });
        // SAFETY: TTBR0_EL1 holds a table.
        unsafe { write_tcr(tcr) };
        mmu::isb();
    }

    /// Makes this CPU one that walks no tables of users.
    fn switch_off(&self) {
        // SAFETY: nothing is walked from here on (EPD0).
        unsafe { write_tcr(TCR | 1 << 7) };
        mmu::isb();
        // SAFETY: as above.
        unsafe { write_ttbr0(0) };
        mmu::isb();
    }

    /// An area of `pages` private anonymous pages from page `first` on.
    fn area(&self, first: usize, pages: usize, prot: Prot) -> Area<'static> {
        Area {
            range: range(first, pages),
            attrs: attrs(prot),
            shared: false,
            file: None,
            pgoff: 0,
            anon: 1,
            anon_pgoff: first as u64,
        }
    }

    /// Accesses `at` as a program does, with faults, until it can.
    fn access(&self, area: &Area<'_>, at: UserAddr, access: Access) -> Result<PhysAddr, Fault> {
        let kind = match access {
            Access::Read => cpu_mmu::Access::Read,
            Access::Write => cpu_mmu::Access::Write,
            Access::Exec => cpu_mmu::Access::Exec,
        };
        let cpu = with_masked(crate::arch::cpu::id);
        for _ in 0..100 {
            match self.machine.mmu().access_as(cpu, Mode::El0, at, kind) {
                Ok(pa) => return Ok(pa),
                Err(_) => {
                    let fast = with_masked(|irq| {
                        at.get() & PAGE_SIZE == 0
                            && self.tables.try_handle_mm_fault(irq, area, at, access)
                    });
                    if !fast {
                        self.tables.handle_mm_fault(area, at, access)?;
                    }
                    // The exception return.
                    mmu::isb();
                }
            }
        }
        panic!("{access:?} of {at} faults for ever");
    }

    /// Writes a word.
    fn write(&self, area: &Area<'_>, page: usize, value: u64) -> Result<(), Fault> {
        let pa = self.access(area, address(page), Access::Write)?;
        word_at(pa).store(value, core::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    /// Reads a word.
    fn read(&self, area: &Area<'_>, page: usize) -> Result<u64, Fault> {
        let pa = self.access(area, address(page), Access::Read)?;
        Ok(word_at(pa).load(core::sync::atomic::Ordering::Relaxed))
    }
}

fn seed_of(tcr: u64) -> u64 {
    tcr | 7
}

fn word_at(pa: PhysAddr) -> &'static core::sync::atomic::AtomicU64 {
    let at = crate::arch::phys_to_virt(pa).get();
    // SAFETY: RAM of the test's machine.
    unsafe { &*core::ptr::with_exposed_provenance(at) }
}

fn attrs(prot: Prot) -> UserAttrs {
    UserAttrs::new(MemoryType::Normal, prot).expect("normal memory")
}

fn address(page: usize) -> UserAddr {
    VA.checked_add(page * PAGE_SIZE).expect("a user's")
}

fn range(first: usize, pages: usize) -> UserRange {
    UserRange::from_size(address(first), pages * PAGE_SIZE).expect("a user's")
}
