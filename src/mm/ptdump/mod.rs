//! The page-table dump (Linux: mm/ptdump.c, arch/arm64/mm/ptdump.c, debugfs'
//! kernel_page_tables), and the check that nothing is writable and executable.
#![deny(unsafe_code)]

use crate::addr::{PAGE_SIZE, PhysRange, VirtAddr, VirtRange};
use crate::arch::jump_label::with_keys_locked;
use crate::arch::layout;
use crate::arch::pgtable::{Level, MemoryType, Translation};
use crate::mm::init_mm;
use arrayvec::ArrayVec;
use core::fmt;
use core::ops::ControlFlow;

#[cfg(test)]
mod tests;

/// Parts of the upper half, rising.
pub const MARKERS: [(&str, VirtRange); 6] = [
    ("Linear mapping", layout::LINEAR),
    ("Kernel image", layout::KIMAGE),
    ("Per-CPU data", layout::PERCPU),
    ("vmalloc area", layout::VMALLOC),
    ("vmemmap", layout::VMEMMAP),
    ("Fixmap", layout::FIXMAP),
];

/// All that the kernel's tables translate, but the last page, whose end has no address.
const UPPER_HALF: VirtRange =
    VirtRange::new(VirtAddr::new(0xffff_0000_0000_0000), VirtAddr::new(0xffff_ffff_ffff_f000));

/// Addresses that are mapped alike, without a gap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// The addresses.
    pub va: VirtRange,
    /// Translation of the run's first page.
    pub first: Translation,
}

impl Run {
    /// Returns whether a leaf at `va` continues the run. Where it leads is of no matter.
    fn takes(&self, va: VirtAddr, leaf: &Translation) -> bool {
        va == self.va.end()
            && leaf.level == self.first.level
            && leaf.contiguous == self.first.contiguous
            && leaf.valid == self.first.valid
            && leaf.attrs == self.first.attrs
    }

    /// Returns the level of the tables that the run's entries stand at.
    #[must_use]
    pub const fn level_name(&self) -> &'static str {
        match self.first.level {
            Level::Pgd => "PGD",
            Level::Pud => "PUD",
            Level::Pmd => "PMD",
            Level::Pte => "PTE",
        }
    }

    /// Returns the memory type as Linux prints it.
    #[must_use]
    pub const fn memory_name(&self) -> &'static str {
        match self.first.attrs.memory() {
            MemoryType::Normal => "MEM/NORMAL",
            MemoryType::NormalNc => "MEM/NORMAL-NC",
            MemoryType::NormalWt => "MEM/NORMAL-WT",
            MemoryType::DeviceNgnre => "DEVICE/nGnRE",
            MemoryType::DeviceNgnrne => "DEVICE/nGnRnE",
            MemoryType::DeviceGre => "DEVICE/GRE",
        }
    }

    /// Returns whether the kernel may write to it and execute it.
    #[must_use]
    pub const fn is_wx(&self) -> bool {
        self.first.attrs.is_writable() && self.first.attrs.is_executable()
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { va, first } = *self;
        let (size, unit) = scaled(va.len());
        let level = self.level_name();
        let set = |there, name| if there { name } else { "" };
        write!(
            f,
            "{:#018x}-{:#018x}   {size:>9}{unit} {level} {:1}     {} {} {:3} {:2} {:2} {:3} {:3} {:3} {:2} {}",
            va.start(),
            va.end(),
            // Hidden from the MMU by set_memory_valid. EL0 has no access to anything.
            set(!first.valid, "F"),
            if first.attrs.is_writable() { "RW" } else { "ro" },
            if first.attrs.is_executable() { "x " } else { "NX" },
            set(first.attrs.is_shared(), "SHD"),
            set(first.attrs.is_accessed(), "AF"),
            set(first.attrs.is_non_global(), "NG"),
            set(first.contiguous, "CON"),
            set(first.level != Level::Pte, "BLK"),
            set(first.attrs.is_uxn(), "UXN"),
            set(first.attrs.is_guarded(), "GP"),
            self.memory_name(),
        )
    }
}

/// The largest unit in which `bytes` is whole.
fn scaled(bytes: usize) -> (usize, char) {
    let units = ['K', 'M', 'G', 'T'];
    let mut size = bytes >> 10;
    for (i, unit) in units.into_iter().enumerate() {
        if !size.is_multiple_of(1024) || i == units.len() - 1 {
            return (size, unit);
        }
        size >>= 10;
    }
    unreachable!("the last unit takes any size")
}

/// The runs that the kernel's tables map in `va`, rising. The page-table lock is taken
/// for each run and not kept, so the tables may change between two.
pub fn runs(va: VirtRange) -> impl Iterator<Item = Run> {
    pieces(va, usize::MAX)
}

