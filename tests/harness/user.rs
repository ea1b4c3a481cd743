//! An address space with a few pages that are mapped by hand, for code at EL0.

#![allow(dead_code, reason = "not every image uses all of it")]

use core::arch::asm;
use core::ptr::with_exposed_provenance_mut;
use granule::addr::{PAGE_SIZE, PhysAddr, UserAddr};
use granule::arch::NR_CPUS;
use granule::arch::asid::{AsidMap, Asids, Context, Ttbr0};
use granule::arch::features::{self, Features};
use granule::arch::irq::with_masked;
use granule::arch::mmu_context::{ThisCpu, UserRoot};
use granule::arch::pgtable::MemoryType;
use granule::arch::{cache, mmu, phys_to_virt};
use granule::mm::gfp::Gfp;
use granule::mm::page_alloc::OwnedPage;
use granule::percpu::nr_cpu_ids;
use granule::sync::{Once, Rank, SpinLock};

static ASIDS: Asids<NR_CPUS> = Asids::new();
static MAP: SpinLock<AsidMap<NR_CPUS, 1024>> = SpinLock::new(Rank::Zone, AsidMap::new());
static READY: Once<()> = Once::new();

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
pub struct UserSpace {
    context: Context,
    tables: [OwnedPage; 4],
    /// The frames at `TEXT`, `DATA`, `MORE`, `RODATA` and `KERNEL`.
    frames: [OwnedPage; 5],
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
        let mut this = Self {
            context: Context::new(),
            tables: core::array::from_fn(|_| page()),
            frames: core::array::from_fn(|_| page()),
        };
        this.frames[0].bytes_mut()[..code.len()].copy_from_slice(code);
        sync_icache(&this.frames[0]);
        for (n, index) in [(0, 0), (1, 0), (2, BASE >> 21)] {
            let next = phys(&this.tables[n + 1]).get();
            this.write(n, index, next | VALID | PAGE_OR_TABLE);
        }
        let (rw, ro) = (EL0 | UXN, EL0 | READ_ONLY | UXN);
        let frames = this.frames.each_ref().map(phys);
        this.map(TEXT, frames[0], EL0 | READ_ONLY);
        this.map(DATA, frames[1], rw);
        this.map(MORE, frames[2], rw);
        this.map(RODATA, frames[3], ro);
        this.map(KERNEL, frames[4], UXN);
        this.map(GUARDED, frames[0], EL0 | READ_ONLY | GP);
        mmu::dsb_ishst();
        this
    }

    fn map(&mut self, va: UserAddr, pa: PhysAddr, rights: u64) {
        let memory = (MemoryType::Normal.index() as u64) << 2;
        let attrs = VALID | PAGE_OR_TABLE | INNER_SHAREABLE | AF | NG | PXN | memory | rights;
        self.write(3, va.get() >> 12 & 511, pa.get() | attrs);
    }

    fn write(&mut self, table: usize, index: usize, word: u64) {
        self.tables[table].bytes_mut()[index * 8..][..8].copy_from_slice(&word.to_le_bytes());
    }

    /// Bytes of the page at `va`, as the kernel sees them.
    pub fn bytes_mut(&mut self, va: UserAddr) -> &mut [u8; PAGE_SIZE] {
        let n = [TEXT, DATA, MORE, RODATA, KERNEL].iter().position(|&page| page == va);
        self.frames[n.expect("a page with a frame")].bytes_mut()
    }

    /// Runs `f` with these tables on this CPU.
    pub fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        with_masked(|irq| {
            READY.call_once(|| {
                let wide = features::features().contains(Features::ASID16);
                MAP.lock(irq).init(if wide { 16 } else { 8 }, nr_cpu_ids()).expect("enough ASIDs");
            });
            let cpu = ThisCpu::open(irq);
            // SAFETY: these pages are EL0's alone, and stay until the tables are installed no
            // more; each of them has PXN.
            let root = unsafe { UserRoot::new(phys(&self.tables[0])) };
            ASIDS.check_and_switch_context(&cpu, &self.context, root, || MAP.lock(irq));
        });
        let result = f();
        with_masked(|irq| ThisCpu::open(irq).set_reserved());
        result
    }
}

impl Drop for UserSpace {
    fn drop(&mut self) {
        mmu::dsb_ishst();
        mmu::tlbi_vmalle1is();
        mmu::dsb_ish();
        mmu::isb();
    }
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
