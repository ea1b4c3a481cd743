//! Allocations from the prompt that are not freed yet.

use super::command::GfpNames;
use super::screen::Screen;
use crate::addr::{Order, PAGE_SIZE, VirtAddr};
use crate::mm::cma::{self, Cma, CmaPages};
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::Pages;
use crate::mm::slab::{KMALLOC_MAX_SIZE, ZERO_SIZE_PTR, kfree, kmalloc, ksize};
use crate::mm::vmalloc::VmArea;
use core::fmt::{self, Write};
use core::ptr::{NonNull, with_exposed_provenance_mut};

/// Allocations that can be held.
const SLOTS: usize = 64;

/// Allocation, owned.
pub(super) enum Object {
    Pages { block: Pages, gfp: Gfp },
    Kmalloc { object: NonNull<u8>, size: usize, gfp: Gfp },
    Vmalloc(VmArea),
    Cma(CmaPages),
}

impl Object {
    /// A block of pages; `None` without memory, as for the others.
    pub fn pages(order: Order, gfp: Gfp) -> Option<Self> {
        Some(Self::Pages { block: Pages::alloc(gfp, order)?, gfp })
    }

    /// Allocates at most `KMALLOC_MAX_SIZE` bytes.
    pub fn kmalloc(size: usize, gfp: Gfp) -> Option<Self> {
        Some(Self::Kmalloc { object: kmalloc(size, gfp)?, size, gfp })
    }

    /// An area.
    pub fn vmalloc(size: usize) -> Option<Self> {
        let area = VmArea::vmalloc(size, Gfp::GFP_KERNEL | Gfp::__GFP_NOWARN)?;
        Some(Self::Vmalloc(area))
    }

    /// Contiguous pages of `area`.
    pub fn cma(area: &'static Cma, pages: u32) -> Option<Self> {
        CmaPages::alloc(area, pages, Order::ZERO).map(Self::Cma)
    }

    /// Returns the address and the number of bytes.
    fn place(&self) -> (VirtAddr, usize) {
        match self {
            Self::Pages { block, .. } => (block.frame().virt(), block.order().bytes()),
            Self::Kmalloc { object, size, .. } => (VirtAddr::from_ptr(object.as_ptr()), *size),
            Self::Vmalloc(area) => (area.virt(), area.size()),
            Self::Cma(pages) => (pages.frame().virt(), pages.count() as usize * PAGE_SIZE),
        }
    }

    /// Returns the first and the last byte.
    fn ends(&self) -> Option<[*mut u8; 2]> {
        let (va, size) = self.place();
        let last = size.checked_sub(1)?;
        Some([va, va + last].map(|va| with_exposed_provenance_mut(va.get())))
    }

    /// Writes to its ends.
    pub fn stamp(&self, value: u64) {
        let [first, last, ..] = value.to_le_bytes();
        for (end, byte) in self.ends().into_iter().flatten().zip([first, last]) {
            // SAFETY: memory that this value owns.
            unsafe { end.write_volatile(byte) };
        }
    }

    /// Returns whether its ends still say that.
    pub fn is_stamped(&self, value: u64) -> bool {
        let [first, last, ..] = value.to_le_bytes();
        let one_byte = self.place().1 == 1;
        self.ends().into_iter().flatten().zip([if one_byte { last } else { first }, last]).all(
            // SAFETY: as above, and written before.
            |(end, byte)| unsafe { end.read_volatile() } == byte,
        )
    }

