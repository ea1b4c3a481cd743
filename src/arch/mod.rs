//! Interface to the CPU and the machine, small and the same for both implementations.
//!
//! The rest of the kernel sees the names below and nothing else of the machine.
//! `aarch64/` provides them on bare metal; `hosted/` provides the same names on an
//! ordinary process, so that everything above runs natively under tests:
//!
//! | name | what it is |
//! | --- | --- |
//! | [`irq::with_masked`] | the only way to an [`IrqMasked`], the proof that per-CPU access and locks ask for |
//! | [`cpu`] | which CPU this is, how to wait politely |
//! | [`save_stack_trace`] | who called whom |
//! | [`phys_to_virt`], [`virt_to_phys`] | the linear map: the door from physical addresses to bytes |
//! | `open_table_window` | a page table's words, when the linear map can't be used |
//! | [`cache`] | data-cache maintenance, for devices that do not snoop |
//! | [`read_parts`] | a word that others write in parts |
//! | [`read_undefined`] | a word to which the language gives no value |
//! | [`vmemmap_base`] | where the array of frame descriptors lies |
//! | [`is_mapped`] | whether an address can be read |
//! | [`copy_from_kernel_nofault`] | bytes that may not be mapped |
//! | `uaccess` | a user's memory, which nothing else reaches |
//! | [`jump_label`] | branches that cost nothing while they are not taken |
//! | [`MachineLocal`] | a static that exists once per machine |
//! | `mmu_context` | the root of tables of the lower half |
//! | [`mmu`] | barriers, TLB invalidation and descriptor words, for `pgtable` alone |
//!
//! On bare metal alone, for the rooms that run nowhere else (`init`, `drivers`, `monitor`, the
//! switch of `sched`):
//!
//! | name | what it is |
//! | --- | --- |
//! | `percpu` | where each CPU's per-CPU statics lie, for the room `percpu` |
//! | `image`, `features`, `cpu_errata`, `smp` | where the kernel lies, what the CPUs can do, bringing them up |
//! | `exception`, `backtrace`, `extable`, `probe` | faults, and reading what may fault |
//! | `fixmap`, `paging` | mappings of the boot |
//! | `switch` | from one thread's registers to another's |
//! | `el0_entry`, `mmu_context` | running code at EL0, and the tables that it runs on |
//! | `thread`, `fpsimd`, `tls` | registers of EL0 that a switch saves and loads |
//! | `clock`, `timer`, `pmu`, `rndr`, `smccc` | counters, the generic timer, random numbers, firmware calls |
//! | `sysreg` | system registers and instructions that `aarch64-cpu` lacks |
//!
//! `pgtable/` holds what both machines share: the descriptor format and the one
//! place that edits page tables. [`cpumask`] has sets of CPUs. [`asid`] gives address space
//! identifiers to contexts. `esr` decodes the reasons for exceptions, `ex_table` finds the accesses
//! that may fail. [`fault`] is who resolves faults at users' addresses. `errata` is the table of the CPUs' errata, `clocksource` the
//! arithmetic of the clock, `cpufeature` what all cores must have. [`thread_info`] is the part of a
//! task that this room uses.

use core::marker::PhantomData;

#[cfg(target_os = "none")]
mod aarch64;
#[cfg(target_os = "none")]
use aarch64::jump_label::update as jump_label_update;
#[cfg(target_os = "none")]
pub use aarch64::{
    MachineLocal, backtrace::save_stack_trace, backtrace::stack_pointer, cache, clear_page, cpu,
    extable::copy_from_kernel_nofault, irq, mmu, page_offset, phys_to_virt, probe::is_mapped,
    read_parts, read_undefined, virt_to_phys, vmemmap_base, zero_page,
};
#[cfg(target_os = "none")]
pub use aarch64::{
    backtrace, clock, el0_entry, errata as cpu_errata, exception, extable, features, fixmap,
    fpsimd, image, mmu_context, percpu, pmu, smp, switch, thread, tls,
};
#[cfg(target_os = "none")]
pub(crate) use aarch64::{
    close_table_window, init, open_table_window, paging, probe, rndr, smccc, sysreg, timer,
};

