//! The memory of a chunk: a unit for each CPU.

use crate::arch::CpuId;
use crate::mm::alloc::AllocError;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::cpu_to_node;
use crate::mm::slab::{kfree, kmalloc, kmalloc_node};
use crate::percpu::{nr_cpu_ids, possible_cpus};
use core::ptr::NonNull;

/// Memory of a chunk: as many bytes for each CPU.
pub(super) struct Units {
    /// The unit of each of [`nr_cpu_ids`] CPUs, from kmalloc; null while there is none yet.
    at: NonNull<*mut u8>,
    bytes: usize,
}

// SAFETY: it owns memory; who reaches what of it is `PerCpuBox`'s to say.
unsafe impl Send for Units {}
// SAFETY: as above; nothing is reached through it but by unsafe code.
unsafe impl Sync for Units {}

impl Units {
    /// Units of `bytes`, a power of two, each aligned to itself, on its CPU's node where that
    /// has memory.
    pub fn new(bytes: usize, gfp: Gfp) -> Result<Self, AllocError> {
        let table = kmalloc(nr_cpu_ids() * size_of::<*mut u8>(), gfp | Gfp::__GFP_ZERO);
        // What was had goes back with it where the rest can't be had.
        let units = Self { at: table.ok_or(AllocError)?.cast(), bytes };
        for cpu in possible_cpus() {
            let unit = kmalloc_node(bytes, gfp, cpu_to_node(cpu)).ok_or(AllocError)?;
            // SAFETY: the table has a word for each of these CPUs, and nobody else knows it.
            unsafe { units.at.add(cpu.index()).write(unit.as_ptr()) };
        }
        Ok(units)
    }

    /// The units, by CPU.
    fn iter(&self) -> impl Iterator<Item = *mut u8> + use<> {
        let at = self.at;
        // SAFETY: a word for each of these CPUs, which stays as long as the chunk.
        possible_cpus().map(move |cpu| unsafe { at.add(cpu.index()).read() })
    }

    /// Bytes of a unit.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        for unit in self.iter() {
            // SAFETY: from kmalloc, or null; no area of it is allocated.
            unsafe { kfree(unit) };
        }
        // SAFETY: from kmalloc, and read no more.
        unsafe { kfree(self.at.cast().as_ptr()) };
    }
}

/// The units of a chunk that has an area allocated, and so stays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct UnitsRef(NonNull<Units>);

// SAFETY: it leads to what any CPU may look at.
unsafe impl Send for UnitsRef {}
// SAFETY: as above.
unsafe impl Sync for UnitsRef {}

impl UnitsRef {
    /// Refers to the units of a chunk, which lie where they are for as long as it does.
    pub fn of(units: &Units) -> Self {
        Self(NonNull::from(units))
    }

    /// Address of offset `offset` in CPU `cpu`'s unit.
    ///
    /// # Safety
    /// An area of the chunk is allocated, `cpu` is below [`nr_cpu_ids`], and `offset` lies in a
    /// unit.
    #[inline(always)]
    pub unsafe fn at(self, cpu: CpuId, offset: u32) -> *mut u8 {
        // SAFETY: the chunk stays while an area of it is allocated, and its table has a word for
        // `cpu`, as the caller says.
        unsafe { self.0.as_ref().at.add(cpu.index()).read().add(offset as usize) }
    }

    /// Fills `len` bytes from `offset` on with zeros, in each unit: an area that was allocated
    /// just now.
    pub fn clear(self, offset: usize, len: usize) {
        // SAFETY: the chunk stays while an area of it is allocated, as this one is.
        let units = unsafe { self.0.as_ref() };
        assert!(len <= units.bytes && offset <= units.bytes - len);
        for unit in units.iter() {
            // SAFETY: within the unit, and nobody else's.
            unsafe { unit.add(offset).write_bytes(0, len) };
        }
    }
}
