//! Areas on small machines, against a model.

use super::*;
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::CpuId;
use crate::arch::hosted::Machine;
use crate::mm::validate;
use crate::mm::{page_alloc, slab};
use core::cell::Cell;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::vec::Vec;

const K: Gfp = Gfp::GFP_KERNEL;

fn on_machine(mib: u64, f: impl FnOnce(&Machine)) {
    Machine::run(&[PhysRange::from_size(PhysAddr::new(0x4000_0000), mib << 20)], |m| {
        page_alloc::init(m.ram());
        slab::kmem_cache_init(7);
        f(m);
        validate();
        slab::validate();
        validate::validate().expect("a sound allocator");
    });
}

fn used_pages() -> u32 {
    shrink();
    slab::shrink_all();
    page_alloc::drain_all_pages();
    page_alloc::nr_used_pages()
}

#[test]
fn each_cpu_has_a_value_of_its_own() {
    on_machine(4, |m| {
        let before = used_pages();
        let counts = PerCpuBox::new(|cpu| Cell::new(cpu.index() as u64 * 1000), K).expect("memory");
        let zeros = PerCpuBox::<[Cell<u64>; 9]>::with_default(K).expect("memory");
        let of_all = PerCpuBox::new(|_| AtomicUsize::new(0), K).expect("memory");
        m.on_cpus(4, |cpu| {
            for n in 0..100 {
                with_masked(|irq| {
                    let own = counts.get(irq);
                    own.set(own.get() + 1);
                    assert_eq!(own.get(), cpu as u64 * 1000 + n + 1);
                    zeros.get(irq)[8].set(n);
                    of_all.get(irq).fetch_add(1, Relaxed);
                });
            }
        });
        assert_eq!(of_all.iter().map(|n| n.load(Relaxed)).sum::<usize>(), 400);
        assert_eq!(of_all.of(CpuId::new(3).expect("a CPU")).load(Relaxed), 100);
        let mut counts = counts;
        let sum: u64 = counts.iter_mut().map(|own| own.get()).sum();
        assert_eq!(sum, (0..nr_cpu_ids() as u64).sum::<u64>() * 1000 + 400);
        assert!(pcpu_nr_pages() > 0);
        drop((counts, zeros, of_all));
        assert_eq!(used_pages(), before);
        assert_eq!(pcpu_nr_pages(), 0);
    });
}

#[test]
fn values_are_aligned_dropped_and_of_any_size() {
    #[repr(align(256))]
    struct Wide(u8, #[expect(dead_code, reason = "it is dropped")] Arc<()>);
    on_machine(8, |_| {
        let all = Arc::new(());
        let _one = PerCpuBox::new(|_| 1u8, K).expect("memory");
        let wide = PerCpuBox::new(|cpu| Wide(cpu.index() as u8, Arc::clone(&all)), K);
        let wide = wide.expect("memory");
        for (n, value) in wide.iter().enumerate() {
            assert!(core::ptr::from_ref(value).addr().is_multiple_of(256));
            assert_eq!(usize::from(value.0), n);
        }
        assert_eq!(Arc::strong_count(&all), 1 + nr_cpu_ids());
        drop(wide);
        assert_eq!(Arc::strong_count(&all), 1);
        let none = PerCpuBox::new(|_| (), K).expect("memory");
        assert_eq!(none.iter().count(), nr_cpu_ids());
        assert!(PerCpuBox::new(|_| [7u8; PERCPU_MAX_SIZE], K).is_ok());
        assert!(PerCpuBox::new(|_| [7u8; PERCPU_MAX_SIZE + 1], K).is_err());
        #[repr(align(8192))]
        struct TooWide;
        assert!(PerCpuBox::new(|_| TooWide, K).is_err());
    });
}

/// An allocation that fails returns an error, and keeps nothing.
#[test]
fn want_of_memory_is_an_error() {
    on_machine(2, |_| {
        let before = used_pages();
        let quiet = Gfp::GFP_NOWAIT;
        let mut all = Vec::new();
        while let Ok(one) = PerCpuBox::new(|_| [0u64; 512], quiet) {
            all.push(one);
        }
        assert!(all.len() > 3, "{} were had", all.len());
        drop(all);
        assert_eq!(used_pages(), before);
    });
}

#[test]
#[should_panic(expected = "percpu: an area at offset")]
fn an_area_is_freed_once() {
    on_machine(4, |_| {
        let _other = PerCpuBox::new(|_| 0u64, K).expect("memory");
        let area = alloc_area(Layout::new::<u64>(), K).expect("memory");
        free_area(area);
        free_area(area);
    });
}

/// Checks that one empty chunk is kept, and others are freed.
#[test]
fn empty_chunks_go_back() {
    on_machine(8, |_| {
        let one = || PerCpuBox::new(|_| [0u8; UNIT], K).expect("memory");
        let all: Vec<_> = (0..4).map(|_| one()).collect();
        assert_eq!(pcpu_nr_pages(), 4 * UNIT * nr_cpu_ids() / PAGE_SIZE);
        drop(all);
        assert_eq!(pcpu_nr_pages(), UNIT * nr_cpu_ids() / PAGE_SIZE);
        drop(one());
        assert_eq!(pcpu_nr_pages(), UNIT * nr_cpu_ids() / PAGE_SIZE);
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 3 } else { 100 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn a_map_gives_out_what_is_free(
        ops in prop::collection::vec((any::<bool>(), 1u32..80, 0u32..7, any::<usize>()), 1..200),
        shift in 6u32..12,
    ) {
        let len = 1u32 << shift;
        let mut map = Map::new(len as usize * GRANULE);
        let mut held = BTreeMap::<u32, u32>::new();
        let fits = |held: &BTreeMap<u32, u32>, at: u32, granules: u32| {
            at + granules <= len && held.iter().all(|(&a, &n)| at + granules <= a || a + n <= at)
        };
        for (alloc, granules, align, which) in ops {
            let align = 1 << align;
            if alloc {
                let first = (0..len).step_by(align as usize).find(|&at| fits(&held, at, granules));
                prop_assert_eq!(map.alloc(granules, align), first);
                held.extend(first.map(|at| (at, granules)));
            } else if let Some((&at, &n)) = held.iter().nth(which.checked_rem(held.len()).unwrap_or(0)) {
                if n > 1 {
                    prop_assert_eq!(map.free(at + 1), None, "no area starts there");
                }
                prop_assert_eq!(map.free(at), Some(n));
                prop_assert_eq!(map.free(at), None);
                held.remove(&at);
            }
            map.validate();
            prop_assert_eq!(map.is_empty(), held.is_empty());
        }
        prop_assert_eq!(map.free(len), None);
    }
}
