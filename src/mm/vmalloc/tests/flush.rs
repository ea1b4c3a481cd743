//! Purges and the flush of the TLBs.

use super::*;

/// Allocates, touches, frees, purges and allocates again at the same address, with two
/// CPUs that keep stale translations for as long as they may.
fn reuse(m: &Machine) {
    let other = CpuId::new(1).unwrap();
    let both = |va, access| {
        let here = m.mmu().access(va, access);
        assert_eq!(here, m.mmu().access_by(other, va, access), "at {va}");
        here
    };
    let first = vmalloc(3 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
    fill(m, first, 3, 1);
    both(first, Access::Read).unwrap();
    assert_eq!(both(first + 3 * PAGE_SIZE, Access::Read), Err(Fault::Translation), "no guard");
    vfree(first);
    vm_unmap_aliases();
    for i in 0..3 {
        let gone = both(first + i * PAGE_SIZE, Access::Write);
        assert_eq!(gone, Err(Fault::Translation), "page {i} is reached after the purge");
    }
    // Keeps the former pages from being the new ones.
    let _held: Vec<_> =
        (0..3).map(|_| alloc_pages::alloc_pages(Gfp::GFP_KERNEL, Order::ZERO)).collect();
    let second = vmalloc(3 * PAGE_SIZE, Gfp::GFP_KERNEL).unwrap();
    assert_eq!(second, first);
    for i in 0..3 {
        let at = second + i * PAGE_SIZE;
        assert_eq!(both(at, Access::Write), Ok(vmalloc_to_page(at).unwrap().phys()));
    }
}

#[test]
fn a_purge_leaves_no_stale_translation() {
    for seed in 0..if cfg!(miri) { 1 } else { 40 } {
        machine_with(1024, Config::eager(seed), reuse);
    }
}

/// The test above can fail: it does for each step of the flush that is left out.
#[test]
fn every_step_of_the_flush_is_needed() {
    for step in [Step::DsbIshst, Step::TlbiVaLast, Step::DsbIsh] {
        let found = (0..20).any(|seed| {
            let run = |m: &Machine| {
                m.mmu().mutate(Some(Mutation::Without(step)));
                reuse(m);
            };
            let run = || machine_with(1024, Config::eager(seed), run);
            std::panic::catch_unwind(run).is_err()
        });
        assert!(found, "nobody misses {step:?}");
    }
    let local = |m: &Machine| {
        m.mmu().mutate(Some(Mutation::LocalOnly));
        reuse(m);
    };
    let run = || machine_with(1024, Config::eager(1), local);
    assert!(std::panic::catch_unwind(run).is_err(), "nobody misses the broadcast");
}
