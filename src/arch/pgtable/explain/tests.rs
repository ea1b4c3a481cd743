use super::super::{KernelAttrs, tcr_el1};
use super::*;
use std::collections::HashMap;
use std::string::{String, ToString};
use std::vec::Vec;

const PGD: PhysAddr = PhysAddr::new(0x4000_0000);

/// A machine's words, by their addresses.
#[derive(Default)]
struct Words(HashMap<u64, u64>);

impl Words {
    fn set(&mut self, table: PhysAddr, level: Level, va: VirtAddr, descriptor: Descriptor) {
        let at = table + (level.index(va) * 8) as u64;
        self.0.insert(at.get(), descriptor.bits());
    }
    /// Tables for `va` down to, but not including, `last`; the table at `last`.
    fn tables_to(&mut self, va: VirtAddr, last: Level) -> PhysAddr {
        let mut table = PGD;
        for level in [Level::Pgd, Level::Pud, Level::Pmd] {
            if level == last {
                break;
            }
            self.set(table, level, va, Descriptor::table(table + 0x1000));
            table = table + 0x1000;
        }
        table
    }
    /// Gives the table link of `level` for `va` these limits, and the others none.
    fn limit(&mut self, va: VirtAddr, level: Level, bits: u64) {
        let mut table = PGD;
        for at in [Level::Pgd, Level::Pud, Level::Pmd] {
            let limits = if at == level { bits } else { 0 };
            let link = (table + 0x1000).get() | limits | 0b11;
            self.set(table, at, va, Descriptor::from_bits(link));
            table = table + 0x1000;
        }
    }
    fn walk(&self, va: VirtAddr) -> Vec<Step> {
        Walk::new(PGD, va, |at| self.0.get(&at.get()).copied()).collect()
    }
    fn last(&self, va: VirtAddr) -> String {
        self.walk(va).last().expect("a walk has a step").to_string()
    }
}

const VA: VirtAddr = VirtAddr::new(0xffff_8001_2345_6789);

#[test]
fn walks_to_the_leaf() {
    for (level, steps) in [(Level::Pud, 2), (Level::Pmd, 3), (Level::Pte, 4)] {
        let mut words = Words::default();
        let table = words.tables_to(VA, level);
        let pa = PhysAddr::new(0x8000_0000);
        let leaf = Descriptor::leaf(level, pa, KernelAttrs::KERNEL_RO, false);
        words.set(table, level, VA, leaf);
        let walk = words.walk(VA);
        assert_eq!(walk.len(), steps);
        for (step, expected) in walk.iter().zip([Level::Pgd, Level::Pud, Level::Pmd, Level::Pte]) {
            assert_eq!((step.level, step.index), (expected, expected.index(VA)));
        }
        let last = walk[steps - 1];
        assert_eq!(last.descriptor, Some(leaf));
        assert_eq!(last.kind(), Some(Kind::Leaf(pa, KernelAttrs::KERNEL_RO)));
        assert_eq!(last.at, table + (level.index(VA) * 8) as u64);
    }
}

#[test]
fn ends_where_nothing_is() {
    let mut words = Words::default();
    let table = words.tables_to(VA, Level::Pte);
    words.set(table, Level::Pte, VA, Descriptor::INVALID);
    assert_eq!(words.walk(VA).len(), 4);
    assert!(words.last(VA).starts_with("level 3 (PTE) entry  86 at 0x40003"));
    assert!(words.last(VA).ends_with(": 0x0000000000000000 invalid"));
    // Bit 1 clear at the last level: reserved.
    words.set(table, Level::Pte, VA, Descriptor::from_bits(0x8000_0701));
    assert!(words.last(VA).ends_with("reserved, taken as invalid"));
}

#[test]
fn a_table_that_cannot_be_read_ends_it() {
    let mut words = Words::default();
    let table = words.tables_to(VA, Level::Pmd);
    let wild = PhysAddr::new(0x7fff_dead_b000);
    words.set(table, Level::Pmd, VA, Descriptor::table(wild));
    let walk = words.walk(VA);
    assert_eq!(walk.len(), 4);
    assert_eq!((walk[3].descriptor, walk[3].kind()), (None, None));
    assert!(words.last(VA).ends_with("not in RAM that the kernel has mapped"));
    // Not even the PGD.
    assert_eq!(Words::default().walk(VA).len(), 1);
}

#[test]
fn a_table_that_is_its_own_ends_it() {
    let mut words = Words::default();
    // All addresses of such a table's spans lead back to it, four times.
    let va = VirtAddr::new(0xffff_ffff_ffff_f000);
    words.set(PGD, Level::Pgd, va, Descriptor::table(PGD));
    let walk = words.walk(va);
    assert_eq!(walk.len(), 4);
    assert!(matches!(walk[3].kind(), Some(Kind::Leaf(PGD, _))));
}

