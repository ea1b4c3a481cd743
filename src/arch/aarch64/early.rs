//! Rust with the MMU off: builds the first tables and turns the MMU on.
//!
//! All data accesses are Device-nGnRnE here. Exclusives may hang, unaligned
//! accesses fault, and pointers stored in statics name addresses that are mapped
//! nowhere yet. So this file uses plain integers and symbols relative to the
//! program counter: no atomics, no locks, no log, no formatting, nothing that
//! panics. It is the one place besides `pgtable` that writes table descriptors,
//! into tables that no walker has seen.
//!
//! The first tables, all pages in the image's `.boot.tables`:
//! - `TTBR1`: the image at `KIMAGE`, text executable, text and constants read-only,
//!   the rest writable; and the fixmap.
//! - `TTBR0`: the image at its physical address, through the same PTE tables, for
//!   the instructions around the switch.

use super::boot_table::BootTable;
use super::cache;
use super::errata;
use super::fixmap;
use super::sysreg::{dsb_nsh, ic_iallu, isb, tlbi_vmalle1};
use crate::addr::{PAGE_SIZE, PMD_SIZE, PhysAddr, VirtAddr};
use crate::arch::layout;
use crate::arch::pgtable::{self, Descriptor, KernelAttrs, Level, tcr_el1};
use aarch64_cpu::registers::{
    CurrentEL, MAIR_EL1, Readable, SCTLR_EL1, TCR_EL1, TTBR0_EL1, TTBR1_EL1, Writeable,
};

/// Tables for images up to 32 MiB in whatever position.
const POOL_TABLES: usize = 30;

#[unsafe(link_section = ".boot.tables")]
static POOL: [BootTable; POOL_TABLES] = [const { BootTable::new() }; POOL_TABLES];

unsafe extern "C" {
    static _text: u8;
    static _etext: u8;
    static _erodata: u8;
    static _boot_tables: u8;
    static _boot_stack_guard: u8;
    static _boot_stack_top: u8;
    static _emergency_stack_guard: u8;
}

/// The physical address of a symbol, while the program counter is physical.
macro_rules! here {
    ($symbol:path) => {
        (&raw const $symbol).addr()
    };
}

/// Tables handed out one after the other.
struct Pool {
    next: usize,
}

impl Pool {
    #[inline(always)]
    fn take(&mut self) -> usize {
        if self.next == POOL_TABLES {
            stop(c"the image is too large for the boot page tables");
        }
        let table = here!(POOL) + self.next * PAGE_SIZE;
        self.next += 1;
        clear(table);
        table
    }
}

/// Fills the table at physical address `table` with invalid descriptors.
#[inline(always)]
fn clear(table: usize) {
    let mut at = table;
    while at < table + PAGE_SIZE {
        // SAFETY: one of the boot tables or fixmap tables; nobody else uses it yet.
        unsafe { core::arch::asm!("stp xzr, xzr, [{}]", in(reg) at, options(nostack)) };
        at += 16;
    }
}

/// Writes a descriptor of the table at physical address `table`.
#[inline(always)]
fn write(table: usize, index: usize, descriptor: Descriptor) {
    // SAFETY: one of the boot tables or fixmap tables, and `index` is below 512; no
    // walker and nobody else uses it yet.
    unsafe { ((table + index * 8) as *mut u64).write_volatile(descriptor.bits()) }
}

/// The table that entry `index` of `table` points to, made if there is none.
#[inline(always)]
fn below(pool: &mut Pool, table: usize, index: usize) -> usize {
    // SAFETY: as in `write`.
    let entry = unsafe { ((table + index * 8) as *const u64).read_volatile() };
    if entry & 1 != 0 {
        return entry as usize & 0x0000_ffff_ffff_f000;
    }
    let next = pool.take();
    write(table, index, Descriptor::table(PhysAddr::new(next as u64)));
    next
}

