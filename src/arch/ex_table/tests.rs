use super::*;
use std::vec::Vec;

/// A table whose entry `n` is of the instruction at `4 * n` from the end of the table, with the
/// fixup 400 bytes on, and the kind `n`.
fn table(len: usize) -> Vec<Entry> {
    let distance = |n: usize, field: usize, to: usize| {
        (len * size_of::<Entry>() + to) as i32 - (n * size_of::<Entry>() + field) as i32
    };
    let entry = |n| Entry {
        instruction: distance(n, 0, 4 * n),
        fixup: distance(n, 4, 4 * n + 400),
        kind: n as u32,
    };
    (0..len).map(entry).collect()
}

fn end(table: &[Entry]) -> u64 {
    table.as_ptr_range().end.addr() as u64
}

#[test]
fn each_instruction_is_found_and_no_other() {
    for len in [0, 1, 2, 3, 7, 40] {
        let table = table(len);
        let end = end(&table);
        assert!(is_sorted(&table));
        for n in 0..len as u64 {
            let entry = search(&table, end + 4 * n).unwrap();
            assert_eq!(entry.instruction(), end + 4 * n);
            assert_eq!(entry.fixup(), end + 4 * n + 400);
            assert!(search(&table, end + 4 * n + 1).is_none());
        }
        assert!(search(&table, end.wrapping_sub(4)).is_none());
        assert!(search(&table, end + 4 * len as u64).is_none());
        assert!(search(&table, 0).is_none() && search(&table, u64::MAX).is_none());
    }
}

#[test]
fn kinds_by_their_numbers() {
    let kinds: Vec<_> = table(4).iter().map(Entry::kind).collect();
    assert_eq!(kinds, [Some(Kind::Kernel), Some(Kind::User), Some(Kind::UserX0), None]);
}

#[test]
fn a_table_out_of_order_is_told() {
    let mut table = table(3);
    table[1].instruction -= 4;
    assert!(!is_sorted(&table), "an instruction twice");
    table[1].instruction -= 4;
    assert!(!is_sorted(&table));
}
