//! The machine of `arch`'s interface, on bare metal.

pub mod backtrace;
mod bbm_window;
mod boot_table;
pub mod cache;
pub mod clock;
pub mod cpu;
pub(crate) mod early;
pub mod el0_entry;
pub mod errata;
pub mod exception;
pub mod extable;
pub mod features;
pub mod fixmap;
pub mod fpsimd;
pub mod image;
pub mod irq;
pub mod jump_label;
pub mod mmu;
pub mod mmu_context;
mod offer;
pub(crate) mod paging;
pub(crate) mod patching;
pub mod percpu;
pub mod pmu;
pub(crate) mod probe;
pub(crate) mod rndr;
pub(crate) mod smccc;
pub mod smp;
pub mod switch;
pub(crate) mod sysreg;
pub mod thread;
pub(crate) mod timer;
pub mod tls;
pub mod uaccess;

use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::arch::lines::{Line, Lines};
use core::ops::Deref;

core::arch::global_asm!(include_str!("../../../boot/head.S"));
core::arch::global_asm!(include_str!("el0_entry.S"), include_str!("vectors.S"));

/// First thing in the high half: notes where the image lies and what the CPU can do.
pub(crate) fn init(image: PhysAddr) {
    image::init(image);
    clock::init();
    features::init();
}

/// Offset of the linear map: linear-map address minus physical address.
#[inline(always)]
#[must_use]
pub const fn page_offset() -> usize {
    super::layout::LINEAR.start().get()
}

/// The linear-map address of a byte of RAM.
#[inline(always)]
#[must_use]
pub const fn phys_to_virt(pa: PhysAddr) -> VirtAddr {
    VirtAddr::new((pa.get() as usize).wrapping_add(page_offset()))
}

/// The physical address behind a linear-map address.
#[inline(always)]
#[must_use]
pub const fn virt_to_phys(va: VirtAddr) -> PhysAddr {
    PhysAddr::new(va.get().wrapping_sub(page_offset()) as u64)
}

/// An address of the page table at `pa` that is not in the linear map, for when that can't
/// be used; until [`close_table_window`]. One at a time.
#[cold]
pub(crate) fn open_table_window(pa: PhysAddr) -> VirtAddr {
    fixmap::open_table(pa)
}

/// Ends what [`open_table_window`] began.
#[cold]
pub(crate) fn close_table_window() {
    fixmap::close_table();
}

/// The address at which the descriptor of frame 0 would lie.
#[inline(always)]
#[must_use]
pub const fn vmemmap_base() -> usize {
    super::layout::VMEMMAP.start().get()
}

/// The word at `at`, of which others may be writing parts: the language says nothing of an
/// atomic load of all, and the CPU gives each part as it was or as it is (Arm ARM B2.2.1).
/// The load is one that acquires: what another CPU did before it released a part is earlier
/// than what follows. `None` where that can't be had.
///
/// # Safety
/// `at` is a multiple of 8 in cacheable memory that may be read.
#[inline(always)]
#[must_use]
pub unsafe fn read_parts(at: *const u64) -> Option<u64> {
    let word;
    // SAFETY: as the caller says. Not `readonly`, so that nothing which follows comes before it.
    unsafe {
        core::arch::asm!("ldar {}, [{}]", out(reg) word, in(reg) at,
            options(nostack, preserves_flags));
    }
    Some(word)
}

/// The word at `at`, which may be padding of a value, or may never have been written: the
/// language gives such bytes no value, and the CPU does. `None` where that can't be had.
///
/// # Safety
/// `at` is a multiple of 8 in memory that nobody writes meanwhile.
#[inline]
#[must_use]
pub unsafe fn read_undefined(at: *const u64) -> Option<u64> {
    let word;
    // SAFETY: as the caller says.
    unsafe {
        core::arch::asm!("ldr {}, [{}]", out(reg) word, in(reg) at,
            options(nostack, preserves_flags, readonly));
    }
    Some(word)
}

/// A page of zeros that nobody writes to (Linux: empty_zero_page).
#[repr(align(4096))]
struct ZeroPage([u8; PAGE_SIZE]);

static EMPTY_ZERO_PAGE: ZeroPage = ZeroPage([0; PAGE_SIZE]);

/// Address of a page of the image that holds zeros.
#[must_use]
pub fn zero_page() -> PhysAddr {
    image::phys(VirtAddr::from_ptr(&raw const EMPTY_ZERO_PAGE.0))
}

/// Fills the frame at `pa` with zeros, a cache block at a time where DC ZVA may be used.
///
/// # Safety
/// The frame is RAM in the linear map and nobody else uses it.
pub unsafe fn clear_page(pa: PhysAddr) {
    let start = phys_to_virt(pa).get();
    let block = features::zva_block();
    if block == 0 {
        // SAFETY: the caller owns the frame.
        unsafe { core::ptr::with_exposed_provenance_mut::<u8>(start).write_bytes(0, PAGE_SIZE) };
        return;
    }
    if block == sysreg::ZVA_BLOCK {
        // SAFETY: the caller owns the frame.
        return unsafe { sysreg::dc_zva_page(start) };
    }
    for Line { at, .. } in Lines::of(start, start + PAGE_SIZE, block) {
        // SAFETY: the caller owns the frame; a block is a power of two of at most 2 KiB.
        unsafe { sysreg::dc_zva(at) };
    }
}

/// A static that exists once per machine, and this is the machine.
pub struct MachineLocal<T: 'static> {
    value: T,
}

impl<T> MachineLocal<T> {
    /// Constructor for `machine_local!` only.
    #[doc(hidden)]
    pub const fn new(value: T) -> Self {
        Self { value }
    }

    /// Returns the value; in the initialiser of another static too.
    pub const fn value(&'static self) -> &'static T {
        &self.value
    }
}

/// The address of a `machine_local!` static is that of its value: `static_branch_unlikely!`
/// names the one, and a key knows itself by the other.
const _: () =
    assert!(core::mem::offset_of!(MachineLocal<super::jump_label::StaticKey>, value) == 0);

impl<T> Deref for MachineLocal<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.value
    }
}
