//! Tests of what the adversary knows of guests: raw sequences of stores, barriers, invalidations
//! and register writes at EL2, whole and with a step left out.

mod faults;
mod stale;
mod steps;

use super::*;
use crate::addr::{PAGE_SIZE, PhysRange};
use crate::arch::hosted::quiet::quietly;
use crate::arch::pgtable::descriptor::{Descriptor, Level, PTRS_PER_TABLE};
use crate::arch::pgtable::tlbi::{RangeOp, VaOp};
use std::collections::BTreeSet;

const RAM: PhysAddr = PhysAddr::new(0x4000_0000);
const SEEDS: u64 = if cfg!(miri) { 3 } else { 30 };
const CPU0: CpuId = CpuId::BOOT;
const CPU1: CpuId = CpuId::new(1).unwrap();

/// Frames that guests get.
const M: PhysAddr = PhysAddr::new(0x10_0000_0000);
const N: PhysAddr = PhysAddr::new(0x20_0000_0000);

/// Intermediate address of the first page that is mapped, above the first root table's 512 GiB.
const IPA: u64 = 0x80_4000_0000;
/// Address at which the host has a page.
const KERNEL: VirtAddr = VirtAddr::new(0xffff_8000_0000_0000);
/// Address at which a guest's stage 1 maps [`IPA`].
const VA: VirtAddr = VirtAddr::new(0x7000_0000_0000);

// Bits of a last-level leaf of stage 2.
const READ: u64 = 1 << 6;
const WRITE: u64 = 1 << 7;
const AF: u64 = 1 << 10;
const XN: u64 = 1 << 54;
/// Normal write-back memory, inner shareable, a page.
const PAGE: u64 = 0xf << 2 | 0b11 << 8 | 0b11;
const RW: u64 = PAGE | READ | WRITE | AF;
const RO: u64 = PAGE | READ | AF;

/// 40 bits from level 1, with two root tables.
const VTCR: u64 = 1 << 31 | 24 | 1 << 6;
const HA: u64 = 1 << 21;
/// TCR_EL1 of guests: 48 bits, the upper half not walked.
const TCR: u64 = 16 | 16 << 16 | 0b10 << 30 | 1 << 23 | 1 << 36;

const A: u16 = 1;
const B: u16 = 2;

type Outcome = Result<PhysAddr, Fault>;

const fn stage2(reason: Stage2Reason, level: u8, ipa: Option<u64>) -> Outcome {
    Err(Fault::Stage2(Stage2Fault { reason, level, ipa, s1ptw: false }))
}
const fn missing(n: usize) -> Outcome {
    stage2(Stage2Reason::Translation, 3, Some(ipa(n)))
}
const DENIED: Outcome = stage2(Stage2Reason::Permission, 3, None);

const fn ipa(n: usize) -> u64 {
    IPA + (n * PAGE_SIZE) as u64
}

/// Tables of a guest at stage 2: two of level 1, then one each of level 2 and 3 for [`IPA`].
#[derive(Clone, Copy)]
struct Guest {
    tables: PhysAddr,
    vmid: u16,
}

impl Guest {
    fn table(self, level: Level) -> PhysAddr {
        // The second root table is the one in use.
        self.tables + (level as usize * PAGE_SIZE) as u64
    }

    fn words(self, level: Level) -> &'static [AtomicU64; PTRS_PER_TABLE] {
        let page = super::super::phys_to_virt(self.table(level));
        // SAFETY: a page of the RAM of the test's machine, which outlives the test.
        unsafe { &*core::ptr::with_exposed_provenance(page.get()) }
    }

    fn set_word(self, level: Level, ipa: u64, bits: u64) {
        let word = &self.words(level)[level.index(VirtAddr::new(ipa as usize))];
        write_descriptor(word, Descriptor::from_bits(bits));
    }

    /// Stores to the last-level entry of the page `n`, without any barrier.
    fn set(self, n: usize, pa: PhysAddr, bits: u64) {
        self.set_word(Level::Pte, ipa(n), pa.get() | bits);
    }

    fn clear(self, n: usize) {
        self.set_word(Level::Pte, ipa(n), 0);
    }

    fn pte(self, n: usize) -> u64 {
        let index = Level::Pte.index(VirtAddr::new(ipa(n) as usize));
        read_descriptor(&self.words(Level::Pte)[index]).bits()
    }

    const fn vttbr(self) -> u64 {
        self.tables.get() | (self.vmid as u64) << 48
    }
}

/// A machine with an empty kernel half and two guests, on two CPUs at EL2.
struct Rig<'m> {
    machine: &'m Machine,
    a: Guest,
    b: Guest,
}

