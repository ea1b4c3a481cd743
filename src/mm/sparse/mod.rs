//! Sections: where frame descriptors exist (Linux: mm/sparse.c, mm/sparse-vmemmap.c).
//!
//! Descriptors lie in one virtual array, the vmemmap, at `vmemmap_base + 32 * pfn`. They are
//! made for a section (128 MiB) at a time, and within it for those aligned 4 MiB blocks (the
//! largest order of the buddy allocator) that hold any RAM, so a hole costs nothing, and a
//! block of any order and its buddy always have descriptors.
//!
//! A table of two levels records the blocks: frame number -> section -> one bit for each of
//! its 32 blocks. A leaf of it serves 128 GiB and is made when the first section there comes
//! up. Bits are only ever set, after the descriptors are mapped and zeroed.
//!
//! The page allocator decides which pages become descriptors and tables
//! (`page_alloc::memmap`).

mod root;

#[cfg(test)]
mod tests;

use crate::addr::{Order, PAGE_SIZE, Pfn, PfnRange, PhysRange, VirtAddr, VirtRange};
use crate::arch::{self, IrqMasked};
use crate::machine_local;
use crate::mm::page::{Frame, Page};
use core::fmt;
use root::{LEAF_SECTIONS, LEAVES, Leaf, Root};

/// log2 of the frames of a section: 128 MiB.
const SECTION_FRAMES_SHIFT: u32 = 15;

const _: () = assert!(size_of::<Leaf>() == PAGE_SIZE);
const _: () = assert!(LEAVES * LEAF_SECTIONS == 1 << (32 - SECTION_FRAMES_SHIFT));

/// Pages of descriptors for one block of [`Order::MAX`].
pub const MEMMAP_PAGES_PER_BLOCK: u32 =
    (Order::MAX.pages() as usize * size_of::<Page>() / PAGE_SIZE) as u32;

const _: () = assert!(Section::FRAMES / Order::MAX.pages() == u32::BITS);

/// 128 MiB of frames, whose descriptors are made together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Section(u32);

impl Section {
    /// Frames of a section.
    pub const FRAMES: u32 = 1 << SECTION_FRAMES_SHIFT;

    /// The section that a frame lies in.
    #[must_use]
    pub const fn of(pfn: Pfn) -> Self {
        Self(pfn.get() >> SECTION_FRAMES_SHIFT)
    }
    /// Returns the number (Linux: pfn_to_section_nr).
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
    /// Returns the first frame.
    #[must_use]
    pub const fn start(self) -> Pfn {
        Pfn::new(self.0 << SECTION_FRAMES_SHIFT)
    }
    /// The frame after its last, held at [`Pfn::LIMIT`].
    #[must_use]
    pub const fn end(self) -> Pfn {
        match (self.0 << SECTION_FRAMES_SHIFT).checked_add(Self::FRAMES) {
            Some(end) => Pfn::new(end),
            None => Pfn::LIMIT,
        }
    }
    /// Returns the frames.
    #[must_use]
    pub const fn frames(self) -> PfnRange {
        PfnRange::new(self.start(), self.end())
    }
    /// The sections that frames of `range` lie in.
    pub fn all_of(range: PfnRange) -> impl Iterator<Item = Self> + Clone {
        let first = Self::of(range.start()).0;
        let end = if range.is_empty() { first } else { Self::of(range.end() - 1).0 + 1 };
        (first..end).map(Self)
    }
    /// The bits of the blocks that `range` touches.
    #[must_use]
    pub const fn blocks_of(self, range: PfnRange) -> u32 {
        let range = range.intersect(self.frames());
        if range.is_empty() {
            return 0;
        }
        let first = (range.start().get() - self.start().get()) / Order::MAX.pages();
        let last = (range.end().get() - 1 - self.start().get()) / Order::MAX.pages();
        (u32::MAX << first) & (u32::MAX >> (u32::BITS - 1 - last))
    }
    /// The frames of block `n`, below 32.
    #[must_use]
    pub const fn block(self, n: u32) -> PfnRange {
        let start = Pfn::new(self.start().get() + n * Order::MAX.pages());
        PfnRange::new(start, Pfn::new(start.get() + Order::MAX.pages()))
    }
}

/// Free RAM that was handed over to the page allocator for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FreeRam(PfnRange);

