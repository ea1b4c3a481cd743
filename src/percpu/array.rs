//! A value for each CPU in one place.

use crate::arch::{CpuId, IrqMasked, NR_CPUS, cpu};

/// Array with a `T` for each of [`NR_CPUS`] CPUs, on cache lines of its own.
pub struct CpuArray<T> {
    slots: [Slot<T>; NR_CPUS],
}

#[repr(align(64))]
struct Slot<T>(T);

// SAFETY: slot `i` is reached by CPU `i` alone with interrupts masked (`get`), by
// anyone only where `T: Sync` (`of`, `iter`), or through `&mut`.
unsafe impl<T: Send> Sync for CpuArray<T> {}

impl<T> CpuArray<T> {
    /// Creates the variable from a value per CPU, in the order of CPU numbers:
    /// `CpuArray::new([const { T::new() }; NR_CPUS])`.
    pub const fn new(values: [T; NR_CPUS]) -> Self {
        let values = core::mem::ManuallyDrop::new(values);
        let mut slots = [const { core::mem::MaybeUninit::<Slot<T>>::uninit() }; NR_CPUS];
        let mut i = 0;
        while i < NR_CPUS {
            let from = (&raw const values).cast::<T>();
            // SAFETY: `from` points at NR_CPUS values that are never dropped here,
            // and each is moved out once.
            slots[i] = core::mem::MaybeUninit::new(Slot(unsafe { from.add(i).read() }));
            i += 1;
        }
        // SAFETY: all NR_CPUS elements were written above; the layouts are the same.
        Self { slots: unsafe { core::mem::transmute_copy(&slots) } }
    }

    /// Returns this CPU's value.
    #[inline]
    pub fn get<'a>(&'a self, irq: &'a IrqMasked) -> &'a T {
        let index = cpu::id(irq).index();
        // SAFETY: a `CpuId` is below NR_CPUS.
        unsafe { &self.slots.get_unchecked(index).0 }
    }

    /// Returns this CPU's value.
    #[cfg(not(target_os = "none"))]
    #[inline]
    pub(crate) fn get_fast<'a>(&'a self, irq: &'a IrqMasked) -> &'a T {
        self.get(irq)
    }

    /// CPU `id`'s value, which that CPU may be changing.
    pub fn of(&self, id: CpuId) -> &T
    where
        T: Sync,
    {
        &self.slots[id.index()].0
    }

    /// The same; the hosted machine has all CPUs.
    pub fn try_of(&self, id: CpuId) -> Option<&T>
    where
        T: Sync,
    {
        Some(self.of(id))
    }

    /// All values in the order of CPU numbers; their CPUs may be changing them.
    pub fn iter(&self) -> impl Iterator<Item = &T> + Clone
    where
        T: Sync,
    {
        self.slots.iter().map(|slot| &slot.0)
    }

    /// All values, while nobody else can reach them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().map(|slot| &mut slot.0)
    }
}
