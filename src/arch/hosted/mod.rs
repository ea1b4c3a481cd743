//! The machine of `arch`'s interface, on an ordinary process.
//!
//! A [`Machine`] owns an arena of host memory that stands for RAM, the array of
//! frame descriptors for it, one instance of every [`MachineLocal`], and an MMU
//! that misbehaves as far as the architecture permits. Threads are its CPUs. Any
//! number of machines live side by side, so tests run in parallel.
//!
//! Everything obtained through the interface (addresses, descriptors, machine
//! locals) is meant for the machine's closure. What escapes it can still be read, and an allocator
//! that is asked for it elsewhere panics: see [`Machine::run`].

pub mod cache;
pub mod cpu;
pub mod irq;
mod machine;
pub mod mmu;
pub mod mmu_context;
#[cfg(test)]
pub mod quiet;
pub(in crate::arch) mod uaccess;

pub(crate) use machine::is_cpu;
pub use machine::{Machine, MachineLocal};

use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use core::cell::Cell;

/// Offset of the linear map: linear-map address minus physical address, wrapping.
#[must_use]
pub fn page_offset() -> usize {
    machine::current().page_offset()
}

/// The linear-map address of a byte of RAM.
#[must_use]
pub fn phys_to_virt(pa: PhysAddr) -> VirtAddr {
    VirtAddr::new((pa.get() as usize).wrapping_add(page_offset()))
}

/// The physical address behind a linear-map address.
#[must_use]
pub fn virt_to_phys(va: VirtAddr) -> PhysAddr {
    PhysAddr::new(va.get().wrapping_sub(page_offset()) as u64)
}

/// An address of the page table at `pa` that is not in the linear map.
#[must_use]
pub(crate) fn open_table_window(pa: PhysAddr) -> VirtAddr {
    phys_to_virt(pa)
}

/// Ends what [`open_table_window`] began.
pub(crate) fn close_table_window() {}

/// The address at which the descriptor of frame 0 would lie; wraps.
#[must_use]
pub fn vmemmap_base() -> usize {
    machine::current().vmemmap_base()
}

/// Checks that the frame at `pa` is one of the machine that the calling thread is a CPU of, and
/// not of another that the thread was in before.
///
/// # Panics
/// Where it is not.
#[inline]
pub(crate) fn check_frame(pa: PhysAddr) {
    assert!(machine::current().has_descriptor(pa), "the frame at {pa} is of another machine");
}

/// Nowhere in a machine's memory: its threads' stacks are the host's.
#[must_use]
pub fn stack_pointer() -> VirtAddr {
    VirtAddr::new(0)
}

std::thread_local! {
    static STACK: Cell<&'static [usize]> = const { Cell::new(&[]) };
}

/// Lets this CPU say that it was called from `entries`, the innermost first: an ordinary
/// process keeps no return addresses that could be followed.
pub fn set_stack_trace(entries: &'static [usize]) {
    STACK.set(entries);
}

/// Copies the entries that [`set_stack_trace`] set, as many as fit, and returns their number.
#[must_use]
pub fn save_stack_trace(entries: &mut [usize]) -> usize {
    let pairs = entries.iter_mut().zip(STACK.get());
    pairs.map(|(entry, &at)| *entry = at).count()
}

/// Returns true: on a hosted machine every address of its RAM can be read.
#[must_use]
pub fn is_mapped(_: VirtAddr, _: &super::IrqMasked) -> bool {
    true
}

/// Branches of static keys ask their key here: there is nothing to patch.
pub(in crate::arch) fn jump_label_update(_: &'static super::jump_label::StaticKey, _: bool) {}

/// Returns `None`: on a host the language alone decides, and it does not allow reading a word of
/// which others may be writing parts.
///
/// # Safety
/// `at` is a multiple of 8 in memory that may be read.
#[inline(always)]
#[must_use]
pub unsafe fn read_parts(_at: *const u64) -> Option<u64> {
    None
}

/// The word at `at`, which may be padding of a value, or may never have been written: the
/// language gives such bytes no value, and the CPU does. `None` where that can't be had, as
/// under Miri.
///
/// # Safety
/// `at` is a multiple of 8 in memory that nobody writes meanwhile.
#[inline]
#[must_use]
pub unsafe fn read_undefined(at: *const u64) -> Option<u64> {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let word;
        // SAFETY: as the caller says.
        unsafe {
            core::arch::asm!("mov {}, [{}]", out(reg) word, in(reg) at,
                options(nostack, preserves_flags, readonly));
        }
        Some(word)
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    {
        let word;
        // SAFETY: as the caller says.
        unsafe {
            core::arch::asm!("ldr {}, [{}]", out(reg) word, in(reg) at,
                options(nostack, preserves_flags, readonly));
        }
        Some(word)
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    {
        let _ = at;
        None
    }
}

/// Fills the frame at `pa` with zeros.
///
/// # Safety
/// The frame is RAM of this machine and nobody else uses it.
pub unsafe fn clear_page(pa: PhysAddr) {
    let ptr = core::ptr::with_exposed_provenance_mut::<u8>(phys_to_virt(pa).get());
    // SAFETY: the caller owns the frame, which lies in the arena.
    unsafe { ptr.write_bytes(0, PAGE_SIZE) }
}

/// Copies bytes from `from` on, as many as `to` has, each as it was or as it is while others
/// write it. Returns true: the machine's RAM is always mapped.
///
/// # Safety
/// They are RAM.
#[must_use]
pub unsafe fn copy_from_kernel_nofault(to: &mut [u8], from: VirtAddr) -> bool {
    use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
    for (n, byte) in to.iter_mut().enumerate() {
        let at = std::ptr::with_exposed_provenance::<AtomicU8>(from.get() + n);
        // SAFETY: a byte of RAM, as the caller says.
        *byte = unsafe { &*at }.load(Relaxed);
    }
    true
}

/// Returns true if all of `range` is RAM of this machine, in one piece.
#[must_use]
pub fn has_ram(range: crate::addr::PhysRange) -> bool {
    machine::current().ram().iter().any(|ram| ram.contains_range(range))
}
