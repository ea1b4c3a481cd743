//! Tests of what the adversary knows of users: raw sequences of stores, barriers, invalidations
//! and register writes, whole and with a step left out.

mod access_flag;
mod asid;
mod limits;
mod rights;
mod steps;
mod tables;

use super::*;
use crate::addr::{PAGE_SIZE, PhysRange};
use crate::arch::hosted::quiet::quietly;
use crate::arch::pgtable::descriptor::{Descriptor, Level, PTRS_PER_TABLE};
use crate::arch::pgtable::tlbi::{RangeOp, VaOp};
use std::collections::BTreeSet;

const RAM: PhysAddr = PhysAddr::new(0x4000_0000);
const VA: UserAddr = UserAddr::new(0x5555_0000_0000).unwrap();
const M: PhysAddr = PhysAddr::new(0x10_0000_0000);
const N: PhysAddr = PhysAddr::new(0x20_0000_0000);
const SEEDS: u64 = if cfg!(miri) { 3 } else { 30 };

const CPU0: CpuId = CpuId::BOOT;
const CPU1: CpuId = CpuId::new(1).unwrap();

// Bits of a last-level leaf.
const EL0: u64 = 1 << 6;
const RDONLY: u64 = 1 << 7;
const AF: u64 = 1 << 10;
const NG: u64 = 1 << 11;
const DBM: u64 = 1 << 51;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
/// Normal memory, inner shareable, a page.
const PAGE: u64 = 0b11 << 8 | 0b11;
const RW: u64 = PAGE | EL0 | AF | NG | PXN | UXN;
const RO: u64 = RW | RDONLY;

// Bits of TCR_EL1.
const EPD0: u64 = 1 << 7;
const AS: u64 = 1 << 36;
const TBI0: u64 = 1 << 37;
const HA: u64 = 1 << 39;
const HD: u64 = 1 << 40;
const HPD0: u64 = 1 << 41;
const E0PD1: u64 = 1 << 56;
/// 48 bits in both halves, 4 KiB, ASIDs of 16 bits.
const TCR: u64 = 16 | 16 << 16 | 0b10 << 30 | AS;

type Outcome = Result<PhysAddr, Fault>;

/// Tables of a user for [`VA`], one of each level, in four pages of RAM.
#[derive(Clone, Copy)]
struct Space(PhysAddr);

impl Space {
    fn table(self, level: Level) -> PhysAddr {
        self.0 + (level as usize * PAGE_SIZE) as u64
    }

    fn words(self, level: Level) -> &'static [AtomicU64; PTRS_PER_TABLE] {
        let page = super::super::phys_to_virt(self.table(level));
        // SAFETY: a page of the RAM of the test's machine, which outlives the test.
        unsafe { &*core::ptr::with_exposed_provenance(page.get()) }
    }

    fn word(self, level: Level, va: UserAddr) -> &'static AtomicU64 {
        &self.words(level)[level.index(VirtAddr::new(va.get()))]
    }

    /// Links the table below `level`, with these further bits.
    fn link(self, level: Level, bits: u64) {
        let next = self.table(level.down().unwrap());
        self.set_word(level, VA, next.get() | bits | 0b11);
    }

    fn set_word(self, level: Level, va: UserAddr, bits: u64) {
        write_descriptor(self.word(level, va), Descriptor::from_bits(bits));
    }

    /// Stores to the PTE of `va`, without any barrier.
    fn set(self, va: UserAddr, pa: PhysAddr, bits: u64) {
        self.set_word(Level::Pte, va, pa.get() | bits);
    }

    fn clear(self, va: UserAddr) {
        self.set_word(Level::Pte, va, 0);
    }

    fn pte(self, va: UserAddr) -> u64 {
        read_descriptor(self.word(Level::Pte, va)).bits()
    }
}

/// A machine with an empty kernel half and two users.
struct Rig<'m> {
    machine: &'m Machine,
    a: Space,
    b: Space,
}

const A: u16 = 1;
const B: u16 = 2;

impl Rig<'_> {
    /// A machine whose CPUs have `tcr` and an empty lower half. Both users' tables are linked;
    /// nothing is mapped, and no CPU has either.
    fn run<R>(config: Config, tcr: u64, f: impl FnOnce(&Rig<'_>) -> R) -> R {
        Machine::run(&[PhysRange::from_size(RAM, 32 * PAGE_SIZE as u64)], |machine| {
            let space = |n: usize| Space(RAM + (n * PAGE_SIZE) as u64);
            let rig = Rig { machine, a: space(4), b: space(8) };
            machine.mmu().attach(RAM, config);
            for space in [rig.a, rig.b] {
                [Level::Pgd, Level::Pud, Level::Pmd].iter().for_each(|&l| space.link(l, 0));
            }
            dsb_ishst();
            rig.load(Space(RAM + PAGE_SIZE as u64), 0);
            rig.on_all(|| set_tcr(tcr));
            f(&rig)
        })
    }

    /// The strictest machine, eager, with 16-bit ASIDs.
    fn eager<R>(seed: u64, f: impl FnOnce(&Rig<'_>) -> R) -> R {
        Self::run(Config::eager(seed), TCR, f)
    }

    fn mmu(&self) -> &Mmu {
        self.machine.mmu()
    }

    /// Runs `f` on both CPUs and synchronizes them.
    fn on_all(&self, f: impl Fn()) {
        for cpu in [CPU0, CPU1] {
            self.machine.on_cpu(cpu, || {
                f();
                isb();
            });
        }
    }

    /// Makes both CPUs run `space`, and see all that has been stored.
    fn load(&self, space: Space, asid: u16) {
        dsb_ishst();
        self.on_all(|| set_ttbr0(space, asid));
    }

    /// All that accesses by `cpu` come to in many attempts.
    fn tries(&self, cpu: CpuId, mode: Mode, va: UserAddr, access: Access) -> BTreeSet<Outcome> {
        (0..40).map(|_| self.mmu().access_as(cpu, mode, va, access)).collect()
    }

    fn reads(&self, cpu: CpuId, va: UserAddr) -> BTreeSet<Outcome> {
        self.tries(cpu, Mode::Unprivileged, va, Access::Read)
    }

    /// Checks that programs on both CPUs get this and nothing else by `access`.
    #[track_caller]
    fn check_access(&self, va: UserAddr, access: Access, want: Outcome) {
        for cpu in [CPU0, CPU1] {
            let got = self.tries(cpu, Mode::El0, va, access);
            assert_eq!(got, only(want), "{access:?} of {va} by {cpu:?}");
        }
    }

    /// Checks that programs on both CPUs read this and nothing else.
    #[track_caller]
    fn check(&self, va: UserAddr, want: Outcome) {
        self.check_access(va, Access::Read, want);
    }
}

fn set_ttbr0(space: Space, asid: u16) {
    // SAFETY: tables of the test, in pages that stay tables.
    unsafe { write_ttbr0(space.0.get() | u64::from(asid) << 48) };
}

fn set_tcr(value: u64) {
    // SAFETY: no CPU has a user's tables, or those in TTBR0_EL1 are ones.
    unsafe { write_tcr(value) };
}

fn only(outcome: Outcome) -> BTreeSet<Outcome> {
    BTreeSet::from([outcome])
}

fn either(a: Outcome, b: Outcome) -> BTreeSet<Outcome> {
    BTreeSet::from([a, b])
}

const fn page(n: usize) -> UserAddr {
    VA.checked_add(n * PAGE_SIZE).unwrap()
}

const MISSING: Outcome = Err(Fault::Translation);
const DENIED: Outcome = Err(Fault::Permission);
