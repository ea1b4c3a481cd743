use super::*;
use crate::firmware::fdt::tests::Builder;
use std::vec::Vec;

/// Numbers of a kernel for 256 CPUs.
const LIMIT: usize = 256;

/// The affinity of core `n` of clusters of 16.
fn affinity(n: u64) -> u64 {
    ((n / 16) << 8) | (n % 16)
}

/// A tree of cores with these affinities; each third one is started by another way, which says nothing
/// about its number, and after each tenth comes one that has failed.
fn tree(affinities: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut builder = Builder::new(2, 2).open("cpus");
    builder = builder.cells("#address-cells", &[2]).cells("#size-cells", &[0]);
    for (n, mpidr) in affinities.enumerate() {
        let method = if n % 3 == 2 { "spin-table" } else { "psci" };
        let node = builder.open(&std::format!("cpu@{mpidr:x}")).string("device_type", "cpu");
        builder = node.longs("reg", &[mpidr]).string("enable-method", method).close();
        if n % 10 == 9 {
            let node = builder.open(&std::format!("cpu@f{mpidr:05x}"));
            builder = node.longs("reg", &[0xf0_0000 | mpidr]).string("status", "fail").close();
        }
    }
    builder.close().blob()
}

/// Numbers all cores of a tree as the boot does, of which those that `starts` says come up: their
/// affinities by number, and those that were left out.
fn number(blob: &[u8], boot: u64, starts: impl Fn(u64) -> bool) -> (Vec<u64>, Option<LeftOut>) {
    let tree = Tree::new(blob).expect("a tree");
    let (mut up, mut numbers) = (std::vec![boot], Numbers::new(LIMIT));
    for core in available(&tree) {
        let mpidr = core.mpidr().expect("a reg");
        if let Number::Free(n) = numbers.find(mpidr, |n| up.get(n).copied()) {
            assert_eq!(n, up.len());
            if starts(mpidr) {
                up.push(mpidr);
                numbers.take();
            }
        }
    }
    (up, numbers.left_out())
}

#[test]
#[cfg_attr(miri, ignore = "trees of hundreds of cores")]
fn as_many_cores_as_there_are_numbers_get_numbers_in_order() {
    let blob = tree((0..LIMIT as u64).map(affinity));
    assert_eq!(nr_possible(&Tree::new(&blob).expect("a tree"), 0, LIMIT), LIMIT);
    let (up, left_out) = number(&blob, 0, |_| true);
    assert!(up.iter().copied().eq((0..LIMIT as u64).map(affinity)));
    assert_eq!(left_out, None);
}

#[test]
#[cfg_attr(miri, ignore = "trees of hundreds of cores")]
fn cores_beyond_those_are_counted_as_left_out() {
    let blob = tree((0..300).map(affinity));
    assert_eq!(nr_possible(&Tree::new(&blob).expect("a tree"), 0, LIMIT), LIMIT);
    let (up, left_out) = number(&blob, 0, |_| true);
    assert!(up.iter().copied().eq((0..256).map(affinity)));
    assert_eq!(left_out, Some(LeftOut { count: 44, first: affinity(256) }));
}

/// The boot CPU is the first, wherever its node is, and one more core has a number then.
#[test]
#[cfg_attr(miri, ignore = "trees of hundreds of cores")]
fn the_boot_cpu_may_be_among_the_last() {
    let boot = affinity(299);
    let blob = tree((0..300).map(affinity));
    assert_eq!(nr_possible(&Tree::new(&blob).expect("a tree"), boot, LIMIT), LIMIT);
    let (up, left_out) = number(&blob, boot, |_| true);
    assert!(up.iter().copied().eq([boot].into_iter().chain((0..255).map(affinity))));
    assert_eq!(left_out, Some(LeftOut { count: 44, first: affinity(255) }));
}

#[test]
#[cfg_attr(miri, ignore = "trees of hundreds of cores")]
fn the_number_of_a_core_that_does_not_start_is_the_next_one_s() {
    let starts = |mpidr| mpidr & 0xf != 3;
    let blob = tree((0..300).map(affinity));
    let (up, left_out) = number(&blob, 0, starts);
    let want = (0..300).map(affinity).filter(|&mpidr| starts(mpidr)).take(LIMIT);
    assert!(up.iter().copied().eq(want));
    // Those after the last number, whether they would start or not.
    let last = (0..300).find(|&n| affinity(n) == up[255]).expect("one of them");
    let count = 299 - last as usize;
    assert_eq!(left_out, Some(LeftOut { count, first: affinity(last + 1) }));
}

#[test]
#[cfg_attr(miri, ignore = "trees of hundreds of cores")]
fn the_second_node_of_a_core_is_known() {
    let blob = tree([0, 1, 2, 1, 0, 3].into_iter());
    assert_eq!(number(&blob, 0, |_| true), (std::vec![0, 1, 2, 3], None));
    let mut numbers = Numbers::new(LIMIT);
    assert_eq!(numbers.find(7, |_| Some(7)), Number::Taken(0));
}
