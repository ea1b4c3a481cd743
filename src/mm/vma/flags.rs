//! Flags of areas, and the rights that page tables give by them (Linux: include/linux/mm.h,
//! arch/arm64/mm/mmap.c).

use crate::arch::pgtable::{MemoryType, Prot, UserAttrs};
use bitflags::bitflags;

bitflags! {
    /// Flags of an area (Linux: vm_flags_t), with Linux's values on arm64.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct VmFlags: u64 {
        /// Linux: VM_READ
        const READ = 1 << 0;
        /// Linux: VM_WRITE
        const WRITE = 1 << 1;
        /// Linux: VM_EXEC
        const EXEC = 1 << 2;
        /// Linux: VM_SHARED
        const SHARED = 1 << 3;
        /// Linux: VM_MAYREAD
        const MAYREAD = 1 << 4;
        /// Linux: VM_MAYWRITE
        const MAYWRITE = 1 << 5;
        /// Linux: VM_MAYEXEC
        const MAYEXEC = 1 << 6;
        /// Linux: VM_MAYSHARE
        const MAYSHARE = 1 << 7;
        /// Linux: VM_GROWSDOWN, VM_STACK
        const GROWSDOWN = 1 << 8;
        /// Linux: VM_UFFD_MISSING
        const UFFD_MISSING = 1 << 9;
        /// Linux: VM_PFNMAP
        const PFNMAP = 1 << 10;
        /// Linux: VM_UFFD_WP
        const UFFD_WP = 1 << 12;
        /// Linux: VM_LOCKED
        const LOCKED = 1 << 13;
        /// Linux: VM_IO
        const IO = 1 << 14;
        /// Linux: VM_SEQ_READ
        const SEQ_READ = 1 << 15;
        /// Linux: VM_RAND_READ
        const RAND_READ = 1 << 16;
        /// Linux: VM_DONTCOPY
        const DONTCOPY = 1 << 17;
        /// Linux: VM_DONTEXPAND
        const DONTEXPAND = 1 << 18;
        /// Linux: VM_LOCKONFAULT
        const LOCKONFAULT = 1 << 19;
        /// Linux: VM_ACCOUNT
        const ACCOUNT = 1 << 20;
        /// Linux: VM_NORESERVE
        const NORESERVE = 1 << 21;
        /// Linux: VM_HUGETLB
        const HUGETLB = 1 << 22;
        /// Linux: VM_SYNC
        const SYNC = 1 << 23;
        /// Linux: VM_ARM64_BTI
        const BTI = 1 << 24;
        /// Linux: VM_WIPEONFORK
        const WIPEONFORK = 1 << 25;
        /// Linux: VM_DONTDUMP
        const DONTDUMP = 1 << 26;
        /// Linux: VM_SOFTDIRTY. arm64 does not track it, so no area has it.
        const SOFTDIRTY = 1 << 27;
        /// Linux: VM_MIXEDMAP
        const MIXEDMAP = 1 << 28;
        /// Linux: VM_HUGEPAGE
        const HUGEPAGE = 1 << 29;
        /// Linux: VM_NOHUGEPAGE
        const NOHUGEPAGE = 1 << 30;
        /// Linux: VM_MERGEABLE
        const MERGEABLE = 1 << 31;
        /// Linux: VM_MTE
        const MTE = 1 << 36;
        /// Linux: VM_MTE_ALLOWED. The heap and the stack have it on all CPUs, so that they don't merge with
        /// mappings beside them.
        const MTE_ALLOWED = 1 << 37;
        /// Linux: VM_UFFD_MINOR
        const UFFD_MINOR = 1 << 38;
        /// Linux: VM_DROPPABLE
        const DROPPABLE = 1 << 40;
        /// Mapping of the kernel's own pages, as the vDSO's (Linux: special_mapping_vmops). It
        /// is never split, and its name is not that of a file.
        const SPECIAL_MAPPING = 1 << 62;
        /// Linux: VM_SEALED
        const SEALED = 1 << 63;

        /// Linux: VM_ACCESS_FLAGS
        const ACCESS = Self::READ.bits() | Self::WRITE.bits() | Self::EXEC.bits();
        /// Linux: VM_SPECIAL
        const SPECIAL = Self::IO.bits()
            | Self::DONTEXPAND.bits()
            | Self::PFNMAP.bits()
            | Self::MIXEDMAP.bits();
        /// Linux: VM_LOCKED_MASK
        const LOCKED_MASK = Self::LOCKED.bits() | Self::LOCKONFAULT.bits();
        /// Linux: VM_DATA_DEFAULT_FLAGS without READ_IMPLIES_EXEC
        const DATA_DEFAULT = Self::READ.bits()
            | Self::WRITE.bits()
            | Self::MAYREAD.bits()
            | Self::MAYWRITE.bits()
            | Self::MAYEXEC.bits()
            | Self::MTE_ALLOWED.bits();
        /// Linux: VM_STACK_FLAGS
        const STACK = Self::GROWSDOWN.bits() | Self::DATA_DEFAULT.bits() | Self::ACCOUNT.bits();
    }
}

