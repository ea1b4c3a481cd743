use super::*;

#[test]
fn levels() {
    let sizes = [1 << 39, 1 << 30, 1 << 21, 1 << 12];
    let levels = [Level::Pgd, Level::Pud, Level::Pmd, Level::Pte];
    for (level, size) in levels.into_iter().zip(sizes) {
        assert_eq!(level.size(), size);
        assert_eq!(level.down().map(Level::table_span), (size > 4096).then_some(size));
    }
    assert_eq!((Level::Pte.cont_size(), Level::Pmd.cont_size()), (64 << 10, 32 << 20));
    // 0xffff_8000_1234_5678: PGD 256, PUD 0, PMD 145, PTE 325.
    let va = VirtAddr::new(0xffff_8000_1234_5678);
    assert_eq!(levels.map(|l| l.index(va)), [256, 0, 145, 325]);
    assert_eq!(Level::Pgd.index(VirtAddr::new(0xffff_ffff_ffff_ffff)), 511);
}

/// The words as the manual's figures spell them, written out bit by bit.
#[test]
fn words() {
    let pa = PhysAddr::new(0x4000_0000);
    let word = |attrs| Descriptor::leaf(Level::Pte, pa, attrs, false).bits();
    // UXN PXN . . . | PA | AF, SH=11, AP=00, AttrIndx=0, page, valid.
    assert_eq!(word(KernelAttrs::KERNEL), 0x0060_0000_4000_0703);
    assert_eq!(word(KernelAttrs::KERNEL_RO), 0x0060_0000_4000_0783);
    assert_eq!(word(KernelAttrs::KERNEL_ROX), 0x0040_0000_4000_0783);
    // SH=10, AttrIndx=3 and 1.
    assert_eq!(word(KernelAttrs::DEVICE), 0x0060_0000_4000_060f);
    assert_eq!(word(KernelAttrs::NORMAL_NC), 0x0060_0000_4000_0607);
    assert_eq!(word(KernelAttrs::KERNEL_ROX.guarded()), 0x0044_0000_4000_0783);
    let block = Descriptor::leaf(Level::Pmd, pa, KernelAttrs::KERNEL, false);
    assert_eq!(block.bits(), 0x0060_0000_4000_0701);
    let set = Descriptor::leaf(Level::Pte, pa, KernelAttrs::KERNEL, true);
    assert_eq!(set.bits(), 0x0070_0000_4000_0703);
    assert_eq!(Descriptor::table(pa).bits(), 0x1000_0000_4000_0003);
}

#[test]
fn kinds() {
    let pa = PhysAddr::new(0x4000_0000);
    let attrs = KernelAttrs::KERNEL_ROX;
    for level in [Level::Pud, Level::Pmd, Level::Pte] {
        for contiguous in [false, true] {
            let d = Descriptor::leaf(level, pa, attrs, contiguous);
            assert_eq!(d.kind(level), Kind::Leaf(pa, attrs));
            let next = pa + level.size() as u64;
            let further = Descriptor::leaf(level, next, attrs, contiguous);
            assert_eq!(d.further(level.size()), further);
            assert_eq!(d.is_contiguous(), contiguous);
        }
    }
    for level in [Level::Pgd, Level::Pud, Level::Pmd] {
        assert_eq!(Descriptor::table(pa).kind(level), Kind::Table(pa));
        assert_eq!(Descriptor::table(pa).next_table(), Some(pa));
        // All that has bit 0 or bit 1 clear, whatever else it says.
        for word in [0, 1, 2, !1, !2, !3].map(Descriptor::from_bits) {
            assert!(!matches!(word.kind(level), Kind::Table(_)));
            assert_eq!(word.next_table(), None);
        }
    }
    // A block has no place at the PGD, nor a word that ends in 01 at the PTE.
    let block = Descriptor::leaf(Level::Pmd, pa, attrs, false);
    assert_eq!(block.kind(Level::Pgd), Kind::Invalid);
    assert_eq!(block.kind(Level::Pte), Kind::Invalid);
    for level in [Level::Pgd, Level::Pud, Level::Pmd, Level::Pte] {
        assert_eq!(Descriptor::INVALID.kind(level), Kind::Invalid);
        // Valid clear, everything else set: software's own, and never walked.
        assert_eq!(Descriptor::from_bits(!1).kind(level), Kind::Invalid);
    }
    for level in [Level::Pud, Level::Pmd, Level::Pte] {
        let leaf = Descriptor::leaf(level, pa, attrs, true);
        assert_eq!(leaf.present_invalid().kind(level), Kind::Invalid);
        assert_eq!(leaf.present_invalid().undo_present_invalid(), Some(leaf));
        assert_eq!(leaf.undo_present_invalid(), None);
    }
    assert_eq!(Descriptor::INVALID.undo_present_invalid(), None);
}

#[test]
fn attributes_read_back_and_none_is_writable_and_executable() {
    for memory in MemoryType::ALL {
        for permission in [Permission::Ro, Permission::Rw, Permission::Rx] {
            let Some(attrs) = KernelAttrs::new(memory, permission) else {
                assert!(memory.is_device() && permission == Permission::Rx);
                continue;
            };
            assert_eq!((attrs.memory(), attrs.permission()), (memory, permission));
            for attrs in [attrs, attrs.guarded()] {
                let d = Descriptor::leaf(Level::Pte, PhysAddr::new(0), attrs, false);
                assert!(!d.is_writable_and_executable() && !d.is_open_to_el0());
                assert_eq!(attrs.bits() & !ATTRS, 0);
                assert!(attrs.bits() & AF != 0 && attrs.bits() & NG == 0);
            }
        }
    }
    assert!(Descriptor::from_bits(0x0040_0000_4000_0703).is_writable_and_executable());
    assert!(Descriptor::from_bits(0x0020_0000_4000_0703).is_open_to_el0());
}

#[test]
fn what_may_change_in_place() {
    let rw = KernelAttrs::KERNEL;
    assert!(rw.same_memory(KernelAttrs::KERNEL_ROX));
    assert!(rw.same_memory(KernelAttrs::KERNEL_RO.guarded()));
    assert!(!rw.same_memory(KernelAttrs::NORMAL_NC));
    assert!(!rw.same_memory(KernelAttrs::data(MemoryType::NormalWt, true)));
    assert_eq!(rw.with_permission(Permission::Rx), Some(KernelAttrs::KERNEL_ROX));
    assert_eq!(KernelAttrs::DEVICE.with_permission(Permission::Rx), None);
}
