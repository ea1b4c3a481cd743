//! Frames that are bad.

use super::*;
use crate::arch::hosted::irq::with_interrupts;
use crate::mm::memory_failure::{
    MfResult, PoisonError, memory_failure, soft_offline_page, unpoison_memory,
};
use crate::mm::slab::{self, kfree, kmalloc};
use crate::mm::vmalloc;
use crate::mm::zsmalloc::ZsPool;
use std::cell::Cell;
use std::string::ToString;

fn pfn(n: u32) -> Pfn {
    Pfn::new(0x4_0000 + n)
}

fn frame(n: u32) -> Frame {
    Frame::new(pfn(n)).unwrap()
}

fn on_16m(f: impl FnOnce(&Machine)) {
    on(&[ram(0x4000_0000, 16 * MIB)], f);
}

/// All of memory but these frames can be had, page by page.
fn all_but(bad: &[u32]) {
    check_sums();
    set_min_free_kbytes(0);
    let all = exhaust(KERNEL, Order::ZERO);
    assert_eq!(nr_free_pages(), 0);
    assert!(all.iter().all(|page| !bad.contains(&(page.pfn() - pfn(0)))));
    assert_eq!(nr_used_pages() as usize, all.len() + bad.len());
    assert_eq!(num_poisoned_pages() as usize, bad.len());
    all.into_iter().for_each(|page| free_pages(page, Order::ZERO));
    drain_all_pages();
    check_sums();
}

#[test]
fn a_free_frame_is_taken_out_of_its_block() {
    on_16m(|_| {
        let blocks = || Order::ZERO.and_up().map(|o| zones().next().unwrap().blocks(o)).collect();
        let before: Vec<u32> = blocks();
        assert_eq!(memory_failure(pfn(1500)), Ok(MfResult::Recovered));
        assert_eq!(state_of(frame(1500)), State::Poisoned);
        assert_eq!(soft_offline_page(pfn(1501)), Ok(()));
        assert_eq!(memory_failure(pfn(4095)), Ok(MfResult::Recovered));
        all_but(&[1500, 1501, 4095]);
        for bad in [1500, 1501, 4095] {
            assert_eq!(memory_failure(pfn(bad)), Err(PoisonError::Already));
            assert_eq!(soft_offline_page(pfn(bad)), Err(PoisonError::Already));
            unpoison_memory(pfn(bad)).unwrap();
            assert_eq!(unpoison_memory(pfn(bad)), Err(PoisonError::Already));
        }
        all_but(&[]);
        assert_eq!(blocks(), before);
    });
}

#[test]
fn a_frame_on_a_cpus_list_is_taken_off_it() {
    on_16m(|_| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        free_pages(page, Order::ZERO);
        assert!(matches!(state_of(page), State::PerCpu { .. }));
        assert_eq!(memory_failure(page.pfn()), Ok(MfResult::Recovered));
        all_but(&[page.pfn() - pfn(0)]);
    });
}

#[test]
fn a_page_in_use_is_kept_out_when_it_is_freed() {
    on_16m(|_| {
        let page = alloc_pages(KERNEL, Order::ZERO).unwrap();
        assert_eq!(soft_offline_page(page.pfn()), Err(PoisonError::Busy));
        assert_eq!(memory_failure(page.pfn()), Ok(MfResult::Delayed));
        assert!(matches!(state_of(page), State::Allocated { .. }));
        assert_eq!(num_poisoned_pages(), 1);
        get_page(page);
        put_page(page);
        free_pages(page, Order::ZERO);
        assert_eq!(state_of(page), State::Poisoned);
        all_but(&[page.pfn() - pfn(0)]);
        // One that turns out to be good is freed as any other.
        let good = alloc_pages(KERNEL, order(2)).unwrap();
        memory_failure(good.pfn() + 2).unwrap();
        unpoison_memory(good.pfn() + 2).unwrap();
        free_pages(good, order(2));
        all_but(&[page.pfn() - pfn(0)]);
    });
}

/// The frame was freed after another CPU had tried to keep it out, with this result: it is, or
/// it was on the list of a CPU that can't be interrupted, and is as it was.
fn is_kept_out(bad: Pfn, found: Result<MfResult, PoisonError>, when: &str) {
    let frame = Frame::new(bad).unwrap();
    drain_all_pages();
    match found {
        Ok(_) => assert_eq!(state_of(frame), State::Poisoned, "{when}: {found:?}"),
        Err(_) => {
            assert_eq!(found, Err(PoisonError::Busy), "{when}");
            assert!(!frame.page().flags().contains(PageFlags::HWPOISON), "{when}");
            assert_eq!(memory_failure(bad), Ok(MfResult::Recovered), "{when}");
        }
    }
}

