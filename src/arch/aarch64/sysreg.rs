//! Reading of ID registers (Linux: read_sysreg of arch/arm64/include/asm/sysreg.h).

/// Reads an ID register by its name.
macro_rules! id_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reads an ID register, which has no side effect at EL1.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value,
                options(nomem, nostack, preserves_flags));
        }
        value
    }};
}
pub(super) use id_register;

pub(super) use crate::arch::pgtable::field;
