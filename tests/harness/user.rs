//! An address space with a few pages that are mapped by hand, for code at EL0.

#![allow(dead_code, reason = "not every image uses all of it")]

use alloc::boxed::Box;
use core::arch::asm;
use core::ptr::{NonNull, with_exposed_provenance_mut};
use granule::addr::{PAGE_SIZE, PhysAddr, UserAddr};
use granule::arch::mmu_context::UserRoot;
use granule::arch::pgtable::MemoryType;
use granule::arch::{cache, mmu, phys_to_virt};
use granule::mm::gfp::Gfp;
use granule::mm::page_alloc::OwnedPage;
use granule::sched::{Mm, MmRef, kthread_unuse_mm, kthread_use_mm};

const BASE: usize = 0x40_0000;
/// The page with code: may be read and executed.
pub const TEXT: UserAddr = at(0);
/// A page that may be read and written.
pub const DATA: UserAddr = at(1);
/// The page behind, too.
pub const MORE: UserAddr = at(2);
/// A page behind that, at which nothing is mapped.
pub const HOLE: UserAddr = at(3);
/// A page that may be read.
pub const RODATA: UserAddr = at(4);
/// A page of the kernel's in the lower half: EL0 has no right to it.
pub const KERNEL: UserAddr = at(5);
/// A page with the code of `TEXT`, with the guarded bit (FEAT_BTI).
pub const GUARDED: UserAddr = at(6);

const fn at(page: usize) -> UserAddr {
    UserAddr::new(BASE + page * PAGE_SIZE).expect("in the lower half")
}

const VALID: u64 = 1;
const PAGE_OR_TABLE: u64 = 1 << 1;
const EL0: u64 = 1 << 6;
const READ_ONLY: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 3 << 8;
const AF: u64 = 1 << 10;
const NG: u64 = 1 << 11;
const GP: u64 = 1 << 50;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;

/// The pages and their tables.
#[repr(C)]
struct Pages {
    mm: Mm,
    tables: [OwnedPage; 4],
    /// The frames at `TEXT`, `DATA`, `MORE`, `RODATA` and `KERNEL`.
    frames: [OwnedPage; 5],
}

/// An address space, which is there for as long as this or a task refers to it.
pub struct UserSpace {
    mm: MmRef,
}

fn page() -> OwnedPage {
    OwnedPage::alloc(Gfp::GFP_KERNEL | Gfp::__GFP_ZERO).expect("a page")
}

fn phys(page: &OwnedPage) -> PhysAddr {
    page.frame().phys()
}

impl UserSpace {
    /// Creates the address space, with `code` at `TEXT`.
    pub fn new(code: &[u8]) -> Self {
        let mut tables = core::array::from_fn(|_| page());
        let mut frames: [_; 5] = core::array::from_fn(|_| page());
        frames[0].bytes_mut()[..code.len()].copy_from_slice(code);
        sync_icache(&frames[0]);
        for (n, index) in [(0, 0), (1, 0), (2, BASE >> 21)] {
            let next = phys(&tables[n + 1]).get();
            write(&mut tables[n], index, next | VALID | PAGE_OR_TABLE);
        }
        let (rw, ro) = (EL0 | UXN, EL0 | READ_ONLY | UXN);
        let last = &mut tables[3];
        map(last, TEXT, &frames[0], EL0 | READ_ONLY);
        map(last, DATA, &frames[1], rw);
        map(last, MORE, &frames[2], rw);
        map(last, RODATA, &frames[3], ro);
        map(last, KERNEL, &frames[4], UXN);
        map(last, GUARDED, &frames[0], EL0 | READ_ONLY | GP);
        mmu::dsb_ishst();
        // SAFETY: these pages are EL0's alone, each with PXN, and stay until `release`, which
        // invalidates first.
        let mm = unsafe { Mm::new(UserRoot::new(phys(&tables[0])), release) };
        let pages = Box::leak(Box::new(Pages { mm, tables, frames }));
        // SAFETY: created just now, in a box that `release` frees.
        Self { mm: unsafe { MmRef::new(NonNull::from(pages).cast()) } }
    }

    fn frame(&self, va: UserAddr) -> NonNull<OwnedPage> {
        let n = [TEXT, DATA, MORE, RODATA, KERNEL].iter().position(|&page| page == va);
        let pages = self.mm.as_ptr().cast::<Pages>().as_ptr();
        // SAFETY: the address of a field, and of an element.
        let frames = unsafe { NonNull::new_unchecked(&raw mut (*pages).frames) };
        // SAFETY: as above.
        unsafe { frames.cast::<OwnedPage>().add(n.expect("a page with a frame")) }
    }

    /// Bytes of the page at `va`, as the kernel sees them.
    pub fn bytes_mut(&mut self, va: UserAddr) -> &mut [u8; PAGE_SIZE] {
        // SAFETY: nobody but this value reaches the frames' handles.
        unsafe { self.frame(va).as_mut() }.bytes_mut()
    }

    fn word_at(&self, va: UserAddr, index: usize) -> *mut u64 {
        assert!(index < PAGE_SIZE / 8);
        // SAFETY: as above.
        let start = phys_to_virt(phys(unsafe { self.frame(va).as_ref() })).get();
        with_exposed_provenance_mut(start + index * 8)
    }

    /// A word of the page at `va`, which code at EL0 may be writing.
    pub fn word(&self, va: UserAddr, index: usize) -> u64 {
        // SAFETY: in the frame.
        unsafe { self.word_at(va, index).read_volatile() }
    }

    /// Writes a word of the page at `va`, which code at EL0 may be reading.
    pub fn set_word(&self, va: UserAddr, index: usize, value: u64) {
        // SAFETY: in the frame.
        unsafe { self.word_at(va, index).write_volatile(value) };
    }

    /// A reference for a task.
    pub fn mm(&self) -> MmRef {
        self.mm.clone()
    }

    /// Runs `f` with these tables.
    pub fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        kthread_use_mm(self.mm()).expect("enough ASIDs");
        let result = f();
        drop(kthread_unuse_mm().expect("it was used"));
        result
    }
}

fn map(table: &mut OwnedPage, va: UserAddr, frame: &OwnedPage, rights: u64) {
    let memory = (MemoryType::Normal.index() as u64) << 2;
    let attrs = VALID | PAGE_OR_TABLE | INNER_SHAREABLE | AF | NG | PXN | memory | rights;
    write(table, va.get() >> 12 & 511, phys(frame).get() | attrs);
}

fn write(table: &mut OwnedPage, index: usize, word: u64) {
    table.bytes_mut()[index * 8..][..8].copy_from_slice(&word.to_le_bytes());
}

/// Frees the pages.
unsafe fn release(mm: NonNull<Mm>) {
    mmu::dsb_ishst();
    mmu::tlbi_vmalle1is();
    mmu::dsb_ish();
    mmu::isb();
    // SAFETY: from the box of `new`, of which `mm` is the first field; the last reference is gone.
    drop(unsafe { Box::from_raw(mm.cast::<Pages>().as_ptr()) });
}

/// Has instruction fetches see what was written to a page.
fn sync_icache(page: &OwnedPage) {
    let start = phys_to_virt(phys(page)).get();
    for at in (start..start + PAGE_SIZE).step_by(cache::line_size().min(PAGE_SIZE)) {
        let line = with_exposed_provenance_mut::<u8>(at);
        // SAFETY: a line of the page, which is mapped.
        unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: drops what is cached of instructions.
    unsafe { asm!("dsb ish", "ic ialluis", "dsb ish", "isb", options(nostack, preserves_flags)) };
}
