//! Bringing up the other cores (Linux: arch/arm64/kernel/smp.c).
//!
//! One at a time: the boot CPU writes what the core needs into `SECONDARY_DATA`,
//! cleans it to memory, since the core reads it with its caches off, and has PSCI or
//! a spin table send the core to `secondary_entry`. The core turns its MMU on with an
//! identity map of the `.idmap.text` pages alone, claims its number, and goes on.
//!
//! A core that was sent off may come at any time, or never. So its number and its stack are
//! its own for good: nobody else gets them, even where the boot CPU has waited long enough and
//! `withdraw`s the offer. Whether a number is claimed or withdrawn is decided by one
//! compare-exchange, and a core that loses it parks.

use super::boot_table::BootTable;
use super::offer::{Offer, Progress};
use super::{cache, image, mmu, paging};
use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::arch::cpumask::{AtomicCpuMask, CpuMask};
use crate::arch::pgtable::{Descriptor, KernelAttrs, Level, MAIR_EL1};
use crate::arch::{CpuId, NR_CPUS};
use crate::per_cpu;
use aarch64_cpu::registers::{MPIDR_EL1, Readable, TCR_EL1};
use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

/// Data that head.S reads on a starting core, in this order: first for all cores, then for each.
#[repr(C, align(256))]
struct SecondaryData {
    mair: UnsafeCell<u64>,
    tcr: UnsafeCell<u64>,
    sctlr: UnsafeCell<u64>,
    ttbr0: UnsafeCell<u64>,
    ttbr1: UnsafeCell<u64>,
    /// Elements of `cores` that may be in use.
    count: AtomicU64,
    /// Data of each core, by CPU number. A core that starts looks there with its MMU off, so they are
    /// no per-CPU data.
    cores: [Core; NR_CPUS],
}

/// Entry that a core finds by its affinity.
#[repr(C)]
struct Core {
    /// The affinity of the core that may come as this CPU; [`NOBODY`] where none may.
    mpidr: AtomicU64,
    /// The top of its stack.
    stack: AtomicU64,
}

/// The affinity of no core.
const NOBODY: u64 = u64::MAX;

// SAFETY: the boot CPU writes the cells in `init` alone, before any other core is started.
unsafe impl Sync for SecondaryData {}

#[unsafe(no_mangle)]
static SECONDARY_DATA: SecondaryData = SecondaryData {
    mair: UnsafeCell::new(0),
    tcr: UnsafeCell::new(0),
    sctlr: UnsafeCell::new(0),
    ttbr0: UnsafeCell::new(0),
    ttbr1: UnsafeCell::new(0),
    count: AtomicU64::new(0),
    cores: [const { Core { mpidr: AtomicU64::new(NOBODY), stack: AtomicU64::new(0) } }; NR_CPUS],
};

// What head.S takes for granted.
const _: () = assert!(core::mem::offset_of!(SecondaryData, cores) == 48 && size_of::<Core>() == 16);

per_cpu! {
    /// Progress of the CPU.
    static OFFER: Offer = Offer::new();
    /// The affinity of the CPU, if it is up or was sent off.
    static AFFINITY: AtomicU64 = AtomicU64::new(NOBODY);
}

/// Reason why a core that was sent off is not up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotUp {
    /// The core did not come in time.
    Late,
    /// The core lacks a feature that the kernel uses on all CPUs.
    Lacks(&'static str),
}

/// The identity map of `.idmap.text`: PGD, PUD, PMD, PTE.
static IDMAP: [BootTable; 4] = [const { BootTable::new() }; 4];

/// The CPUs that are up.
static ONLINE: AtomicCpuMask = AtomicCpuMask::new(CpuMask::of(CpuId::BOOT));

unsafe extern "C" {
    static secondary_entry: u8;
    static _text: u8;
    static _idmap_text_end: u8;
}

/// The affinity fields of MPIDR_EL1: what a device tree's cpu node has in `reg`.
pub const MPIDR_AFFINITY: u64 = 0xff_00ff_ffff;

/// Reads this core's affinity, the Aff fields of MPIDR_EL1.
#[must_use]
pub fn mpidr() -> u64 {
    MPIDR_EL1.get() & MPIDR_AFFINITY
}

/// The CPUs that are up (Linux: cpu_online_mask).
#[must_use]
pub fn online_mask() -> CpuMask {
    ONLINE.load(Ordering::Acquire)
}

/// The CPUs that are up.
pub fn online() -> impl Iterator<Item = CpuId> {
    online_mask().iter()
}

/// The affinity of a CPU that is up, or was sent off.
#[must_use]
pub fn affinity(cpu: CpuId) -> u64 {
    AFFINITY.of(cpu).load(Ordering::Relaxed)
}

/// Builds the identity map for starting cores, and writes what they share. Boot CPU, once, on
/// the final tables.
pub(crate) fn init() {
    AFFINITY.of(CpuId::BOOT).store(mpidr(), Ordering::Relaxed);
    OFFER.of(CpuId::BOOT).is_own();
    let start = VirtAddr::from_ptr(&raw const _text);
    let end = VirtAddr::from_ptr(&raw const _idmap_text_end);
    let pa = |i: usize| image::phys(VirtAddr::from_ptr(&raw const IDMAP[i]));
    let identity = VirtAddr::new(image::phys(start).get() as usize);
    let write = |table: usize, index: usize, descriptor: Descriptor| {
        // SAFETY: no walker uses these tables before the first core starts.
        unsafe { (*IDMAP[table].0.get())[index] = descriptor.bits() }
    };
    for (i, level) in [Level::Pgd, Level::Pud, Level::Pmd].into_iter().enumerate() {
        write(i, level.index(identity), Descriptor::table(pa(i + 1)));
    }
    // The image starts at a multiple of 2 MiB, so one PTE table does.
    for page in 0..(end - start).div_ceil(PAGE_SIZE) {
        let at = image::phys(start) + (page * PAGE_SIZE) as u64;
        write(3, page, Descriptor::leaf(Level::Pte, at, KernelAttrs::KERNEL_ROX, false));
    }
    mmu::dsb_ishst();

    let data = &SECONDARY_DATA;
    // The upper half is walked, the lower one for the identity map.
    let tcr = TCR_EL1::EPD0::EnableTTBR0Walks.modify(paging::tcr());
    // SAFETY: no other core was started yet.
    unsafe {
        data.mair.get().write(MAIR_EL1);
        data.tcr.get().write(tcr);
        data.sctlr.get().write(paging::sctlr());
        data.ttbr0.get().write(pa(0).get());
        data.ttbr1.get().write(paging::ttbr1());
    }
}

