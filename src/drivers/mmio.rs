//! Registers of devices in memory: cells of 32 bits, and a few of 64, each read and written whole.
//!
//! A driver lays its device out with `tock_registers::register_structs!`, which compares each
//! offset at compile time, and names the fields by `register_bitfields!`. The cells are those of
//! this file and not the crate's own: an access is one instruction without write-back, which a
//! hypervisor can emulate from the syndrome alone (Arm ARM D24.2.40, ISS of a data abort; Linux:
//! __raw_readl of arch/arm64/include/asm/io.h), and the instruction that the CPU's errata ask for.
//! See docs/decisions/0015-registers-by-the-crates.md.

use crate::addr::VirtAddr;
use crate::arch::errata::Workarounds;
use crate::arch::{cpu_errata, extable};
use core::arch::asm;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::{RegisterLongName, UIntLike};

/// An integer as wide as a register.
pub(super) trait Width: UIntLike {
    /// Reads a register by a single instruction.
    ///
    /// # Safety
    /// `at` is the address of a register of this width that may be read.
    unsafe fn load(at: *const Self) -> Self;

    /// Writes a register by a single instruction.
    ///
    /// # Safety
    /// `at` is the address of a register of this width that may be written.
    unsafe fn store(at: *mut Self, value: Self);
}

/// Implements [`Width`] for an integer, with the modifier that gives its operands their width.
macro_rules! width {
    ($integer:ty, $modifier:literal) => {
        impl Width for $integer {
            #[inline]
            unsafe fn load(at: *const Self) -> Self {
                let value;
                // SAFETY: the caller's.
                unsafe {
                    if cpu_errata::workarounds().contains(Workarounds::DEVICE_LOAD_ACQUIRE) {
                        asm!(concat!("ldar {value", $modifier, "}, [{at}]"), at = in(reg) at,
                            value = out(reg) value, options(nostack, preserves_flags));
                    } else {
                        asm!(concat!("ldr {value", $modifier, "}, [{at}]"), at = in(reg) at,
                            value = out(reg) value, options(nostack, preserves_flags));
                    }
                }
                value
            }

            #[inline]
            unsafe fn store(at: *mut Self, value: Self) {
                // SAFETY: the caller's.
                unsafe {
                    if cpu_errata::workarounds().contains(Workarounds::DEVICE_STORE_RELEASE) {
                        asm!(concat!("stlr {value", $modifier, "}, [{at}]"), at = in(reg) at,
                            value = in(reg) value, options(nostack, preserves_flags));
                    } else {
                        asm!(concat!("str {value", $modifier, "}, [{at}]"), at = in(reg) at,
                            value = in(reg) value, options(nostack, preserves_flags));
                    }
                }
            }
        }
    };
}

width!(u32, ":w");
width!(u64, ":x");

/// Declares a kind of register. References to it come from [`block`] alone. The cell is what keeps
/// the compiler from reading a register on its own account: of what a shared reference with an
/// `UnsafeCell` in it leads to, nothing is known to LLVM.
macro_rules! cell {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[repr(transparent)]
        pub(super) struct $name<T: Width, R: RegisterLongName = ()> {
            value: UnsafeCell<T>,
            register: PhantomData<R>,
        }

        // SAFETY: an access is a single instruction to device memory, which tears for nobody; the
        // drivers say which CPU uses which register.
        unsafe impl<T: Width, R: RegisterLongName> Sync for $name<T, R> {}
    };
}

cell! {
    /// A register that can be read.
    ReadOnly
}
cell! {
    /// A register that can be written.
    WriteOnly
}
cell! {
    /// A register that can be read and written.
    ReadWrite
}

impl<T: Width, R: RegisterLongName> Readable for ReadOnly<T, R> {
    type T = T;
    type R = R;

    #[inline]
    fn get(&self) -> T {
        // SAFETY: a register that may be read, as `block`'s caller promised.
        unsafe { T::load(self.value.get()) }
    }
}

impl<T: Width, R: RegisterLongName> Readable for ReadWrite<T, R> {
    type T = T;
    type R = R;

    #[inline]
    fn get(&self) -> T {
        // SAFETY: as above.
        unsafe { T::load(self.value.get()) }
    }
}

impl<T: Width, R: RegisterLongName> Writeable for WriteOnly<T, R> {
    type T = T;
    type R = R;

    #[inline]
    fn set(&self, value: T) {
        // SAFETY: a register that may be written, as `block`'s caller promised.
        unsafe { T::store(self.value.get(), value) }
    }
}

impl<T: Width, R: RegisterLongName> Writeable for ReadWrite<T, R> {
    type T = T;
    type R = R;

    #[inline]
    fn set(&self, value: T) {
        // SAFETY: as above.
        unsafe { T::store(self.value.get(), value) }
    }
}

/// Reading of a register where nothing may answer.
pub(super) trait Probe {
    /// The register's value; `None` where nothing answers.
    fn probe(&self) -> Option<u32>;
}

impl<R: RegisterLongName> Probe for ReadOnly<u32, R> {
    fn probe(&self) -> Option<u32> {
        // SAFETY: a register that may be read, if it is there, as `block`'s caller promised.
        unsafe { extable::probe_read32(VirtAddr::from_ptr(self.value.get())) }
    }
}

impl<R: RegisterLongName> Probe for ReadWrite<u32, R> {
    fn probe(&self) -> Option<u32> {
        // SAFETY: as above.
        unsafe { extable::probe_read32(VirtAddr::from_ptr(self.value.get())) }
    }
}

/// The registers that are mapped at `base`, laid out as `L`; `None` if no such layout can lie
/// there, as it is not aligned.
///
/// # Safety
/// `L` is made of the cells of this file alone. All its bytes are mapped at `base`, as device
/// memory that stays; its registers are there, or are only probed; nothing but the driver that
/// asks uses them.
pub(super) unsafe fn block<L: Sync>(base: VirtAddr) -> Option<&'static L> {
    let at = core::ptr::with_exposed_provenance::<L>(base.get());
    // SAFETY: the caller's; each value is one of a cell. Nothing else is reached by the reference.
    (!at.is_null() && at.is_aligned()).then(|| unsafe { &*at })
}
