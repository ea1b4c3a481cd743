//! The units of the CPUs: where the per-CPU statics of each lie (Linux: mm/percpu.c,
//! arch/arm64/include/asm/percpu.h). [`crate::percpu`] hands it on; here it serves the statics of this
//! room too.

use super::{cpu, exception, image};
use crate::addr::{PAGE_SIZE, VirtAddr, VirtRange};
use crate::arch::layout::{KIMAGE, PERCPU_DYNAMIC, PERCPU_STRIDE};
use crate::arch::{CpuId, IrqMasked, NR_CPUS};
use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Per-CPU variable: a `T` for each CPU.
#[repr(align(64))]
pub struct PerCpu<T>(T);

// SAFETY: a CPU's value is reached by that CPU alone with interrupts masked (`get`), or by
// anyone only where `T: Sync` (`of`, `iter`).
unsafe impl<T: Send> Sync for PerCpu<T> {}

/// Number of units: CPUs below it have theirs.
static UNITS: AtomicUsize = AtomicUsize::new(1);

impl<T> PerCpu<T> {
    /// Creates the variable: `value` is the boot CPU's, and copied, byte by byte, for the others.
    ///
    /// # Safety
    /// The variable is a static in the section `.percpu`, or is moved to the dynamic area and
    /// [`spread`](Self::spread) before it is used.
    #[doc(hidden)]
    pub const unsafe fn new(value: T) -> Self {
        Self(value)
    }

    /// Address of a CPU's value.
    #[inline(always)]
    fn at(&self, id: CpuId) -> *const T {
        let own = (&raw const self.0).expose_provenance();
        core::ptr::with_exposed_provenance(own + id.index() * PERCPU_STRIDE)
    }

    /// Copies the boot CPU's value, byte by byte, to the other CPUs' places.
    ///
    /// # Safety
    /// The variable lies in the dynamic area, and no other CPU uses it yet.
    pub(crate) unsafe fn spread(&self) {
        for id in possible_cpus().skip(1) {
            // SAFETY: below `nr_cpu_ids` the unit is there, with the pages of its dynamic area.
            unsafe { self.at(id).cast_mut().copy_from_nonoverlapping(&raw const self.0, 1) };
        }
    }

    /// Returns this CPU's value.
    #[inline]
    pub fn get<'a>(&'a self, irq: &'a IrqMasked) -> &'a T {
        // SAFETY: this CPU is up, so it has a unit; the value there was copied from a `T`, and
        // interrupts are masked as long as it is borrowed.
        unsafe { &*self.at(cpu::id(irq)) }
    }

    /// Returns this CPU's value as [`get`](Self::get) does, for the fastest of paths: the address
    /// takes one instruction. The compiler shifts first, and adds then, where it has a use for the
    /// shifted number on a slow path.
    #[inline(always)]
    pub(crate) fn get_fast<'a>(&'a self, irq: &'a IrqMasked) -> &'a T {
        let own = (&raw const self.0).expose_provenance();
        let at: usize;
        // SAFETY: adds.
        unsafe {
            asm!("add {at}, {own}, {id}, lsl #{shift}", at = lateout(reg) at, own = in(reg) own,
                id = in(reg) cpu::id(irq).index(), shift = const PERCPU_STRIDE.trailing_zeros(),
                options(pure, nomem, nostack, preserves_flags));
        }
        // SAFETY: as in `get`.
        unsafe { &*core::ptr::with_exposed_provenance::<T>(at) }
    }

    /// Returns the value of CPU `id`, which that CPU may be changing.
    ///
    /// # Panics
    /// There is no such CPU: `id` is not below [`nr_cpu_ids`].
    #[track_caller]
    pub fn of(&self, id: CpuId) -> &T
    where
        T: Sync,
    {
        self.try_of(id).unwrap_or_else(|| panic!("{id:?} has no per-CPU data"))
    }

    /// Returns the value of CPU `id`, or `None` where there is no such CPU.
    pub fn try_of(&self, id: CpuId) -> Option<&T>
    where
        T: Sync,
    {
        // SAFETY: below `nr_cpu_ids` the unit is there, and stays; the value was copied from a
        // `T`.
        (id.index() < nr_cpu_ids()).then(|| unsafe { &*self.at(id) })
    }

    /// Iterates over all values in the order of CPU numbers; their CPUs may be changing them.
    pub fn iter(&self) -> impl Iterator<Item = &T> + Clone
    where
        T: Sync,
    {
        possible_cpus().map(|id| self.of(id))
    }
}

/// Number of CPUs that have per-CPU data (Linux: nr_cpu_ids).
#[must_use]
pub fn nr_cpu_ids() -> usize {
    UNITS.load(Ordering::Acquire)
}

fn possible_cpus() -> impl DoubleEndedIterator<Item = CpuId> + Clone {
    (0..nr_cpu_ids()).filter_map(CpuId::new)
}

/// Returns the addresses of the unit of CPU `id`, mapped or not.
#[must_use]
pub fn unit(id: CpuId) -> VirtRange {
    let own = image::percpu();
    VirtRange::from_size(own.start() + id.index() * PERCPU_STRIDE, own.len())
}

/// Pages of the dynamic area that each unit has.
static DYNAMIC_PAGES: AtomicUsize = AtomicUsize::new(0);

/// Number of pages of the dynamic area that each unit has: variables that are made at run time
/// lie there.
pub(crate) fn dynamic_pages() -> usize {
    DYNAMIC_PAGES.load(Ordering::Acquire)
}

/// Says that the first `pages` of each unit's dynamic area are mapped.
pub(crate) fn set_dynamic_pages(pages: usize) {
    DYNAMIC_PAGES.store(pages, Ordering::Release);
}

/// Address of page `nth` of the dynamic area of CPU `id`, mapped or not; `None` behind its end.
pub(crate) fn dynamic_page(id: CpuId, nth: usize) -> Option<VirtAddr> {
    let at = PERCPU_DYNAMIC.start() + nth * PAGE_SIZE;
    (at < PERCPU_DYNAMIC.end()).then(|| at + id.index() * PERCPU_STRIDE)
}

/// The mapped parts of the units' dynamic areas.
pub(crate) fn dynamic_areas() -> impl Iterator<Item = VirtRange> {
    let bytes = dynamic_pages() * PAGE_SIZE;
    possible_cpus().filter(move |_| bytes != 0).map(move |id| {
        VirtRange::from_size(PERCPU_DYNAMIC.start() + id.index() * PERCPU_STRIDE, bytes)
    })
}

/// Copies the boot CPU's unit to those of the CPUs below `count`, which have per-CPU data from
/// then on.
///
/// # Safety
/// The boot CPU is alone, with interrupts masked or off, no per-CPU variable but those of this room has
/// been changed yet, and the units below `count` are mapped writable, each to memory of its own, for good.
/// Once.
pub unsafe fn setup_per_cpu_areas(count: usize) {
    const { assert!(NR_CPUS * PERCPU_STRIDE <= 1 << 32 && PERCPU_STRIDE == KIMAGE.len()) };
    let own = image::percpu();
    let at = |va: VirtAddr| core::ptr::with_exposed_provenance_mut::<u8>(va.get());
    for id in (1..count).filter_map(CpuId::new) {
        // SAFETY: as the caller says, both are mapped, and nobody uses the second yet.
        unsafe { at(unit(id).start()).copy_from_nonoverlapping(at(own.start()), own.len()) };
    }
    UNITS.store(count.clamp(1, NR_CPUS), Ordering::Release);
    for id in possible_cpus().skip(1) {
        cpu::holds_nothing(id);
        exception::has_no_emergency_stack(id);
    }
}