/// Cleans to memory what the core that starts as `cpu` reads: what is for all cores, and the entries
/// that it looks through.
fn clean_data(cpu: CpuId) {
    let at = (&raw const SECONDARY_DATA).addr();
    let end = (&raw const SECONDARY_DATA.cores[cpu.index()]).addr() + size_of::<Core>();
    // SAFETY: part of the image, and mapped.
    unsafe { cache::clean_poc(at, end) };
}

/// Prepares everything for core `mpidr` to start as `cpu` on `stack`, and says where
/// it has to be sent to. Boot CPU, after `init`.
///
/// # Panics
/// The number was sent off before.
///
/// # Safety
/// `stack` is the top of a mapped stack that nobody else uses, until [`take_back`] or, where
/// the core is sent off, for good.
pub unsafe fn prepare(cpu: CpuId, mpidr: u64, stack: VirtAddr) -> PhysAddr {
    assert!(OFFER.of(cpu).send(), "CPU {}: sent off before", cpu.index());
    AFFINITY.of(cpu).store(mpidr, Ordering::Relaxed);
    let core = &SECONDARY_DATA.cores[cpu.index()];
    core.stack.store(stack.get() as u64, Ordering::Relaxed);
    core.mpidr.store(mpidr, Ordering::Release);
    SECONDARY_DATA.count.fetch_max(cpu.index() as u64 + 1, Ordering::Relaxed);
    clean_data(cpu);
    image::phys(VirtAddr::from_ptr(&raw const secondary_entry))
}

/// Resets CPU `cpu` after its start failed and [`prepare`]'s offer reached no core. The number
/// and the stack are free again. Called by the boot CPU.
///
/// # Safety
/// No core was sent off.
pub unsafe fn take_back(cpu: CpuId) {
    SECONDARY_DATA.cores[cpu.index()].mpidr.store(NOBODY, Ordering::Relaxed);
    clean_data(cpu);
    OFFER.of(cpu).take_back();
}

/// Waits up to five seconds for the core that was sent off as `cpu` (Linux: __cpu_up), and
/// then withdraws the offer. One that has come by then is waited for.
///
/// # Errors
/// The core is not up, and will not be.
pub(crate) fn wait_up(cpu: CpuId) -> Result<(), NotUp> {
    let own = &OFFER.of(cpu);
    let limit = super::cpu::ticks().saturating_add(super::cpu::timeout(START_SECONDS));
    loop {
        match own.progress() {
            Progress::Sent if super::cpu::ticks() > limit => {
                if withdraw(cpu) {
                    return Err(NotUp::Late);
                }
            }
            Progress::Up => return Ok(()),
            Progress::Lacks(index) => {
                return Err(NotUp::Lacks(super::features::requirement_name(index)));
            }
            _ => super::cpu::relax(),
        }
    }
}

/// Seconds that the boot CPU waits for a core.
const START_SECONDS: u64 = 5;

/// Withdraws the offer to the core of `cpu`. Returns true if the core had not come by then.
fn withdraw(cpu: CpuId) -> bool {
    let withdrawn = OFFER.of(cpu).withdraw();
    if withdrawn {
        // A core that has not looked yet need not turn its MMU on for nothing.
        SECONDARY_DATA.cores[cpu.index()].mpidr.store(NOBODY, Ordering::Relaxed);
        clean_data(cpu);
    }
    withdrawn
}

/// Takes the number that this core was sent off with; called first on a new core. Returns false
/// if the boot CPU has withdrawn it: the core must park, and may touch nothing of the kernel's.
#[must_use]
pub(crate) fn claim(cpu: CpuId) -> bool {
    OFFER.of(cpu).claim()
}

/// Drops the identity map, and sets up features and errata workarounds. Called on the new core
/// before its first interrupt.
///
/// Does not return on a core that lacks what the kernel uses: it parks.
pub(crate) fn init_cpu(cpu: CpuId) {
    paging::drop_identity_map();
    if let Err(lacking) = super::features::check_cpu() {
        OFFER.of(cpu).lacks(lacking);
        super::cpu::park();
    }
    super::features::init_cpu();
}

/// Reports to the boot CPU that the calling core is up.
pub(crate) fn came_up(cpu: CpuId) {
    ONLINE.set(cpu, Ordering::AcqRel);
    OFFER.of(cpu).came_up();
}

/// Writes the entry into a spin table's release address and wakes who waits there.
///
/// # Safety
/// `release` is the mapped address of the core's `cpu-release-addr`.
pub unsafe fn release_spin_table(release: VirtAddr, entry: PhysAddr) {
    let at = release.get();
    // SAFETY: as the caller says. The core reads it with its caches off.
    unsafe {
        core::ptr::with_exposed_provenance_mut::<u64>(at).write_volatile(entry.get());
        cache::clean_poc(at, at + 8);
        asm!("sev", options(nostack, preserves_flags));
    }
}