#[test]
fn attributes_in_words() {
    let say = |bits: u64| {
        let descriptor = Some(Descriptor::from_bits(bits));
        let step = Step {
            level: Level::Pte,
            index: 7,
            at: PGD + 56,
            descriptor,
            limits: TableLimits::NONE,
        };
        let text = step.to_string();
        text.split_once("page ")
            .expect("a page")
            .1
            .split_once(", ")
            .expect("attributes")
            .1
            .to_string()
    };
    let pa = 0x8000_0000;
    assert_eq!(say(0x0060_0000_0000_0703 | pa), "Normal, read-write, inner shareable");
    assert_eq!(say(0x0060_0000_0000_0783 | pa), "Normal, read-only, inner shareable");
    assert_eq!(say(0x0040_0000_0000_0783 | pa), "Normal, read-only, executable, inner shareable");
    assert_eq!(say(0x0060_0000_0000_060f | pa), "DeviceNgnre, read-write, outer shareable");
    // All that a mapping of the kernel's never says.
    assert_eq!(
        say(0x0014_0000_0000_0843 | pa),
        "Normal, read-write, executable, open to EL0, executable at EL0, not shareable, \
         access flag clear, not global, contiguous, guarded"
    );
    assert_eq!(say(0x0060_0000_0000_0503 | pa), "Normal, read-write, reserved shareability");
}

#[test]
fn limits_of_tables_in_words() {
    let say = |bits: u64| {
        let descriptor = Some(Descriptor::from_bits(bits));
        Step { level: Level::Pud, index: 511, at: PGD, descriptor, limits: TableLimits::NONE }
            .to_string()
    };
    assert_eq!(
        say(0x7800_0000_4000_1003),
        "level 1 (PUD) entry 511 at 0x40000000: 0x7800000040001003 \
         table 0x40001000, read-only below, closed to EL0, PXN, UXN"
    );
    assert!(say(0x4000_1003).ends_with("table 0x40001000"));
}

/// A leaf is said to have the rights that the tables above it leave.
#[test]
fn limits_are_worked_into_the_leaf() {
    let all = Descriptor::from_bits(0x8000_0000 | 1 << 6 | 0b11 << 8 | 1 << 10 | 0b11);
    for (limit, level, said) in [
        (1 << 62, Level::Pgd, "read-only, executable, open to EL0, executable at EL0"),
        (1 << 61, Level::Pud, "read-write, executable, executable at EL0"),
        (1 << 60, Level::Pmd, "read-write, executable, open to EL0"),
        (1 << 59, Level::Pmd, "read-write, open to EL0, executable at EL0"),
    ] {
        let mut words = Words::default();
        let table = words.tables_to(VA, Level::Pte);
        words.set(table, Level::Pte, VA, all);
        let bare =
            "Normal, read-write, executable, open to EL0, executable at EL0, inner shareable";
        words.limit(VA, Level::Pmd, 0);
        assert!(words.last(VA).ends_with(bare), "{}", words.last(VA));
        words.limit(VA, level, limit);
        let limited = std::format!("Normal, {said}, inner shareable, limited by a table above");
        assert!(words.last(VA).ends_with(&limited), "{}", words.last(VA));
    }
}

#[test]
fn where_a_walk_begins() {
    let bases = |tcr| Bases { tcr, ttbr0: 0x0012_0000_1234_5001, ttbr1: 0x6789_a001 };
    let ids = super::super::IdMmfr { mmfr0: 0, mmfr1: 0, mmfr2: 0, isar0: 0 };
    let open = bases(tcr_el1(&ids, false));
    let closed = bases(tcr_el1(&ids, true));
    let va = VirtAddr::new;
    let (lower, upper) = (PhysAddr::new(0x1234_5000), PhysAddr::new(0x6789_a000));
    for low in [0, 0x1234, 0x0000_ffff_ffff_ffff] {
        assert_eq!(open.start(va(low)), Start::Pgd(false, lower));
        assert_eq!(closed.start(va(low)), Start::Off(false));
    }
    for high in [0xffff_0000_0000_0000, usize::MAX] {
        assert_eq!(open.start(va(high)), Start::Pgd(true, upper));
        assert_eq!(closed.start(va(high)), Start::Pgd(true, upper));
        assert_eq!(bases(closed.tcr | 1 << 23).start(va(high)), Start::Off(true));
    }
    for neither in [0x0001_0000_0000_0000, 0xfffe_ffff_ffff_ffff, 0x5a00_0000_0000_0000] {
        assert_eq!(open.start(va(neither)), Start::OutOfRange);
    }
    // The top byte ignored.
    let tagged = bases(open.tcr | 1 << 37);
    assert_eq!(tagged.start(va(0x5a00_0000_0000_1000)), Start::Pgd(false, lower));
    assert_eq!(tagged.start(va(0x5a01_0000_0000_1000)), Start::OutOfRange);
    assert_eq!(tagged.start(va(0x5aff_0000_0000_1000)), Start::OutOfRange);
    assert_eq!(bases(open.tcr | 1 << 38).start(va(0x5aff_0000_0000_1000)), Start::Pgd(true, upper));
}
