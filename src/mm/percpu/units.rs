//! The memory of a chunk: a unit for each CPU.

use crate::arch::{CpuId, NR_CPUS};
use crate::mm::alloc::AllocError;
use crate::mm::gfp::Gfp;
use crate::mm::page_alloc::cpu_to_node;
use crate::mm::slab::{kfree, kmalloc_node};
use core::ptr::{self, NonNull};

/// Memory of a chunk: as many bytes for each CPU.
pub(super) struct Units {
    at: [*mut u8; NR_CPUS],
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
        // What was had goes back with it where the rest can't be had.
        let mut units = Self { at: [ptr::null_mut(); NR_CPUS], bytes };
        for (unit, cpu) in units.at.iter_mut().zip((0..NR_CPUS).filter_map(CpuId::new)) {
            *unit = kmalloc_node(bytes, gfp, cpu_to_node(cpu)).ok_or(AllocError)?.as_ptr();
        }
        Ok(units)
    }

    /// Bytes of a unit.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        for unit in self.at {
            // SAFETY: from kmalloc, or null; no area of it is allocated.
            unsafe { kfree(unit) };
        }
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
    /// An area of the chunk is allocated, and `offset` lies in a unit.
    #[inline(always)]
    pub unsafe fn at(self, cpu: CpuId, offset: u32) -> *mut u8 {
        // SAFETY: the chunk stays while an area of it is allocated; a `CpuId` is below NR_CPUS.
        unsafe { (*self.0.as_ptr()).at.get_unchecked(cpu.index()).add(offset as usize) }
    }

    /// Fills `len` bytes from `offset` on with zeros, in each unit: an area that was allocated
    /// just now.
    pub fn clear(self, offset: usize, len: usize) {
        // SAFETY: the chunk stays while an area of it is allocated, as this one is.
        let units = unsafe { self.0.as_ref() };
        assert!(len <= units.bytes && offset <= units.bytes - len);
        for unit in units.at {
            // SAFETY: within the unit, and nobody else's.
            unsafe { unit.add(offset).write_bytes(0, len) };
        }
    }
}