impl Rig<'_> {
    /// A machine on which nothing is mapped for guests, and no CPU has one.
    fn run<R>(config: Config, f: impl FnOnce(&Rig<'_>) -> R) -> R {
        Machine::run(&[PhysRange::from_size(RAM, 64 * PAGE_SIZE as u64)], |machine| {
            let guest = |n: usize, vmid| Guest { tables: RAM + (n * PAGE_SIZE) as u64, vmid };
            let rig = Rig { machine, a: guest(4, A), b: guest(8, B) };
            machine.mmu().attach(RAM, config);
            for (n, level) in [Level::Pgd, Level::Pud, Level::Pmd].into_iter().enumerate() {
                let table = if n == 0 { RAM } else { guest(11 + n, 0).tables };
                let next = Descriptor::table(guest(12 + n, 0).tables);
                write_descriptor(word_at(table + 8 * level.index(KERNEL) as u64).unwrap(), next);
            }
            for guest in [rig.a, rig.b] {
                guest.set_word(Level::Pud, IPA, guest.table(Level::Pmd).get() | 0b11);
                guest.set_word(Level::Pmd, IPA, guest.table(Level::Pte).get() | 0b11);
            }
            dsb_ishst();
            f(&rig)
        })
    }

    fn eager<R>(seed: u64, f: impl FnOnce(&Rig<'_>) -> R) -> R {
        Self::run(Config::eager(seed), f)
    }

    fn mmu(&self) -> &Mmu {
        self.machine.mmu()
    }

    fn on_all(&self, f: impl Fn()) {
        [CPU0, CPU1].iter().for_each(|&cpu| self.machine.on_cpu(cpu, &f));
    }

    /// Has both CPUs run `guest`, with its stage 1 off, or by a table of its own at the page `root`.
    fn load_with(&self, guest: Guest, vtcr: u64, root: Option<usize>) {
        dsb_ishst();
        self.on_all(|| enter(guest, vtcr, root));
    }

    fn load(&self, guest: Guest) {
        self.load_with(guest, VTCR, None);
    }

    /// Maps [`VA`] on to the pages 0 to 7 in tables of the guest's stage 1, which lie in its pages 16
    /// to 19; has both CPUs run it.
    fn load_stage1(&self, guest: Guest) {
        let frame = |n: usize| RAM + (n * PAGE_SIZE) as u64;
        let word = |table: usize, index: usize, bits: u64| {
            word_at(frame(32 + table) + 8 * index as u64).unwrap().store(bits, Relaxed);
        };
        let (el0, af, ng) = (1 << 6, 1 << 10, 1 << 11);
        for (n, level) in [Level::Pgd, Level::Pud, Level::Pmd].into_iter().enumerate() {
            guest.set(16 + n, frame(32 + n), RW);
            word(n, level.index(VA), ipa(16 + n + 1) | 0b11);
        }
        guest.set(19, frame(35), RW);
        for n in 0..8 {
            word(3, n, ipa(n) | el0 | af | ng | 0b11 << 8 | 0b11);
        }
        self.load_with(guest, VTCR, Some(16));
    }

    fn tries_by(&self, cpu: CpuId, va: VirtAddr, access: Access) -> BTreeSet<Outcome> {
        (0..40).map(|_| self.mmu().access_as(cpu, Mode::El0, va, access)).collect()
    }

    /// All that accesses by both CPUs, as their guest, to the page `n` come to in many attempts.
    fn tries(&self, n: usize, access: Access) -> BTreeSet<Outcome> {
        let at = VirtAddr::new(ipa(n) as usize);
        [CPU0, CPU1].iter().flat_map(|&cpu| self.tries_by(cpu, at, access)).collect()
    }

    /// Checks that guests on both CPUs get this and nothing else.
    #[track_caller]
    fn check(&self, n: usize, access: Access, want: Outcome) {
        assert_eq!(self.tries(n, access), BTreeSet::from([want]), "{access:?} of page {n}");
    }

    /// The same for reads by way of the guest's stage 1.
    #[track_caller]
    fn check_va(&self, n: usize, want: Outcome) {
        for cpu in [CPU0, CPU1] {
            let got = self.tries_by(cpu, VA + n * PAGE_SIZE, Access::Read);
            assert_eq!(got, BTreeSet::from([want]), "read of page {n}");
        }
    }
}

/// Makes this CPU enter `guest` next.
fn enter(guest: Guest, vtcr: u64, root: Option<usize>) {
    let ttbr0 = root.map_or(0, |n| ipa(n) | 9 << 48);
    // SAFETY: tables of the test, in pages that stay tables.
    unsafe {
        write_vtcr(vtcr);
        write_vttbr(guest.vttbr());
        write_stage1(root.is_some(), TCR, ttbr0);
        write_hcr_vm(true);
    }
}

/// VTTBR_EL2 names `guest` from now on, while this CPU is at EL2.
fn set_vttbr(guest: Guest) {
    // SAFETY: tables of the test, in pages that stay tables.
    unsafe { write_vttbr(guest.vttbr()) };
}

/// The host's last-level descriptor of [`KERNEL`].
fn set_kernel(word: Descriptor) {
    write_descriptor(word_at(RAM + 14 * PAGE_SIZE as u64).unwrap(), word);
}

fn op(n: usize) -> VaOp {
    VaOp::from(VirtAddr::new(ipa(n) as usize))
}
