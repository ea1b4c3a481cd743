//! Choice of addresses for mappings that ask for none (Linux: arch_pick_mmap_layout of mm/util.c,
//! get_unmapped_area of mm/mmap.c).

use super::Limits;
use super::sysctl::{legacy_va_layout, mmap_min_addr, stack_guard_gap};
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, PMD_SIZE, TASK_SIZE, UserAddr, UserRange};
use crate::errno::Errno;
use crate::mm::vma::{Hole, UnmappedArea, VmaTree};

/// Bits of a random number of pages, by default on arm64 with 4 KiB pages (Linux:
/// CONFIG_ARCH_MMAP_RND_BITS).
pub const MMAP_RND_BITS: u32 = 18;
/// Pages that a stack is moved down by at most, less one (Linux: STACK_RND_MASK).
pub const STACK_RND_MASK: u64 = 0x3ffff;
/// Lowest address of the mappings of a layout that grows upwards (Linux: TASK_UNMAPPED_BASE).
pub const TASK_UNMAPPED_BASE: usize = TASK_SIZE / 4;

/// Room for the stack at least, and at most.
const MIN_GAP: u64 = 128 << 20;
const MAX_GAP: u64 = TASK_SIZE as u64 / 6 * 5;

/// Layout of an address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Numeric value of the address that mappings begin at, or end at (Linux: mmap_base).
    pub mmap_base: usize,
    /// Mappings grow down from there (Linux: MMF_TOPDOWN).
    pub topdown: bool,
}

impl Layout {
    /// Layout for a program with a stack limit of `stack` bytes. `random` is a random number, if places
    /// are to be random; `compat` asks for the one that grows upwards (ADDR_COMPAT_LAYOUT).
    #[must_use]
    pub fn pick(stack: u64, random: Option<u64>, compat: bool) -> Self {
        let pages = random.map_or(0, |random| random & ((1 << MMAP_RND_BITS) - 1));
        let offset = (pages << PAGE_SHIFT) as usize;
        if compat || stack == u64::MAX || legacy_va_layout() {
            return Self { mmap_base: TASK_UNMAPPED_BASE + offset, topdown: false };
        }
        let mut pad = stack_guard_gap() as u64;
        if random.is_some() {
            pad += STACK_RND_MASK << PAGE_SHIFT;
        }
        let gap = stack.checked_add(pad).unwrap_or(stack).clamp(MIN_GAP, MAX_GAP);
        let base = TASK_SIZE - gap as usize - offset;
        Self { mmap_base: base.next_multiple_of(PAGE_SIZE), topdown: true }
    }
}

/// Place for a mapping.
pub(super) enum Spot {
    /// A hole of its size.
    Hole(Hole),
    /// An address that was asked for, whatever is there.
    Fixed(UserRange),
}

impl Spot {
    pub fn range(&self) -> UserRange {
        match self {
            Self::Hole(hole) => hole.range(),
            Self::Fixed(range) => *range,
        }
    }
}

/// A request for addresses.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// Address that is asked for; 0: none.
    pub addr: usize,
    /// Bytes, whole pages, not 0.
    pub len: usize,
    /// MAP_FIXED.
    pub fixed: bool,
    /// Private anonymous memory, whose larger mappings are aligned for huge pages.
    pub anonymous: bool,
}

/// Finds addresses (Linux: __get_unmapped_area).
#[inline]
pub(super) fn get_unmapped_area(
    vmas: &mut VmaTree,
    layout: Layout,
    wanted: Wanted,
    limits: &Limits,
) -> Result<Spot, Errno> {
    let Wanted { addr, len, fixed, .. } = wanted;
    if len > TASK_SIZE - mmap_min_addr() {
        return Err(Errno::ENOMEM);
    }
    if fixed {
        if addr > TASK_SIZE - len {
            return Err(Errno::ENOMEM);
        }
        if !addr.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        if addr < mmap_min_addr() && !limits.cap_sys_rawio {
            return Err(Errno::EPERM);
        }
        let start = UserAddr::new(addr).ok_or(Errno::ENOMEM)?;
        return UserRange::from_size(start, len).map(Spot::Fixed).ok_or(Errno::ENOMEM);
    }
    if wanted.anonymous
        && addr == 0
        && len.is_multiple_of(PMD_SIZE)
        && let Some(hole) = aligned(vmas, layout, len)
    {
        return Ok(Spot::Hole(hole));
    }
    search(vmas, layout, addr, len).map(Spot::Hole)
}

/// Finds addresses that begin at a multiple of 2 MiB (Linux: __thp_get_unmapped_area).
#[inline(never)]
fn aligned(vmas: &mut VmaTree, layout: Layout, len: usize) -> Option<Hole> {
    let padded = len.checked_add(PMD_SIZE).filter(|&len| len <= TASK_SIZE - mmap_min_addr())?;
    let hole = search(vmas, layout, 0, padded).ok()?;
    let start = hole.range().start().get();
    let over = start.wrapping_neg() & (PMD_SIZE - 1);
    let shift = if layout.topdown && over == 0 { PMD_SIZE } else { over };
    let start = UserAddr::new(start + shift)?;
    Some(hole.narrowed(UserRange::from_size(start, len)?))
}

/// Finds addresses, at the hint if they are free (Linux: generic_get_unmapped_area_topdown).
#[inline]
fn search(vmas: &mut VmaTree, layout: Layout, hint: usize, len: usize) -> Result<Hole, Errno> {
    let (lowest, guard) = (mmap_min_addr(), stack_guard_gap());
    if len > TASK_SIZE - lowest {
        return Err(Errno::ENOMEM);
    }
    if hint != 0
        && let Some(hint) = hint.checked_next_multiple_of(PAGE_SIZE)
        && hint <= TASK_SIZE - len
        && hint >= lowest
        && let Some(hole) = vmas.hole_at(hint)
        && let Some(range) = UserAddr::new(hint).and_then(|at| UserRange::from_size(at, len))
        && vmas.around(&hole).1.is_none_or(|next| range.end() <= next.start_gap(guard))
        && hole.holds(range)
    {
        return Ok(hole.narrowed(range));
    }
    if layout.topdown {
        let info = UnmappedArea { len, low: PAGE_SIZE.max(lowest), high: layout.mmap_base, guard };
        if let Some(hole) = vmas.unmapped_area_topdown(info) {
            return Ok(hole);
        }
    }
    let low = if layout.topdown { TASK_UNMAPPED_BASE } else { layout.mmap_base };
    let info = UnmappedArea { len, low: low.max(lowest), high: TASK_SIZE, guard };
    vmas.unmapped_area(info).ok_or(Errno::ENOMEM)
}
