//! The sequences of barriers and maintenance that emulation does not punish for what is missing,
//! each in a function of its own: `scripts/tests/disassembly` looks at their instructions.

use granule::addr::{PAGE_SIZE, PhysAddr, PhysRange, VirtAddr};
use granule::arch::cpu;
use granule::arch::irq::with_masked;
use granule::arch::{cache, mmu, phys_to_virt};

/// Something that holds for any instruction: maintenance of memory of this test's own.
pub struct Subject {
    /// A frame.
    pub frame: PhysAddr,
    /// An address in the kernel's half that nobody uses.
    pub va: VirtAddr,
}

macro_rules! pins {
    ($(fn $name:ident($subject:ident) $body:block)*) => {
        $(
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $name($subject: &Subject) $body
        )*
        /// All of them.
        pub const PINS: &[extern "C" fn(&Subject)] = &[$($name),*];
    };
}

fn frame(subject: &Subject) -> PhysRange {
    PhysRange::from_size(subject.frame, PAGE_SIZE as u64)
}

pins! {
    fn pin_dsb_ishst(_subject) { mmu::dsb_ishst(); }
    fn pin_dsb_ish(_subject) { mmu::dsb_ish(); }
    fn pin_dsb_nsh(_subject) { mmu::dsb_nsh(); }
    fn pin_isb(_subject) { mmu::isb(); }
    fn pin_tlbi_vmalle1is(_subject) { mmu::tlbi_vmalle1is(); }
    fn pin_tlbi_vmalle1(_subject) { mmu::tlbi_vmalle1(); }
    fn pin_tlbi_vaae1is(subject) { mmu::tlbi_vaae1is(subject.va); }
    fn pin_tlbi_vaale1is(subject) { mmu::tlbi_vaale1is(subject.va); }
    // SAFETY: it is the test's own, which no longer uses it.
    fn pin_dcache_clean_poc(subject) { unsafe { cache::dcache_clean_poc(frame(subject)) }; }
    // SAFETY: it is the test's own, which no longer uses it.
    fn pin_dcache_inval_poc(subject) { unsafe { cache::dcache_inval_poc(frame(subject)) }; }
    fn pin_dcache_clean_inval_poc(subject) {
        // SAFETY: a frame of this test's own, in the linear map.
        unsafe { cache::dcache_clean_inval_poc_at(phys_to_virt(subject.frame), frame(subject)) };
    }
    fn pin_wake_all(_subject) { cpu::wake_all(); }
    fn pin_with_masked(_subject) { with_masked(|_| mmu::isb()); }
}
