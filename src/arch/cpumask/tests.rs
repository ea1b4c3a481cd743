use super::*;
use proptest::collection::btree_set;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::string::ToString;

/// As many words as 256 CPUs have.
type Wide = Mask<4>;

fn mask(numbers: &BTreeSet<usize>) -> Wide {
    numbers.iter().fold(Wide::NONE, |mask, &n| mask.with(n))
}

fn set(mask: Wide) -> BTreeSet<usize> {
    mask.numbers().collect()
}

proptest! {
    #[test]
    fn a_mask_is_a_set(a in btree_set(0usize..256, 0..80), b in btree_set(0usize..256, 0..80), n in 0usize..256) {
        let (x, y) = (mask(&a), mask(&b));
        prop_assert_eq!(set(x), a.clone());
        prop_assert_eq!(x.count(), a.len());
        prop_assert_eq!(x.is_empty(), a.is_empty());
        prop_assert_eq!(set(x.and(y)), &a & &b);
        prop_assert_eq!(set(x.and_not(y)), &a - &b);
        prop_assert_eq!(x.has(n), a.contains(&n));
        prop_assert!(!x.without(n).has(n) && x.with(n).has(n));
        prop_assert_eq!(x.without(n).with(n), x.with(n));
        prop_assert_eq!(x.nearest(n), a.iter().copied().min_by_key(|&other| other ^ n));
        let back: std::vec::Vec<usize> = x.numbers().rev().collect();
        prop_assert!(back.iter().rev().copied().eq(a.iter().copied()));

        let shared = AtomicMask::new(x);
        prop_assert_eq!(shared.has(n, Ordering::Relaxed), a.contains(&n));
        shared.add(n, Ordering::Relaxed);
        prop_assert_eq!(shared.load(Ordering::Relaxed), x.with(n));
        shared.remove(n, Ordering::Relaxed);
        prop_assert_eq!(shared.load(Ordering::Relaxed), x.without(n));
    }
}

#[test]
fn hexadecimal_as_linux_prints_it() {
    let hex =
        |numbers: &[usize], bits| Hex(mask(&numbers.iter().copied().collect()), bits).to_string();
    assert_eq!(hex(&[0, 3], 4), "9");
    assert_eq!(hex(&[0, 3], 8), "09");
    assert_eq!(hex(&[31], 32), "80000000");
    assert_eq!(hex(&[0, 32], 33), "1,00000001");
    assert_eq!(hex(&[63], 64), "80000000,00000000");
    assert_eq!(hex(&[64, 65], 68), "3,00000000,00000000");
    let all: std::vec::Vec<usize> = (0..256).collect();
    assert_eq!(hex(&all, 256), ["ffffffff"; 8].join(","));
}

#[test]
fn a_set_of_cpus() {
    let last = CpuId::new(NR_CPUS - 1).expect("a CPU");
    let both: CpuMask = [last, CpuId::BOOT].into_iter().collect();
    assert!(both.contains(last) && both.contains(CpuId::BOOT) && both.count() == 2);
    assert!(both.iter().eq([CpuId::BOOT, last]));
    assert_eq!(both.without_cpu(last), CpuMask::of(CpuId::BOOT));
    assert_eq!((CpuMask::ALL.iter().count(), CpuMask::ALL.count()), (NR_CPUS, NR_CPUS));
    let shared = AtomicCpuMask::new(CpuMask::of(last));
    shared.set(CpuId::BOOT, Ordering::Relaxed);
    assert_eq!(shared.load(Ordering::Relaxed), both);
    shared.clear(last, Ordering::Relaxed);
    assert_eq!(shared.load(Ordering::Relaxed), CpuMask::of(CpuId::BOOT));
}