#[cfg(not(target_os = "none"))]
pub mod hosted;
#[cfg(not(target_os = "none"))]
use hosted::jump_label_update;
#[cfg(not(target_os = "none"))]
pub use hosted::{
    MachineLocal, cache, clear_page, copy_from_kernel_nofault, cpu, irq, is_mapped, mmu,
    mmu_context, page_offset, phys_to_virt, read_parts, read_undefined, save_stack_trace,
    stack_pointer, virt_to_phys, vmemmap_base,
};
#[cfg(not(target_os = "none"))]
pub(crate) use hosted::{close_table_window, open_table_window};

/// Layout of the kernel's half of the 48-bit address space (TTBR1).
pub mod layout {
    use crate::addr::{VirtAddr, VirtRange};

    const fn range(start: usize, end: usize) -> VirtRange {
        VirtRange::new(VirtAddr::new(start), VirtAddr::new(end))
    }
    /// The linear map: physical address + `PAGE_OFFSET`, for all 16 TiB that a PFN reaches.
    pub const LINEAR: VirtRange = range(0xffff_0000_0000_0000, 0xffff_1000_0000_0000);
    /// The kernel image, wherever in RAM it was loaded.
    pub const KIMAGE: VirtRange = range(0xffff_8000_0000_0000, 0xffff_8000_0100_0000);
    /// Per-CPU statics of the CPUs but the boot CPU, whose lie in the image.
    pub const PERCPU: VirtRange = range(0xffff_8000_0100_0000, 0xffff_8001_0000_0000);
    /// Distance from the per-CPU statics of a CPU to those of the next one, in bytes.
    pub const PERCPU_STRIDE: usize = 0x0100_0000;
    /// Per-CPU variables of the boot CPU that are made at run time, at the end of what the image
    /// may take; those of others are a multiple of [`PERCPU_STRIDE`] behind.
    pub const PERCPU_DYNAMIC: VirtRange = range(0xffff_8000_00f0_0000, 0xffff_8000_0100_0000);
    /// vmalloc, vmap and ioremap.
    pub const VMALLOC: VirtRange = range(0xffff_8001_0000_0000, 0xffff_f000_0000_0000);
    /// The frame descriptors: 32 bytes for each of 2^32 frames.
    /// It starts where the linear map does, divided by 4096 / 32: so a shift and a mask lead
    /// from an address there to its descriptor.
    pub const VMEMMAP: VirtRange = range(0xffff_fe00_0000_0000, 0xffff_fe20_0000_0000);
    /// Compile-time slots for what must be mapped before an allocator is there.
    pub const FIXMAP: VirtRange = range(0xffff_ff80_0000_0000, 0xffff_ff80_0100_0000);
}

pub mod asid;
mod atomic;
pub(crate) mod atomic_fn;
#[cfg(any(target_os = "none", test))]
pub mod clocksource;
#[cfg(any(target_os = "none", test))]
pub mod cpufeature;
pub mod cpumask;
#[cfg(any(target_os = "none", test))]
pub mod errata;
pub mod esr;
#[cfg(any(target_os = "none", test))]
pub mod ex_table;
pub mod fault;
pub mod jump_label;
pub mod lines;
pub mod pgtable;
pub mod thread_info;
pub mod uaccess;

/// Maximum number of CPUs: on bare metal as many as [`layout::PERCPU`] has room for; a hosted
/// machine has this many.
pub const NR_CPUS: usize = if cfg!(target_os = "none") { 256 } else { 8 };

/// The number of a CPU, in the order in which they came up: 0 is the boot CPU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(transparent)]
pub struct CpuId(u8);

impl CpuId {
    /// The boot CPU.
    pub const BOOT: Self = Self(0);

    /// CPU `n`; `None` from [`NR_CPUS`] on.
    #[must_use]
    pub const fn new(n: usize) -> Option<Self> {
        if n < NR_CPUS { Some(Self(n as u8)) } else { None }
    }
    /// Number of the CPU, below [`NR_CPUS`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Proof that interrupts are masked on this CPU for as long as the borrow lives.
///
/// It is handed out by [`irq::with_masked`] alone, as a borrow that ends with the
/// closure, so masks nest by construction: no guard can be dropped out of order
/// and switch interrupts on early. It can't leave its CPU.
pub struct IrqMasked {
    here: PhantomData<*mut ()>,
}

impl IrqMasked {
    /// # Safety
    /// Interrupts are masked on this CPU, and stay so while the value lives.
    pub(in crate::arch) const unsafe fn assume() -> Self {
        Self { here: PhantomData }
    }
}