/// Marks a page as bad from another CPU at each point where its owner, who is freeing it, can be
/// interrupted; the drain that the other CPU asks for is done there.
#[test]
fn a_page_that_turns_out_to_be_bad_while_it_is_freed_is_kept_out() {
    let other = crate::arch::CpuId::new(1).unwrap();
    for (n, gfp) in [(0, KERNEL), (2, KERNEL), (6, KERNEL), (3, KERNEL | Gfp::__GFP_COMP)] {
        for nth in 0.. {
            let (points, found) = (Cell::new(0), Cell::new(None));
            on_16m(|m| {
                let head = alloc_pages(gfp, order(n)).unwrap();
                let bad = head.pfn() + (order(n).pages() - 1);
                let handler = || {
                    if points.replace(points.get() + 1) == nth {
                        found.set(Some(m.on_cpu(other, || memory_failure(bad))));
                        with_masked(drain_local_pages);
                    }
                };
                with_interrupts(&handler, || free_pages(head, order(n)));
                if let Some(found) = found.get() {
                    is_kept_out(bad, found, &format!("order {n}, at {nth}"));
                    all_but(&[bad - pfn(0)]);
                }
            });
            if found.get().is_none() {
                assert!(nth >= 2, "a free is not interrupted");
                break;
            }
        }
    }
}

/// The same with a large object of kmalloc, and with a range.
#[test]
fn large_objects_and_ranges_that_are_freed_keep_bad_pages_out() {
    let other = crate::arch::CpuId::new(1).unwrap();
    let range = PfnRange::new(pfn(2050), pfn(2500));
    for of_kmalloc in [true, false] {
        for nth in 0.. {
            let (points, found) = (Cell::new(0), Cell::new(None));
            on_16m(|m| {
                slab::kmem_cache_init(7);
                let object = kmalloc(9000, KERNEL).unwrap();
                alloc_contig_range(range).unwrap();
                let at = (object.as_ptr().expose_provenance() - crate::arch::page_offset()) >> 12;
                let bad = if of_kmalloc { Pfn::new(at as u32 + 1) } else { pfn(2300) };
                let handler = || {
                    if points.replace(points.get() + 1) == nth {
                        found.set(Some(m.on_cpu(other, || memory_failure(bad))));
                        with_masked(drain_local_pages);
                    }
                };
                let kfree = || {
                    // SAFETY: allocated above, freed once.
                    unsafe { kfree(object.as_ptr()) }
                };
                if of_kmalloc {
                    with_interrupts(&handler, kfree);
                    free_contig_range(range);
                } else {
                    with_interrupts(&handler, || free_contig_range(range));
                    kfree();
                }
                if let Some(found) = found.get() {
                    is_kept_out(bad, found, &format!("kmalloc {of_kmalloc}, at {nth}"));
                }
            });
            if found.get().is_none() {
                assert!(nth >= 2, "a free is not interrupted");
                break;
            }
        }
    }
}

#[test]
fn of_a_large_block_the_bad_frames_are_kept_out() {
    on_16m(|_| {
        for (n, gfp) in [(10, KERNEL), (9, KERNEL | Gfp::__GFP_COMP), (3, MOVABLE)] {
            let head = alloc_pages(gfp, order(n)).unwrap();
            let bad = [1, 3, order(n).pages() - 1].map(|at| head.pfn() + at);
            for pfn in bad {
                assert_eq!(memory_failure(pfn), Ok(MfResult::Delayed));
            }
            assert_eq!(
                compound_head(head.within(order(n), 3)) == head,
                gfp.contains(Gfp::__GFP_COMP)
            );
            free_pages(head, order(n));
            all_but(&bad.map(|bad| bad - pfn(0)));
            bad.into_iter().for_each(|pfn| unpoison_memory(pfn).unwrap());
        }
        // Taken apart, each page goes its own way.
        let head = alloc_pages(KERNEL, order(4)).unwrap();
        memory_failure(head.pfn() + 5).unwrap();
        split_page(head, order(4));
        head.block(order(4)).for_each(|page| free_pages(page, Order::ZERO));
        all_but(&[head.pfn() + 5 - pfn(0)]);
        unpoison_memory(head.pfn() + 5).unwrap();
        // As is a range.
        let range = PfnRange::new(pfn(2050), pfn(3500));
        alloc_contig_range(range).unwrap();
        memory_failure(pfn(2050)).unwrap();
        memory_failure(pfn(3001)).unwrap();
        free_contig_range(range);
        all_but(&[2050, 3001]);
        // Which can't be had with a bad frame in it.
        assert_eq!(alloc_contig_range(range), Err(ContigError::Busy(pfn(2050))));
    });
}

