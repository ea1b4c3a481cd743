//! Bringing up the other cores (Linux: arch/arm64/kernel/smp.c).
//!
//! One at a time: the boot CPU writes what the core needs into `SECONDARY_DATA`,
//! cleans it to memory, since the core reads it with its caches off, and has PSCI or
//! a spin table send the core to `secondary_entry`. The core turns its MMU on with an
//! identity map of the `.idmap.text` pages alone, says that it is there, and goes on.

use super::early::BootTable;
use super::features::id_register;
use super::{cache, image, mmu, paging};
use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::arch::pgtable::{Descriptor, KernelAttrs, Level, MAIR_EL1};
use crate::arch::{CpuId, NR_CPUS};
use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What head.S reads on a starting core, in this order.
#[repr(C, align(256))]
struct SecondaryData {
    mpidr: UnsafeCell<u64>,
    mair: UnsafeCell<u64>,
    tcr: UnsafeCell<u64>,
    sctlr: UnsafeCell<u64>,
    ttbr0: UnsafeCell<u64>,
    ttbr1: UnsafeCell<u64>,
    stack: UnsafeCell<u64>,
    cpu: UnsafeCell<u64>,
}

// SAFETY: the boot CPU writes it while no other core may read it: one is started at a
// time, and the next not before it has said that it is there.
unsafe impl Sync for SecondaryData {}

#[unsafe(no_mangle)]
static SECONDARY_DATA: SecondaryData = SecondaryData {
    mpidr: UnsafeCell::new(u64::MAX),
    mair: UnsafeCell::new(0),
    tcr: UnsafeCell::new(0),
    sctlr: UnsafeCell::new(0),
    ttbr0: UnsafeCell::new(0),
    ttbr1: UnsafeCell::new(0),
    stack: UnsafeCell::new(0),
    cpu: UnsafeCell::new(0),
};

/// The identity map of `.idmap.text`: PGD, PUD, PMD, PTE.
static IDMAP: [BootTable; 4] = [const { BootTable::new() }; 4];

/// A bit for each CPU that is up.
static ONLINE: AtomicU32 = AtomicU32::new(1);
/// The affinity of each CPU that is up.
static AFFINITY: [AtomicU64; NR_CPUS] = [const { AtomicU64::new(0) }; NR_CPUS];

unsafe extern "C" {
    static secondary_entry: u8;
    static _text: u8;
    static _idmap_text_end: u8;
}

/// The affinity fields of MPIDR_EL1: what a device tree's cpu node has in `reg`.
pub const MPIDR_AFFINITY: u64 = 0xff_00ff_ffff;

/// This core's affinity.
#[must_use]
pub fn mpidr() -> u64 {
    id_register!("mpidr_el1") & MPIDR_AFFINITY
}

/// The CPUs that are up, a bit each.
#[must_use]
pub fn online_mask() -> u32 {
    ONLINE.load(Ordering::Acquire)
}

/// The CPUs that are up.
pub fn online() -> impl Iterator<Item = CpuId> {
    let mask = online_mask();
    (0..NR_CPUS).filter(move |&n| mask >> n & 1 != 0).filter_map(CpuId::new)
}

/// The affinity of a CPU that is up.
#[must_use]
pub fn affinity(cpu: CpuId) -> u64 {
    AFFINITY[cpu.index()].load(Ordering::Relaxed)
}

/// Builds the identity map for starting cores. Boot CPU, once, on the final tables.
pub(crate) fn init() {
    AFFINITY[0].store(mpidr(), Ordering::Relaxed);
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
}

/// Prepares everything for core `mpidr` to start as `cpu` on `stack`, and says where
/// it has to be sent to.
///
/// # Safety
/// Boot CPU only, after [`init`]; no other core is starting; `stack` is the top of a
/// mapped stack that nobody else uses.
pub unsafe fn prepare(cpu: CpuId, mpidr: u64, stack: VirtAddr) -> PhysAddr {
    let data = &SECONDARY_DATA;
    let identity = image::phys(VirtAddr::from_ptr(&raw const IDMAP[0]));
    // The upper half is walked, the lower one for the identity map.
    let tcr = paging::tcr() & !paging::TCR_EPD0;
    // SAFETY: no core reads it now, as the caller says.
    unsafe {
        data.mair.get().write(MAIR_EL1);
        data.tcr.get().write(tcr);
        data.sctlr.get().write(paging::sctlr());
        data.ttbr0.get().write(identity.get());
        data.ttbr1.get().write(paging::ttbr1());
        data.stack.get().write(stack.get() as u64);
        data.cpu.get().write(cpu.index() as u64);
        data.mpidr.get().write(mpidr);
    }
    AFFINITY[cpu.index()].store(mpidr, Ordering::Relaxed);
    let at = (&raw const SECONDARY_DATA).addr();
    // SAFETY: part of the image, and mapped.
    unsafe { cache::clean_poc(at, at + size_of::<SecondaryData>()) };
    image::phys(VirtAddr::from_ptr(&raw const secondary_entry))
}

/// Takes the offer to core `mpidr` back: should it come after all, it parks.
pub(crate) fn withdraw() {
    // SAFETY: a core that reads it meanwhile compares one word.
    unsafe { SECONDARY_DATA.mpidr.get().write_volatile(u64::MAX) };
    let at = (&raw const SECONDARY_DATA).addr();
    // SAFETY: part of the image, and mapped.
    unsafe { cache::clean_poc(at, at + size_of::<SecondaryData>()) };
}

/// Waits up to a second for `cpu` to come up; whether it did.
#[must_use]
pub fn wait_online(cpu: CpuId) -> bool {
    let limit = super::cpu::ticks() + super::cpu::tick_frequency().max(1);
    while online_mask() >> cpu.index() & 1 == 0 {
        if super::cpu::ticks() > limit {
            return false;
        }
        super::cpu::relax();
    }
    true
}

/// On the new core, before its first interrupt: the identity map goes; features and
/// errata are seen to.
pub(crate) fn init_cpu() {
    paging::drop_identity_map();
    super::features::init_cpu();
}

/// On the new core: the boot CPU learns that it is there.
pub(crate) fn came_up(cpu: CpuId) {
    ONLINE.fetch_or(1 << cpu.index(), Ordering::AcqRel);
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
