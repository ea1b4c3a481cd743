//! Attributes and entries, as words.

use super::*;
use crate::addr::Pfn;
use crate::arch::pgtable::KernelAttrs;
use crate::arch::pgtable::descriptor::{AF, AP_EL0, AP_RDONLY, DBM, UXN};

/// All rights that a program can have.
fn prots() -> impl Iterator<Item = Prot> {
    (0..8).map(Prot::from_bits_truncate)
}

#[test]
fn no_attributes_let_the_kernel_execute_or_are_global() {
    for memory in MemoryType::ALL {
        for prot in prots() {
            let Some(attrs) = UserAttrs::new(memory, prot) else {
                assert!(memory.is_device() && prot.contains(Prot::EXEC));
                continue;
            };
            let states = [
                attrs,
                attrs.young(),
                attrs.dirty(),
                attrs.dirty().clean(),
                attrs.guarded(),
                attrs.writable(),
                attrs.dirty().write_protected(),
                attrs.young().old(),
            ];
            for attrs in states {
                let leaf = Leaf::<User> { pa: M, attrs, contiguous: false, valid: true };
                let word = leaf.descriptor(Level::Pte);
                assert_eq!(word.bits() & (PXN | NG), PXN | NG, "{attrs:?}");
                assert_eq!(User::defect(word, TableLimits::NONE), None);
                assert_eq!(attrs.memory(), memory);
            }
        }
    }
    assert!(User::defect(Descriptor::from_bits(NG), TableLimits::NONE).is_some());
    assert!(User::defect(Descriptor::from_bits(PXN), TableLimits::NONE).is_some());
}

/// The bits as the manual and Linux's pgtable-prot.h spell them.
#[test]
fn words() {
    let word = |prot| {
        let attrs = UserAttrs::new(MemoryType::Normal, prot).unwrap();
        Leaf::<User> { pa: M, attrs, contiguous: false, valid: true }.descriptor(Level::Pte).bits()
    };
    let all = M.get() | PXN | NG | 0b11 << 8 | 0b11;
    assert_eq!(word(Prot::empty()), all | AP_RDONLY | UXN);
    assert_eq!(word(Prot::READ), all | AP_RDONLY | AP_EL0 | UXN);
    assert_eq!(word(Prot::READ | Prot::EXEC), all | AP_RDONLY | AP_EL0);
    assert_eq!(word(Prot::READ | Prot::WRITE), all | AP_RDONLY | AP_EL0 | UXN | DBM);
    assert_eq!(word(Prot::WRITE), word(Prot::READ | Prot::WRITE));
}

#[test]
fn state_stays_with_the_page() {
    for prot in prots() {
        let new = UserAttrs::new(MemoryType::Normal, prot).unwrap();
        assert!(!new.is_young() && !new.is_dirty());
        assert!(new.young().is_young() && !new.young().old().is_young());
        let dirty = new.dirty();
        assert!(dirty.is_dirty() && !dirty.clean().is_dirty(), "{prot:?}");
        assert!(dirty.write_protected().is_dirty() && !dirty.write_protected().is_writable());
        assert!(!new.write_protected().is_dirty());
        assert!(dirty.write_protected().writable().is_dirty());
        assert!(!new.write_protected().writable().is_dirty());
        for other in prots() {
            for state in [new, dirty, new.young(), dirty.young()] {
                let to = state.with_prot(other).unwrap();
                assert_eq!(to.is_dirty(), state.is_dirty(), "{state:?} to {other:?}");
                assert_eq!(to.is_young(), state.is_young());
                assert_eq!(to.is_writable(), other.contains(Prot::WRITE));
            }
        }
    }
}

/// A page that is clean can be written by no program until it is dirty.
#[test]
fn a_clean_page_is_read_only_to_walkers() {
    for prot in prots() {
        let new = UserAttrs::new(MemoryType::Normal, prot).unwrap();
        assert_ne!(new.bits() & AP_RDONLY, 0);
        assert_eq!(new.dirty().bits() & AP_RDONLY == 0, prot.contains(Prot::WRITE));
        assert_ne!(new.dirty().write_protected().bits() & AP_RDONLY, 0);
        assert_eq!(new.bits() & AF, 0);
    }
}

fn software_forms() -> Vec<UserPte> {
    let mut forms = std::vec![UserPte::None];
    for n in [0, 1, 0x8000_0001, u32::MAX] {
        for bits in 0..16 {
            let bit = |i: u32| bits >> i & 1 != 0;
            let (writable, exclusive, young, dirty) = (bit(0), bit(1), bit(2), bit(3));
            forms.push(UserPte::Swap(SwapPte { entry: n, exclusive, uffd_wp: bit(0) }));
            let pfn = Pfn::new(n);
            let moved = MigrationPte { pfn, writable, exclusive, young, dirty };
            forms.push(UserPte::Migration(moved));
        }
    }
    forms.extend((1..8).map(|bits| UserPte::Marker(PteMarker::from_bits_truncate(bits))));
    for prot in prots() {
        let attrs = UserAttrs::new(MemoryType::Normal, prot).unwrap();
        for attrs in [attrs, attrs.dirty().young(), attrs.dirty().write_protected()] {
            forms.push(UserPte::Present(Leaf { pa: M, attrs, contiguous: false, valid: false }));
        }
    }
    forms
}

#[test]
fn each_form_reads_back_and_no_walker_finds_it() {
    let mut words = BTreeSet::new();
    for form in software_forms() {
        let word = form.encode();
        assert_eq!(UserPte::decode(word), form);
        assert!(!word.is_valid(), "{form:?}");
        words.insert(word.bits());
    }
    // Swap entries have no more than two flags.
    assert!(words.len() > 100);
    let attrs = used();
    let shown = UserPte::Present(Leaf { pa: M, attrs, contiguous: false, valid: true });
    assert_eq!(UserPte::decode(shown.encode()), shown);
    assert!(shown.encode().is_valid());
}

/// An entry that the kernel's tables hide is none of a user's, nor the other way round.
#[test]
fn hidden_entries_of_two_regimes_are_told_apart() {
    for form in software_forms() {
        assert_eq!(form.encode().undo_present_invalid(), None, "{form:?}");
    }
    for attrs in [KernelAttrs::KERNEL, KernelAttrs::KERNEL_ROX, KernelAttrs::DEVICE] {
        let hidden = Descriptor::leaf(Level::Pte, M, attrs, false).present_invalid();
        assert_eq!(UserPte::decode(hidden), UserPte::Bad(hidden));
        assert_eq!(User::show(hidden), None);
    }
}

#[test]
fn words_that_nobody_writes_are_bad() {
    for bits in [2, 1 << 11, 1 << 56 | 1 << 11, 2 << 56 | 1 << 60, 4 << 56, 5 << 56, 1 << 63] {
        let word = Descriptor::from_bits(bits);
        assert_eq!(UserPte::decode(word), UserPte::Bad(word), "{bits:#x}");
    }
}
