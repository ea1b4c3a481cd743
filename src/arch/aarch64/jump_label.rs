//! The branches of static keys: the image's `__jump_table`, and how an entry is patched
//! (Linux: arch/arm64/kernel/jump_label.c).

use super::patching::{self, Instruction};
use crate::addr::VirtAddr;
use crate::arch::jump_label::StaticKey;

/// An entry: three places in the image, each as a distance from the word that holds it.
/// [`crate::static_branch_unlikely!`] writes it.
#[repr(C)]
struct Entry {
    code: i32,
    target: i32,
    key: i64,
}

const _: () = assert!(size_of::<Entry>() == 16);

fn relative<T>(distance: &T, by: i64) -> VirtAddr {
    VirtAddr::new(core::ptr::from_ref(distance).addr().wrapping_add_signed(by as isize))
}

impl Entry {
    fn code(&self) -> VirtAddr {
        relative(&self.code, i64::from(self.code))
    }
    fn target(&self) -> VirtAddr {
        relative(&self.target, i64::from(self.target))
    }
    fn key(&self) -> VirtAddr {
        relative(&self.key, self.key)
    }
}

unsafe extern "C" {
    static __start___jump_table: Entry;
    static __stop___jump_table: Entry;
}

fn table() -> &'static [Entry] {
    let (start, stop) = (&raw const __start___jump_table, &raw const __stop___jump_table);
    let count = (stop.addr() - start.addr()) / size_of::<Entry>();
    // SAFETY: linker.ld puts the entries of all branches between these symbols, in memory
    // that is never written.
    unsafe { core::slice::from_raw_parts(start, count) }
}

/// Makes all branches of `key` taken, or not. One CPU at a time.
///
/// # Panics
/// Where the image holds another instruction than the branch is known to be.
pub(in crate::arch) fn update(key: &'static StaticKey, on: bool) {
    let key = VirtAddr::from_ptr(core::ptr::from_ref(key));
    for entry in table().iter().filter(|entry| entry.key() == key) {
        let (at, branch) = (entry.code(), Instruction::branch(entry.code(), entry.target()));
        let (old, new) = if on { (Instruction::NOP, branch) } else { (branch, Instruction::NOP) };
        // SAFETY: B and NOP may take each other's place while CPUs run them (Arm ARM
        // B2.2.5), and the compiler made the code at both ends for either.
        unsafe { patching::replace(at, old, new) };
    }
}

/// Returns the number of branches.
#[must_use]
pub fn branches() -> usize {
    table().len()
}