impl FreeRam {
    /// # Safety
    /// The frames are RAM in the linear map, mapped Normal, and nobody uses them.
    #[must_use]
    pub const unsafe fn new(range: PfnRange) -> Self {
        Self(range)
    }
    /// Returns the frames.
    #[must_use]
    pub const fn range(self) -> PfnRange {
        self.0
    }
    /// Cuts it in two at the frame `at`, held within it.
    #[must_use]
    pub fn split_at(self, at: Pfn) -> (Self, Self) {
        let at = at.clamp(self.0.start(), self.0.end());
        (Self(PfnRange::new(self.0.start(), at)), Self(PfnRange::new(at, self.0.end())))
    }
}

/// Descriptors could not be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PopulateError;

impl fmt::Display for PopulateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("frame descriptors could not be mapped")
    }
}

impl core::error::Error for PopulateError {}

/// Maps the frames of a `PhysRange` at a `VirtRange` of the vmemmap (as long, page
/// aligned), writable, Normal, by pages. Pages for page tables come from the closure,
/// uncleared. Runs with interrupts masked under `Rank::Section`, and may take no lock: the
/// vmemmap's tables are edited by nobody else.
pub type MapVmemmap = fn(
    &IrqMasked,
    VirtRange,
    PhysRange,
    &mut dyn FnMut() -> Option<Pfn>,
) -> Result<(), PopulateError>;

/// The way in which the vmemmap comes to be mapped.
#[derive(Clone, Copy, Debug)]
pub enum Populate {
    /// By page tables of four levels, which grow with it.
    Tables(MapVmemmap),
    /// Not at all: the whole vmemmap of the machine is mapped from the start.
    Mapped,
}

impl Populate {
    /// Returns the number of pages that the tables over the descriptors of all RAM take: the
    /// page tables of the vmemmap and the leaves of the table of sections. `present` is all
    /// RAM, rising.
    pub(super) fn table_pages(self, present: impl Iterator<Item = PfnRange> + Clone) -> u32 {
        let leaves = nr_tables(present.clone(), |pfn| Section::of(pfn).0 as usize / LEAF_SECTIONS);
        // A page table maps 2 MiB, a table of the next levels 1 GiB and 512 GiB.
        let page_tables =
            |shift: u32| nr_tables(present.clone(), |pfn| descriptor(pfn).get() >> shift);
        match self {
            Self::Tables(_) => leaves + [21, 30, 39].map(page_tables).iter().sum::<u32>(),
            Self::Mapped => leaves,
        }
    }
}

/// Returns how many different tables serve the blocks that hold RAM, where `table` numbers the
/// tables in the order of the frames that they serve.
fn nr_tables(present: impl Iterator<Item = PfnRange>, table: impl Fn(Pfn) -> usize) -> u32 {
    // The first table that was not counted.
    let mut next = 0;
    let ranges = present.filter(|range| !range.is_empty()).map(|range| {
        let first = table(range.start().align_down(Order::MAX)).max(next);
        let end = table(range.end().align_up(Order::MAX) - 1) + 1;
        next = next.max(end);
        end.saturating_sub(first) as u32
    });
    ranges.sum()
}

machine_local! {
    static ROOT: Root = Root::new();
}

/// Returns whether `pfn` has a descriptor.
#[inline]
pub fn is_populated(pfn: Pfn) -> bool {
    let section = Section::of(pfn);
    let block = (pfn.get() - section.start().get()) / Order::MAX.pages();
    pfn < Pfn::LIMIT && ROOT.blocks(section.0 as usize) >> block & 1 != 0
}

impl Frame {
    /// The frame numbered `pfn`, if it has a descriptor (Linux: pfn_valid, pfn_to_page).
    #[inline]
    #[must_use]
    pub fn new(pfn: Pfn) -> Option<Self> {
        if !is_populated(pfn) {
            return None;
        }
        // SAFETY: it has a descriptor.
        Some(unsafe { Self::new_unchecked(pfn) })
    }
    /// The frame behind a linear-map address (Linux: virt_to_page).
    #[inline]
    #[must_use]
    pub fn from_virt(va: VirtAddr) -> Option<Self> {
        Self::new(arch::virt_to_phys(va).pfn()?)
    }
}

/// The blocks of `section` whose frames have descriptors, a bit each.
pub fn populated_blocks(section: Section) -> u32 {
    ROOT.blocks(section.0 as usize)
}

