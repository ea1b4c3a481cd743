//! Page counts of areas.

use super::VmFlags;

/// Page counts of areas, by what they count as.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Totals {
    /// All (Linux: total_vm).
    pub pages: u64,
    /// Pages in locked areas (Linux: locked_vm).
    pub locked: u64,
    /// Pages that count as committed (Linux: VM_ACCOUNT).
    pub accounted: u64,
    /// Code (Linux: exec_vm).
    pub exec: u64,
    /// Stacks (Linux: stack_vm).
    pub stack: u64,
    /// Data (Linux: data_vm).
    pub data: u64,
}

impl Totals {
    /// Adds `pages` pages with `flags`.
    #[inline]
    pub fn add(&mut self, flags: VmFlags, pages: u64) {
        self.pages += pages;
        if flags.contains(VmFlags::LOCKED) {
            self.locked += pages;
        }
        if flags.contains(VmFlags::ACCOUNT) {
            self.accounted += pages;
        }
        if flags.is_exec_mapping() {
            self.exec += pages;
        } else if flags.is_stack_mapping() {
            self.stack += pages;
        } else if flags.is_data_mapping() {
            self.data += pages;
        }
    }
}