impl VmFlags {
    /// Returns the attributes of the area's mappings: old and clean, with all rights that a program
    /// may come to have there. Faults take the right to write away where a page is shared (Linux:
    /// vm_get_page_prot).
    #[must_use]
    #[inline]
    pub const fn page_prot(self) -> UserAttrs {
        let mut prot = Prot::empty();
        // What can be written or executed can be read too.
        if self.intersects(Self::ACCESS) {
            prot = prot.union(Prot::READ);
        }
        if self.contains(Self::WRITE) {
            prot = prot.union(Prot::WRITE);
        }
        if self.contains(Self::EXEC) {
            prot = prot.union(Prot::EXEC);
        }
        let attrs = match UserAttrs::new(MemoryType::Normal, prot) {
            Some(attrs) => attrs,
            None => unreachable!(),
        };
        if self.contains(Self::BTI) { attrs.guarded() } else { attrs }
    }

    /// Returns whether it counts as code (Linux: is_exec_mapping).
    #[must_use]
    #[inline]
    pub const fn is_exec_mapping(self) -> bool {
        self.bits() & (Self::EXEC.bits() | Self::WRITE.bits() | Self::GROWSDOWN.bits())
            == Self::EXEC.bits()
    }

    /// Returns whether it counts as a stack (Linux: is_stack_mapping).
    #[must_use]
    #[inline]
    pub const fn is_stack_mapping(self) -> bool {
        self.contains(Self::GROWSDOWN)
    }

    /// Returns whether it counts as data (Linux: is_data_mapping).
    #[must_use]
    #[inline]
    pub const fn is_data_mapping(self) -> bool {
        self.bits() & (Self::WRITE.bits() | Self::SHARED.bits() | Self::GROWSDOWN.bits())
            == Self::WRITE.bits()
    }

    /// Returns whether the pages of a mapping with these flags count as committed: a private one that may be
    /// written, without MAP_NORESERVE (Linux: accountable_mapping).
    #[must_use]
    #[inline]
    pub const fn is_accountable(self) -> bool {
        self.bits() & (Self::NORESERVE.bits() | Self::SHARED.bits() | Self::WRITE.bits())
            == Self::WRITE.bits()
    }

    /// Returns whether it can be locked into memory (Linux: vma_supports_mlock).
    #[must_use]
    #[inline]
    pub const fn supports_mlock(self) -> bool {
        !self.intersects(Self::SPECIAL.union(Self::DROPPABLE).union(Self::HUGETLB))
    }

    /// Returns the rights that the MAY flags don't allow (Linux: `newflags & ~(newflags >> 4)`).
    #[must_use]
    pub const fn beyond_may(self) -> Self {
        Self::from_bits_retain(self.bits() & !(self.bits() >> 4)).intersection(Self::ACCESS)
    }
}