/// The same, cut where they are `most` bytes long or more.
fn pieces(va: VirtRange, most: usize) -> impl Iterator<Item = Run> {
    let mut at = va.start();
    core::iter::from_fn(move || {
        let mut run: Option<Run> = None;
        init_mm::for_each_leaf(VirtRange::new(at, va.end()), |start, leaf| {
            let end = start.saturating_add(leaf.level.size());
            match &mut run {
                None => run = Some(Run { va: VirtRange::new(start, end), first: leaf }),
                Some(run) if run.va.len() < most && run.takes(start, &leaf) => {
                    run.va = VirtRange::new(run.va.start(), end);
                }
                Some(_) => return ControlFlow::Break(()),
            }
            ControlFlow::Continue(())
        });
        at = run?.va.end().min(va.end());
        run
    })
}

/// Prints the kernel's page tables: a line for each run of the same attributes, under
/// the name of its region. Process context: it is long.
///
/// # Errors
/// `out`'s.
pub fn dump(out: &mut dyn fmt::Write) -> fmt::Result {
    for (name, va) in MARKERS {
        writeln!(out, "---[ {name} start ]---")?;
        for run in runs(va) {
            writeln!(out, "{run}")?;
        }
        writeln!(out, "---[ {name} end ]---")?;
    }
    for run in runs(UPPER_HALF).filter(|run| !is_marked(run.va)) {
        writeln!(out, "{run} (in no region)")?;
    }
    Ok(())
}

fn is_marked(va: VirtRange) -> bool {
    MARKERS.iter().any(|(_, region)| region.contains_range(va))
}

/// Counts the pages that are writable and executable, which must be none: by one mapping, or writable
/// by one and executable by another. `report` is called with each run that lets them be written
/// (Linux: ptdump_check_wx, which looks at each mapping alone). Any context.
pub fn check_wx(report: impl FnMut(&Run)) -> usize {
    check_wx_by_piece(|_| (), report)
}

/// [`check_wx`], which calls `walked` with each piece that it has looked at: a run, or 128 MiB
/// of a longer one. In a linear map of single pages that is what it takes the page-table lock
/// for.
pub fn check_wx_by_piece(mut walked: impl FnMut(&Run), mut report: impl FnMut(&Run)) -> usize {
    const PIECE: usize = 128 << 20;
    let mut found = 0;
    for run in pieces(UPPER_HALF, PIECE) {
        walked(&run);
        if run.is_wx() {
            report(&run);
            found += run.va.len() / PAGE_SIZE;
        } else if run.first.attrs.is_executable() {
            found += writable_elsewhere(run.va, &mut report);
        }
    }
    found
}

/// Counts the pages of an executable run that other mappings let be written; `report` is called with
/// each of these mappings.
fn writable_elsewhere(code: VirtRange, report: &mut impl FnMut(&Run)) -> usize {
    let (mut at, mut found) = (code.start(), 0);
    while at < code.end() {
        // Some leaves at a time, and for them one walk of what is not the linear map.
        let mut frames = ArrayVec::<PhysRange, 32>::new();
        let mut next = code.end();
        init_mm::for_each_leaf(VirtRange::new(at, code.end()), |start, leaf| {
            let pages = PhysRange::from_size(leaf.pa, leaf.level.size() as u64);
            let full = frames.is_full();
            match frames.last_mut() {
                Some(last) if last.end() == pages.start() => {
                    *last = PhysRange::new(last.start(), pages.end());
                }
                _ if full => {
                    next = start;
                    return ControlFlow::Break(());
                }
                _ => frames.push(pages),
            }
            ControlFlow::Continue(())
        });
        at = next;
        let mut look = |code: &[PhysRange], start: VirtAddr, leaf: Translation| {
            if leaf.attrs.is_writable() {
                let pages = PhysRange::from_size(leaf.pa, leaf.level.size() as u64);
                let both = code.iter().map(|code| code.intersect(pages).len()).sum::<u64>();
                if both > 0 {
                    let va = VirtRange::from_size(start, leaf.level.size());
                    report(&Run { va, first: leaf });
                    found += both as usize / PAGE_SIZE;
                }
            }
            ControlFlow::Continue(())
        };
        for pages in &frames {
            let start = layout::LINEAR.start().saturating_add(pages.start().get() as usize);
            let end = start.saturating_add(pages.len() as usize);
            let linear = VirtRange::new(start, end).intersect(layout::LINEAR);
            // A block may have several of them: each is counted by itself.
            let code = core::slice::from_ref(pages);
            init_mm::for_each_leaf(linear, |start, leaf| look(code, start, leaf));
        }
        // The fixmap is looked at by itself: code that is being patched is writable there.
        let image = VirtRange::new(layout::KIMAGE.start(), layout::FIXMAP.start());
        let rest = VirtRange::new(layout::FIXMAP.end(), UPPER_HALF.end());
        for others in [image, rest] {
            init_mm::for_each_leaf(others, |start, leaf| look(&frames, start, leaf));
        }
        with_keys_locked(|| {
            init_mm::for_each_leaf(layout::FIXMAP, |start, leaf| look(&frames, start, leaf));
        });
    }
    found
}