    /// Gives it back.
    pub fn free(self) {
        match self {
            Self::Pages { block, .. } => drop(block),
            // SAFETY: from kmalloc, and given back once: the object is consumed.
            Self::Kmalloc { object, .. } => unsafe { kfree(object.as_ptr()) },
            Self::Vmalloc(area) => drop(area),
            Self::Cma(pages) => drop(pages),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pages { block, gfp } => write!(
                f,
                "pages, order {}, pfn {:#x}, virt {}, {}",
                block.order().get(),
                block.frame().pfn().get(),
                block.frame().virt(),
                GfpNames(*gfp)
            ),
            Self::Kmalloc { object, .. } if *object == ZERO_SIZE_PTR => {
                f.write_str("kmalloc, 0 bytes, ZERO_SIZE_PTR")
            }
            Self::Kmalloc { object, size, gfp } => {
                let va = VirtAddr::from_ptr(object.as_ptr());
                // SAFETY: allocated, as long as this value is there.
                let has = unsafe { ksize(object.as_ptr()) };
                write!(f, "kmalloc, {size} bytes of {has}, virt {va}, {}", GfpNames(*gfp))
            }
            Self::Vmalloc(area) => {
                write!(f, "vmalloc, {} bytes, virt {}", area.size(), area.virt())
            }
            Self::Cma(pages) => write!(
                f,
                "cma, {} pages of {}, pfn {:#x}, virt {}",
                pages.count(),
                pages.area().name(),
                pages.frame().pfn().get(),
                pages.frame().virt()
            ),
        }
    }
}

/// The allocations by their numbers, which begin at 1.
pub(super) struct Held {
    slots: [Option<Object>; SLOTS],
}

impl Held {
    pub const fn new() -> Self {
        Self { slots: [const { None }; SLOTS] }
    }

    /// Keeps what `alloc` returns, if there is room and memory.
    fn add(&mut self, out: &mut Screen, alloc: impl FnOnce() -> Option<Object>) -> fmt::Result {
        let Some(free) = self.slots.iter().position(Option::is_none) else {
            return writeln!(out, "all {SLOTS} numbers are taken: free some");
        };
        match alloc() {
            Some(object) => {
                writeln!(out, "{}: {}", free + 1, self.slots[free].insert(object))
            }
            None => writeln!(out, "out of memory: nothing was allocated"),
        }
    }

    pub fn alloc_pages(&mut self, order: Order, gfp: Gfp, out: &mut Screen) -> fmt::Result {
        self.add(out, || Object::pages(order, gfp))
    }

    pub fn kmalloc(&mut self, size: usize, gfp: Gfp, out: &mut Screen) -> fmt::Result {
        if size > KMALLOC_MAX_SIZE {
            return writeln!(out, "kmalloc has no more than {KMALLOC_MAX_SIZE} bytes; try vmalloc");
        }
        self.add(out, || Object::kmalloc(size, gfp))
    }

    pub fn vmalloc(&mut self, size: usize, out: &mut Screen) -> fmt::Result {
        if size == 0 {
            return writeln!(out, "vmalloc has no area of 0 bytes");
        }
        self.add(out, || Object::vmalloc(size))
    }

    pub fn cma_alloc(&mut self, pages: u32, out: &mut Screen) -> fmt::Result {
        let Some(area) = cma::default_area().or_else(|| cma::areas().next()) else {
            return super::look::cma_areas(out);
        };
        if pages == 0 || pages > area.range().len() {
            let has = area.range().len();
            return writeln!(out, "cma: {} has {has} pages, and no run of {pages}", area.name());
        }
        self.add(out, || Object::cma(area, pages))
    }

    /// Shows all of them.
    pub fn list(&self, out: &mut Screen) -> fmt::Result {
        let mut none = true;
        for (n, object) in self.slots.iter().enumerate() {
            if let Some(object) = object {
                none = false;
                writeln!(out, "{}: {object}", n + 1)?;
            }
        }
        if none { writeln!(out, "nothing is held") } else { Ok(()) }
    }

    /// Frees one, or all.
    pub fn free(&mut self, number: Option<usize>, out: &mut Screen) -> fmt::Result {
        let Some(number) = number else {
            let freed = self.slots.iter_mut().filter_map(Option::take).map(Object::free).count();
            return writeln!(out, "freed {freed}");
        };
        let slot = number.checked_sub(1).and_then(|n| self.slots.get_mut(n));
        match slot.and_then(Option::take) {
            Some(object) => {
                let shown = writeln!(out, "freed {number}: {object}");
                object.free();
                shown
            }
            None => writeln!(out, "free: nothing is held under {number}; held lists all"),
        }
    }
}