/// Returns the address of the descriptor of `pfn`, whether or not it has one.
#[inline]
#[must_use]
pub fn descriptor(pfn: Pfn) -> VirtAddr {
    let offset = pfn.get() as usize * size_of::<Page>();
    VirtAddr::new(arch::vmemmap_base().wrapping_add(offset))
}

/// Takes pages off the lowest free RAM of a section, then off the spare ones.
struct Cursor<'a, I> {
    section: PfnRange,
    free: I,
    at: PfnRange,
    spare: &'a mut dyn FnMut() -> Option<Pfn>,
}

impl<I: Iterator<Item = FreeRam>> Cursor<'_, I> {
    fn take(&mut self) -> Option<Pfn> {
        while self.at.is_empty() {
            match self.free.next() {
                Some(ram) => {
                    let range = ram.range().intersect(self.section);
                    if !range.is_empty() {
                        self.at = range;
                    }
                }
                None => return (self.spare)(),
            }
        }
        let pfn = self.at.start();
        self.at = PfnRange::new(pfn + 1, self.at.end());
        Some(pfn)
    }

    fn take_cleared(&mut self) -> Option<Pfn> {
        let pfn = self.take()?;
        // SAFETY: the frame is free RAM (`FreeRam::new`) of a section that is brought up
        // once, and each is taken once; or it was allocated for this (`populate`).
        unsafe { arch::clear_page(pfn.phys()) }
        Some(pfn)
    }
}

/// Brings up the descriptors of the `blocks` of `section` that hold RAM, all zeros. They are
/// made of the lowest of the section's own `free` RAM, and where that ends of pages from
/// `spare`, which were allocated for it; the tables over them of pages from `table`, each of
/// which is used for nothing else.
///
/// The caller holds the lock that serialises this (`Rank::Section`), and calls it once
/// for a section, whatever the outcome.
///
/// # Errors
/// [`PopulateError`] where `populate` says so or the pages do not suffice; what was taken
/// stays taken.
pub(super) fn populate(
    irq: &IrqMasked,
    section: Section,
    blocks: u32,
    free: impl Iterator<Item = FreeRam>,
    spare: &mut dyn FnMut() -> Option<Pfn>,
    table: &mut dyn FnMut() -> Option<FreeRam>,
    populate: Populate,
) -> Result<(), PopulateError> {
    assert!(populated_blocks(section) == 0, "section {section:?} is up already");
    let start = section.start();
    let none = PfnRange::new(start, start);
    let mut cursor = Cursor { section: section.frames(), free, at: none, spare };

    let number = section.0 as usize;
    if !ROOT.has_leaf(number) {
        let leaf = table().ok_or(PopulateError)?.range().start().phys();
        // SAFETY: a page of free RAM (`FreeRam::new`) that is used for nothing else, in the
        // linear map and as large as a leaf; zeros are valid for one.
        unsafe {
            arch::clear_page(leaf);
            ROOT.add_leaf(number, arch::phys_to_virt(leaf).get());
        }
    }
    let mut table = || table().map(|ram| ram.range().start());
    let mut map = |virt, phys: PfnRange| match populate {
        Populate::Tables(map) => map(irq, virt, phys.phys(), &mut table),
        Populate::Mapped => Ok(()),
    };

    // What is taken is mapped in runs that are contiguous on both sides.
    let mut virt = VirtRange::new(VirtAddr::new(0), VirtAddr::new(0));
    let mut phys = none;
    for n in (0..u32::BITS).filter(|n| blocks >> n & 1 != 0) {
        let first = descriptor(section.block(n).start());
        for i in 0..MEMMAP_PAGES_PER_BLOCK as usize {
            let page = VirtRange::from_size(
                VirtAddr::new(first.get().wrapping_add(i * PAGE_SIZE)),
                PAGE_SIZE,
            );
            let backing = cursor.take_cleared().ok_or(PopulateError)?;
            if page.start() == virt.end() && backing == phys.end() && !phys.is_empty() {
                virt = VirtRange::new(virt.start(), page.end());
                phys = PfnRange::new(phys.start(), backing + 1);
                continue;
            }
            if !phys.is_empty() {
                map(virt, phys)?;
            }
            (virt, phys) = (page, PfnRange::new(backing, backing + 1));
        }
    }
    if !phys.is_empty() {
        map(virt, phys)?;
    }
    if !ROOT.set_blocks(number, blocks) {
        return Err(PopulateError);
    }
    Ok(())
}
