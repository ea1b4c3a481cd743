//! A value for each CPU.

use super::{Area, alloc_area, free_area};
use crate::arch::{CpuId, IrqMasked, cpu};
use crate::mm::alloc::AllocError;
use crate::mm::gfp::Gfp;
use crate::percpu::{nr_cpu_ids, possible_cpus};
use core::alloc::Layout;
use core::marker::PhantomData;

/// Per-CPU value: a `T` for each CPU, in memory that is freed with it (Linux: alloc_percpu,
/// free_percpu). A CPU reaches its own with proof that interrupts are masked, as in
/// [`PerCpu`](crate::percpu::PerCpu). Values use `Cell`s, or relaxed atomics where other CPUs
/// may look at them. Values of two boxes may share a cache line; give `T` an alignment where
/// that matters.
pub struct PerCpuBox<T> {
    area: Area,
    of: PhantomData<T>,
}

// SAFETY: it owns its values.
unsafe impl<T: Send> Send for PerCpuBox<T> {}
// SAFETY: the value of CPU `i` is reached by that CPU alone with interrupts masked (`get`), by
// anyone only where `T: Sync` (`of`, `iter`), or through `&mut`.
unsafe impl<T: Send> Sync for PerCpuBox<T> {}

impl<T> PerCpuBox<T> {
    /// A value for each CPU, by `make`. Any context that `gfp` is fit for.
    ///
    /// # Errors
    /// Memory is short; or `T` is larger than
    /// [`PERCPU_MAX_SIZE`](super::PERCPU_MAX_SIZE), or aligned to more than a page.
    pub fn new(mut make: impl FnMut(CpuId) -> T, gfp: Gfp) -> Result<Self, AllocError> {
        let area = alloc_area(Layout::new::<T>(), gfp)?;
        for cpu in possible_cpus() {
            // SAFETY: the area was allocated just now, for a `T` in the unit of each of these CPUs.
            unsafe { area.units.at(cpu, area.offset).cast::<T>().write(make(cpu)) };
        }
        Ok(Self { area, of: PhantomData })
    }

    /// Address of the value of a CPU.
    ///
    /// # Safety
    /// `cpu` is below [`nr_cpu_ids`].
    #[inline(always)]
    unsafe fn at(&self, cpu: CpuId) -> *mut T {
        // SAFETY: the area is this box's, and so allocated; the rest is the caller's.
        unsafe { self.area.units.at(cpu, self.area.offset).cast() }
    }

    /// Returns the calling CPU's value (Linux: this_cpu_ptr).
    #[inline]
    pub fn get<'a>(&'a self, irq: &'a IrqMasked) -> &'a T {
        // SAFETY: this CPU is up, and so has one; nobody else reaches it while interrupts are
        // masked.
        unsafe { &*self.at(cpu::id(irq)) }
    }

    /// CPU `id`'s value, which that CPU may be changing (Linux: per_cpu_ptr).
    ///
    /// # Panics
    /// There is no such CPU: `id` is not below [`nr_cpu_ids`].
    #[track_caller]
    pub fn of(&self, id: CpuId) -> &T
    where
        T: Sync,
    {
        assert!(id.index() < nr_cpu_ids(), "{id:?} has no per-CPU data");
        // SAFETY: it holds a value, which may be shared.
        unsafe { &*self.at(id) }
    }

    /// All values in the order of CPU numbers; their CPUs may be changing them.
    pub fn iter(&self) -> impl Iterator<Item = &T> + Clone
    where
        T: Sync,
    {
        possible_cpus().map(|cpu| self.of(cpu))
    }

    /// All values, while nobody else can reach them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        // SAFETY: each holds a value, and is given out once, under the only borrow.
        possible_cpus().map(|cpu| unsafe { &mut *self.at(cpu) })
    }
}

impl<T: Default> PerCpuBox<T> {
    /// The default value for each CPU.
    ///
    /// # Errors
    /// As for [`PerCpuBox::new`].
    pub fn with_default(gfp: Gfp) -> Result<Self, AllocError> {
        Self::new(|_| T::default(), gfp)
    }
}

impl<T> Drop for PerCpuBox<T> {
    fn drop(&mut self) {
        for cpu in possible_cpus() {
            // SAFETY: it holds a value, which is dropped once.
            unsafe { self.at(cpu).drop_in_place() };
        }
        free_area(self.area);
    }
}
