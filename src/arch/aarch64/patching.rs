//! Writing instructions into the image, which is nowhere mapped writable (Linux:
//! arch/arm64/kernel/patching.c, aarch64_insn_write).

use super::errata;
use super::sysreg::{dc_civac, dc_cvau, dsb_ish, ic_ivau, isb};
use super::{fixmap, image};
use crate::addr::{PAGE_SIZE, VirtAddr};
use crate::arch::errata::Workarounds;
use core::fmt;

/// An instruction of A64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Instruction(u32);

impl Instruction {
    /// NOP.
    pub const NOP: Self = Self(0xd503_201f);

    /// B from `at` to `target`.
    ///
    /// # Panics
    /// Where that is further than 128 MiB, or no multiple of 4.
    #[must_use]
    pub fn branch(at: VirtAddr, target: VirtAddr) -> Self {
        let distance = target.get().wrapping_sub(at.get()) as isize;
        assert!(distance % 4 == 0 && (-(1 << 27)..1 << 27).contains(&distance), "B {distance}");
        Self(0x1400_0000 | (distance >> 2) as u32 & 0x03ff_ffff)
    }
}

impl fmt::Debug for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// Puts `new` in the place of `old` at `at`, an instruction of the image. Other CPUs run
/// either until they synchronize their context: at an exception, for one.
///
/// # Panics
/// Where another instruction than `old` is there.
///
/// # Safety
/// Nobody else patches meanwhile. The image is right with either instruction, and both are
/// of those that may change places while they are run (Arm ARM B2.2.5).
pub(super) unsafe fn replace(at: VirtAddr, old: Instruction, new: Instruction) {
    assert!(image::text().contains(at) && at.is_aligned(4), "{at} is no instruction");
    let page = at.align_down(PAGE_SIZE);
    let poke = |expected: Instruction| {
        fixmap::with_text_poke(image::phys(page), |alias| {
            let word = core::ptr::with_exposed_provenance_mut::<u32>((alias + (at - page)).get());
            // SAFETY: an aligned word of the page that the window maps, writable for this call.
            let found = Instruction(unsafe { word.read_volatile() });
            assert!(found == expected, "patching {at}: {found:?} is there, and not {expected:?}");
            // SAFETY: as above, in one access; the caller answers for what it does.
            unsafe { word.write_volatile(new.0) };
        });
    };
    poke(old);
    // QEMU may translate the old instruction once more, for another CPU, between taking back
    // what it had translated and storing the new one; and whether a store is to take anything
    // back it knows by the window's TLB entry, which that CPU may be about to change. When the
    // window was closed, all CPUs have left what they were running for the flush; so by its
    // next entry the second store takes back what is left.
    poke(new);
    sync_instruction(at);
}

/// Lets instruction fetches see what was stored at `at` (Arm ARM B2.7.4.2; Linux:
/// caches_clean_inval_pou).
fn sync_instruction(at: VirtAddr) {
    let clean_to_memory = errata::workarounds().contains(Workarounds::CLEAN_INVALIDATE);
    // SAFETY: cache maintenance of mapped memory, and barriers, change no byte.
    unsafe {
        if clean_to_memory {
            dc_civac(at.get());
        } else {
            dc_cvau(at.get());
        }
        dsb_ish();
        ic_ivau(at.get());
        dsb_ish();
        isb();
    }
}
