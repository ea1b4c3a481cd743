//! Registers of devices: words of 32 bits, and a few of 64, each read and written whole.

use crate::addr::VirtAddr;
use crate::arch::errata::Workarounds;
use crate::arch::{cpu_errata, extable};
use core::arch::asm;

/// A block of registers, mapped as device memory.
#[derive(Clone, Copy)]
pub(super) struct Registers(VirtAddr);

impl Registers {
    /// # Safety
    /// `base` is a mapping of such registers as device memory that stays, and nothing
    /// but the driver that asks uses them.
    pub(super) const unsafe fn new(base: VirtAddr) -> Self {
        Self(base)
    }

    /// The block that begins `offset` bytes behind.
    pub(super) fn at(self, offset: usize) -> Self {
        Self(self.0 + offset)
    }

    /// The block that begins `offset` bytes in front.
    pub(super) fn before(self, offset: usize) -> Self {
        Self(self.0 - offset)
    }

    /// The register at `offset`, where nothing may answer: `None` then.
    pub(super) fn probe(self, offset: usize) -> Option<u32> {
        // SAFETY: a register of the block, if it is there, as `new`'s caller promised.
        unsafe { extable::probe_read32(self.0 + offset) }
    }

    #[inline]
    pub(super) fn read(self, offset: usize) -> u32 {
        let at = (self.0 + offset).get();
        let value: u32;
        // SAFETY: a register of the block, as `new`'s caller promised.
        unsafe {
            if cpu_errata::workarounds().contains(Workarounds::DEVICE_LOAD_ACQUIRE) {
                asm!("ldar {:w}, [{}]", out(reg) value, in(reg) at, options(nostack, preserves_flags));
            } else {
                asm!("ldr {:w}, [{}]", out(reg) value, in(reg) at, options(nostack, preserves_flags));
            }
        }
        value
    }

    #[inline]
    pub(super) fn write(self, offset: usize, value: u32) {
        let at = (self.0 + offset).get();
        // SAFETY: as above.
        unsafe {
            if cpu_errata::workarounds().contains(Workarounds::DEVICE_STORE_RELEASE) {
                asm!("stlr {:w}, [{}]", in(reg) value, in(reg) at, options(nostack, preserves_flags));
            } else {
                asm!("str {:w}, [{}]", in(reg) value, in(reg) at, options(nostack, preserves_flags));
            }
        }
    }
    /// Writes the register of 8 bytes at `offset`.
    #[inline]
    pub(super) fn write_u64(self, offset: usize, value: u64) {
        let at = (self.0 + offset).get();
        // SAFETY: as above.
        unsafe {
            if cpu_errata::workarounds().contains(Workarounds::DEVICE_STORE_RELEASE) {
                asm!("stlr {}, [{}]", in(reg) value, in(reg) at, options(nostack, preserves_flags));
            } else {
                asm!("str {}, [{}]", in(reg) value, in(reg) at, options(nostack, preserves_flags));
            }
        }
    }
}
