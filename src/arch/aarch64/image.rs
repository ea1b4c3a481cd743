//! Parts of the kernel image: the linker's symbols as typed ranges.

use crate::addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use crate::arch::layout;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

unsafe extern "C" {
    static _text: u8;
    static _etext: u8;
    static _erodata: u8;
    static __per_cpu_start: u8;
    static __per_cpu_end: u8;
    static _edata: u8;
    static _boot_tables: u8;
    static _boot_tables_end: u8;
    static _boot_stack_guard: u8;
    static _boot_stack: u8;
    static _boot_stack_top: u8;
    static _emergency_stack_guard: u8;
    static _emergency_stack: u8;
    static _emergency_stack_top: u8;
    static _end: u8;
}

macro_rules! symbol {
    ($name:ident) => {
        VirtAddr::new((&raw const $name).addr())
    };
}

/// Physical address of `_text`, set by [`init`].
static PHYS: AtomicU64 = AtomicU64::new(0);

/// Notes where the image was loaded. Once, first thing in the high half.
pub(super) fn init(phys: PhysAddr) {
    PHYS.store(phys.get(), Relaxed);
}

/// The physical address behind an address in the image.
#[must_use]
pub fn phys(va: VirtAddr) -> PhysAddr {
    assert!(layout::KIMAGE.contains(va), "{va} is not in the kernel image");
    PhysAddr::new(PHYS.load(Relaxed)) + (va - layout::KIMAGE.start()) as u64
}

/// Instructions: mapped read-only and executable.
#[must_use]
pub fn text() -> VirtRange {
    VirtRange::new(symbol!(_text), symbol!(_etext))
}

/// Constants: mapped read-only.
#[must_use]
pub fn rodata() -> VirtRange {
    VirtRange::new(symbol!(_etext), symbol!(_erodata))
}

/// Data, boot tables, stacks and .bss: mapped read-write.
#[must_use]
pub fn data() -> VirtRange {
    VirtRange::new(symbol!(_erodata), symbol!(_end))
}

/// The boot CPU's unit of per-CPU statics: whole pages.
#[must_use]
pub fn percpu() -> VirtRange {
    VirtRange::new(symbol!(__per_cpu_start), symbol!(__per_cpu_end))
}

/// The page tables of the first mappings, given back when the final ones are live.
#[must_use]
pub fn boot_tables() -> VirtRange {
    VirtRange::new(symbol!(_boot_tables), symbol!(_boot_tables_end))
}

/// The page below the boot stack, mapped nowhere in the end.
#[must_use]
pub fn boot_stack_guard() -> VirtRange {
    VirtRange::from_size(symbol!(_boot_stack_guard), crate::addr::PAGE_SIZE)
}

/// The boot CPU's stack.
#[must_use]
pub fn boot_stack() -> VirtRange {
    VirtRange::new(symbol!(_boot_stack), symbol!(_boot_stack_top))
}

/// The page below the boot CPU's emergency stack, mapped nowhere.
#[must_use]
pub fn emergency_stack_guard() -> VirtRange {
    VirtRange::from_size(symbol!(_emergency_stack_guard), crate::addr::PAGE_SIZE)
}

/// The boot CPU's emergency stack.
#[must_use]
pub fn emergency_stack() -> VirtRange {
    VirtRange::new(symbol!(_emergency_stack), symbol!(_emergency_stack_top))
}

/// The symbol table that `scripts/mkimage` puts behind the image, up to the
/// image_size that it writes into the header; empty where there is none.
#[must_use]
pub fn symbol_table() -> VirtRange {
    // SAFETY: the header is 64 bytes at _text; image_size is its u64 at 16.
    let size = unsafe { (&raw const _text).add(16).cast::<u64>().read() };
    VirtRange::new(symbol!(_end), symbol!(_text).saturating_add(size as usize))
}

/// All of the image in physical memory, the symbol table too.
#[must_use]
pub fn all_phys() -> PhysRange {
    let start = phys(text().start());
    let bytes = symbol_table().end() - text().start();
    PhysRange::from_size(start, bytes as u64)
}

/// The bytes of [`symbol_table`].
#[must_use]
pub fn symbol_table_bytes() -> &'static [u8] {
    let range = symbol_table();
    let ptr = core::ptr::with_exposed_provenance::<u8>(range.start().get());
    // SAFETY: part of the image by its header; mapped read-only by the first and the
    // final tables, and never written.
    unsafe { core::slice::from_raw_parts(ptr, range.len()) }
}
