//! Sections: where frame descriptors exist (Linux: mm/sparse.c, mm/sparse-vmemmap.c).
//!
//! Descriptors lie in one virtual array, the vmemmap, at `vmemmap_base + 32 * pfn`. They
//! come to life a section (128 MiB) at a time, and within it for those aligned 4 MiB
//! blocks (the largest order of the buddy allocator) that hold any RAM, so a hole costs
//! nothing, and a block of any order and its buddy always have descriptors.
//!
//! A table of two levels knows the blocks: frame number -> section -> one bit for each of
//! its 32 blocks. A leaf serves 128 GiB and is a page of the first section brought up in
//! it. Bits are only ever set, after the descriptors are mapped and zeroed.

mod root;

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

/// 128 MiB of frames, whose descriptors come to life together.
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
/// aligned), writable, Normal. Pages for page tables come from the closure, uncleared.
/// Runs with interrupts masked under `Rank::Section`, and may take no lock: the
/// vmemmap's tables are edited by nobody else.
pub type Populate = fn(
    &IrqMasked,
    VirtRange,
    PhysRange,
    &mut dyn FnMut() -> Option<Pfn>,
) -> Result<(), PopulateError>;

/// The [`Populate`] of a machine whose whole vmemmap is mapped from the start.
pub fn mapped_from_the_start(
    _: &IrqMasked,
    _: VirtRange,
    _: PhysRange,
    _: &mut dyn FnMut() -> Option<Pfn>,
) -> Result<(), PopulateError> {
    Ok(())
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

/// Takes pages off the lowest free RAM of a section, then off the spare list.
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

/// Brings up the descriptors of the `blocks` of `section` that hold RAM, all zeros. They
/// and the tables over them are made of the lowest of the section's own `free` RAM, and
/// where that ends of pages from `spare`, which were allocated for it. Returns the end of
/// what was taken of `free`: frames of the section's free RAM below it are used up.
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
    map: Populate,
) -> Result<Pfn, PopulateError> {
    assert!(populated_blocks(section) == 0, "section {section:?} is up already");
    let start = section.start();
    let none = PfnRange::new(start, start);
    let mut cursor = Cursor { section: section.frames(), free, at: none, spare };

    let number = section.0 as usize;
    if !ROOT.has_leaf(number) {
        let leaf = cursor.take_cleared().ok_or(PopulateError)?;
        // SAFETY: a cleared page of the section's own, as large as a leaf, in the linear map;
        // any bytes are valid for a leaf.
        unsafe { ROOT.add_leaf(number, arch::phys_to_virt(leaf.phys()).get()) };
    }

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
                map(irq, virt, phys.phys(), &mut || cursor.take())?;
            }
            (virt, phys) = (page, PfnRange::new(backing, backing + 1));
        }
    }
    if !phys.is_empty() {
        map(irq, virt, phys.phys(), &mut || cursor.take())?;
    }
    if !ROOT.set_blocks(number, blocks) {
        return Err(PopulateError);
    }
    Ok(cursor.at.start())
}