/// Called by head.S with the MMU off; returns with it on, in the identity map.
///
/// # Safety
/// For head.S alone, once.
#[unsafe(no_mangle)]
unsafe extern "C" fn early_map(image: usize) {
    let id = errata::id_registers();
    if !id.has_4k_granule() {
        stop(c"this CPU has no 4 KiB granule");
    }
    if !image.is_multiple_of(PMD_SIZE) {
        stop(c"the image is not at a multiple of 2 MiB");
    }

    // What a cache may hold of these pages is stale: we write past it.
    let (keep, top) = (here!(_boot_tables), here!(_boot_stack_top));
    // SAFETY: pages of the image that nobody wrote through a cache: they are not
    // part of the file, and the boot protocol has the image's memory cleaned.
    unsafe { cache::invalidate_poc(keep, top) };

    let tables_end = fixmap::tables_end();
    let mut fixmap_table = tables_end - fixmap::TABLES_BYTES;
    while fixmap_table < tables_end {
        clear(fixmap_table);
        fixmap_table += PAGE_SIZE;
    }

    let mut pool = Pool { next: 0 };
    let kernel = pool.take();
    let identity = pool.take();

    // One run of PTE tables for the image, linked into both.
    // SAFETY: image_size in the header, as scripts/mkimage wrote it.
    let bytes = unsafe { ((image + 16) as *const u64).read_volatile() } as usize;
    let (etext, erodata) = (here!(_etext) - image, here!(_erodata) - image);
    let guard = here!(_boot_stack_guard) - image;
    let emergency_guard = here!(_emergency_stack_guard) - image;
    let mut offset = 0;
    while offset < bytes {
        let pte = pool.take();
        let mut page = 0;
        while page < 512 && offset + page * PAGE_SIZE < bytes {
            let from = offset + page * PAGE_SIZE;
            let attrs = if from < etext {
                KernelAttrs::KERNEL_ROX
            } else if from < erodata {
                KernelAttrs::KERNEL_RO
            } else {
                KernelAttrs::KERNEL
            };
            let pa = PhysAddr::new((image + from) as u64);
            if from != guard && from != emergency_guard {
                write(pte, page, Descriptor::leaf(Level::Pte, pa, attrs, false));
            }
            page += 1;
        }
        link(&mut pool, kernel, layout::KIMAGE.start().get() + offset, pte);
        link(&mut pool, identity, image + offset, pte);
        offset += Level::Pte.table_span();
    }
    fixmap::link_first_tables(|table, index, next| {
        let table = if table == 0 { kernel } else { table };
        write(table, index, Descriptor::table(PhysAddr::new(next as u64)));
    });

    // SAFETY: again: a line that was fetched while the tables were written is stale.
    unsafe { cache::invalidate_poc(keep, tables_end) };

    // Both halves are mapped as the next instructions need them. No access to memory is moved over
    // the barriers, so the tables are written before, and what follows comes with the MMU on.
    MAIR_EL1.set(pgtable::MAIR_EL1);
    TCR_EL1.set(tcr_el1(&id, false));
    TTBR0_EL1.set(identity as u64);
    TTBR1_EL1.set(kernel as u64);
    isb();
    tlbi_vmalle1();
    dsb_nsh();
    ic_iallu();
    dsb_nsh();
    isb();
    SCTLR_EL1.set(SCTLR_MMU_ON);
    isb();
}

/// SCTLR_EL1 with RES1 bits, SPAN until PAN is known to be there, stack alignment checked, MMU and
/// caches on.
const SCTLR_MMU_ON: u64 = 0x30d0_0800
    | SCTLR_EL1::M::Enable.value
    | SCTLR_EL1::C::Cacheable.value
    | SCTLR_EL1::SA::Enable.value
    | SCTLR_EL1::I::Cacheable.value;

/// Links a PTE table below `root` for the 2 MiB at `va`.
#[inline(always)]
fn link(pool: &mut Pool, root: usize, va: usize, pte: usize) {
    let va = VirtAddr::new(va);
    let pud = below(pool, root, Level::Pgd.index(va));
    let pmd = below(pool, pud, Level::Pud.index(va));
    write(pmd, Level::Pmd.index(va), Descriptor::table(PhysAddr::new(pte as u64)));
}

unsafe extern "C" {
    /// `hlt #0xf000` in vectors.S.
    fn early_semihosting(operation: u64, parameter: *const u8) -> u64;
    /// Waits for ever.
    fn early_park() -> !;
}

const SYS_WRITE0: u64 = 0x04;
const SYS_EXIT_EXTENDED: u64 = 0x20;
const ADP_STOPPED_APPLICATION_EXIT: u64 = 0x20026;

fn put(text: &core::ffi::CStr) {
    // SAFETY: SYS_WRITE0 takes a pointer to a string that ends with a zero.
    unsafe { early_semihosting(SYS_WRITE0, text.as_ptr().cast()) };
}

fn put_hex(value: u64) {
    let mut text = [0u8; 19];
    text[0] = b'0';
    text[1] = b'x';
    let mut i = 0;
    while i < 16 {
        let digit = (value >> (60 - 4 * i)) as u8 & 0xf;
        text[2 + i] = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        i += 1;
    }
    // SAFETY: as above; the last byte is zero.
    unsafe { early_semihosting(SYS_WRITE0, text.as_ptr()) };
}

fn exit() -> ! {
    let block = [ADP_STOPPED_APPLICATION_EXIT, 101];
    // SAFETY: SYS_EXIT_EXTENDED takes two words; parking is always right.
    unsafe {
        early_semihosting(SYS_EXIT_EXTENDED, block.as_ptr().cast());
        early_park()
    }
}

/// Ends the boot with a message, before there is a console.
fn stop(why: &core::ffi::CStr) -> ! {
    put(c"granule: cannot boot: ");
    put(why);
    put(c"\n");
    exit()
}

/// Says what is known of a fault that came before anybody could report it better.
pub(super) fn report_fault(esr: u64, elr: u64, far: u64, vector: u64, lr: u64) -> ! {
    put(c"granule: exception in early boot: vector ");
    put_hex(vector);
    put(c"\n  ESR ");
    put_hex(esr);
    put(c" ELR ");
    put_hex(elr);
    put(c" FAR ");
    put_hex(far);
    put(c" LR ");
    put_hex(lr);
    put(c"\n  image at ");
    put_hex(here!(_text) as u64);
    put(c", CurrentEL ");
    put_hex(CurrentEL.read(CurrentEL::EL));
    put(c"\n");
    exit()
}

/// vectors.S comes here with a fault before the kernel's own vectors are in place.
///
/// # Safety
/// For vectors.S alone.
#[unsafe(no_mangle)]
unsafe extern "C" fn early_fault(esr: u64, elr: u64, far: u64, vector: u64, lr: u64) -> ! {
    report_fault(esr, elr, far, vector, lr)
}