#[test]
fn a_movable_page_moves_out_of_a_bad_frame() {
    on_16m(|_| {
        let pool = ZsPool::new().unwrap();
        let object = pool.malloc(4096, KERNEL).unwrap();
        pool.with(object, |bytes| bytes.fill(0x5a));
        let pin = pool.pin(object);
        let first = pin.frame();
        assert_eq!(soft_offline_page(first.pfn()), Err(PoisonError::Busy));
        assert_eq!(num_poisoned_pages(), 0);
        drop(pin);
        soft_offline_page(first.pfn()).unwrap();
        assert_eq!(state_of(first), State::Poisoned);
        assert!(pool.with(object, |bytes| bytes.iter().all(|&byte| byte == 0x5a)));
        // One that has failed stays where it is until it is freed.
        let second = pool.frame(object);
        assert_eq!(memory_failure(second.pfn()), Ok(MfResult::Delayed));
        assert_eq!(pool.frame(object), second);
        pool.free(object);
        all_but(&[first.pfn() - pfn(0), second.pfn() - pfn(0)]);
    });
}

#[test]
fn slabs_and_vmalloc_areas_leave_their_bad_frames_behind() {
    on_16m(|_| {
        slab::kmem_cache_init(7);
        let used = nr_used_pages();
        let object = kmalloc(700, KERNEL).unwrap();
        let at = (object.as_ptr().expose_provenance() - crate::arch::page_offset()) >> 12;
        let slab = Pfn::new(at as u32);
        assert_eq!(soft_offline_page(slab), Err(PoisonError::Busy));
        assert_eq!(memory_failure(slab), Ok(MfResult::Delayed));
        slab::validate();
        // SAFETY: allocated above, freed once.
        unsafe { kfree(object.as_ptr()) };
        slab::shrink_all();
        assert_eq!(state_of(Frame::new(slab).unwrap()), State::Poisoned);
        check_sums();

        crate::mm::init_mm::install(crate::mm::init_mm::new_root().unwrap());
        let area = vmalloc::vmalloc(5 * 4096, KERNEL).unwrap();
        let page = vmalloc::vmalloc_to_page(area + 2 * 4096).unwrap();
        assert_eq!(memory_failure(page.pfn()), Ok(MfResult::Delayed));
        vmalloc::tests::vfree(area);
        vmalloc::shrink();
        assert_eq!(state_of(page), State::Poisoned);
        assert!(nr_used_pages() > used);
        check_sums();
    });
}

#[test]
fn what_is_not_managed_is_refused() {
    on(&[ram(0x4030_0000, 2 * MIB)], |_| {
        for pfn in [0x4_02ff, 0x4_0300, 0x4_0500, 0x9_0000, u32::MAX] {
            assert_eq!(memory_failure(Pfn::new(pfn)), Err(PoisonError::NotManaged), "{pfn:#x}");
            assert_eq!(soft_offline_page(Pfn::new(pfn)), Err(PoisonError::NotManaged), "{pfn:#x}");
        }
        assert_eq!(unpoison_memory(Pfn::new(0x9_0000)), Err(PoisonError::NotManaged));
        assert_eq!(num_poisoned_pages(), 0);
    });
}

#[test]
#[should_panic(expected = "free of bad memory: Frame(0x40400000)")]
fn nobody_frees_what_is_bad() {
    on_16m(|_| {
        memory_failure(pfn(1024)).unwrap();
        free_pages(frame(1024), Order::ZERO);
    });
}

#[test]
fn the_report_counts_them() {
    on_16m(|_| {
        memory_failure(pfn(1024)).unwrap();
        let report = crate::mm::stat::MemInfo.to_string();
        assert!(report.contains("HardwareCorrupted:     4 kB\n"), "{report}");
    });
}
