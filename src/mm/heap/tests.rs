use super::*;
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::mm::alloc_pages;
use crate::mm::page_alloc;
use std::collections::BTreeSet;
use std::vec::Vec;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a layout")
}

/// A heap on a machine where the slab allocator is not up yet.
fn on_machine(buffer: &'static EarlyBuffer, f: impl FnOnce(&KernelHeap)) {
    Machine::run(&[PhysRange::from_size(PhysAddr::new(0x4000_0000), 2 << 20)], |m| {
        page_alloc::init(m.ram());
        // SAFETY: each test has a buffer of its own.
        f(&unsafe { KernelHeap::new(buffer) });
    });
}

/// Allocates, checks alignment, and fills with `value`.
fn filled(heap: &KernelHeap, layout: Layout, value: u8) -> *mut u8 {
    // SAFETY: sizes are not zero; the bytes are ours.
    unsafe {
        let at = heap.alloc(layout);
        assert!(!at.is_null() && at.addr().is_multiple_of(layout.align()), "{layout:?}");
        at.write_bytes(value, layout.size());
        at
    }
}

fn holds(at: *mut u8, len: usize, value: u8) -> bool {
    // SAFETY: the tests ask about bytes that they wrote.
    unsafe { core::slice::from_raw_parts(at, len) }.iter().all(|&b| b == value)
}

#[test]
fn serves_before_and_after_slab_is_up() {
    static BUFFER: EarlyBuffer = EarlyBuffer::new();
    on_machine(&BUFFER, |heap| {
        let early = filled(heap, layout(100, 64), 1);
        assert!(heap.early_range().contains(VirtAddr::from_ptr(early)));
        assert!(heap.early_used() >= 100);
        // SAFETY: as much as the whole buffer is not left; null is the answer.
        assert!(unsafe { heap.alloc(layout(EARLY_HEAP_SIZE, 8)) }.is_null());
        let gone = filled(heap, layout(1000, 8), 2);
        slab::kmem_cache_init(7);
        let late = filled(heap, layout(100, 64), 3);
        assert!(!heap.early_range().contains(VirtAddr::from_ptr(late)));
        assert!(holds(early, 100, 1) && holds(gone, 1000, 2));
        // SAFETY: each is freed once, with its layout; realloc moves it.
        unsafe {
            heap.dealloc(gone, layout(1000, 8));
            let moved = heap.realloc(early, layout(100, 64), 300);
            assert!(!heap.early_range().contains(VirtAddr::from_ptr(moved)));
            assert!(holds(moved, 100, 1));
            heap.dealloc(moved, layout(300, 64));
            heap.dealloc(late, layout(100, 64));
        }
        assert_eq!(heap.early_used(), 0);
        slab::validate();
    });
}

/// Frees a page that a [`Holder`] had.
fn give_back(page: crate::mm::page::Frame) {
    // SAFETY: the holder allocated it, and gives it up.
    unsafe { page_alloc::free_pages(page, crate::addr::Order::ZERO) }
}

/// Pages that a shrinker gives back when it is asked.
struct Holder(std::sync::Mutex<Vec<crate::mm::page::Frame>>);

impl crate::mm::shrinker::Shrinker for Holder {
    fn name(&self) -> &'static str {
        "test"
    }
    fn count(&self, _: Gfp) -> usize {
        self.0.lock().expect("no panic").len()
    }
    fn scan(&self, _: Gfp, objects: usize) -> usize {
        let mut pages = self.0.lock().expect("no panic");
        let objects = objects.min(pages.len());
        pages.drain(..objects).for_each(give_back);
        objects
    }
}

/// All memory is held by one who gives it back when asked: who may sleep gets it, and who may
/// not is told that there is none.
#[test]
fn what_can_be_reclaimed_is_had_by_who_may_sleep() {
    static BUFFER: EarlyBuffer = EarlyBuffer::new();
    on_machine(&BUFFER, |heap| {
        slab::kmem_cache_init(7);
        let holder = std::boxed::Box::leak(std::boxed::Box::new(Holder(Default::default())));
        crate::mm::shrinker::register_shrinker(holder).expect("room for it");
        let quiet = Gfp::__GFP_NOWARN | Gfp::__GFP_MEMALLOC;
        let fill = || {
            while let Some(frame) = alloc_pages::alloc_pages(quiet, crate::addr::Order::ZERO) {
                holder.0.lock().expect("no panic").push(frame);
            }
        };
        for (size, align) in [(4096, 8), (100, 8), (3000, 4096)] {
            for zeroed in [false, true] {
                fill();
                let l = layout(size, align);
                // SAFETY: the size is not 0.
                let alloc = || unsafe { if zeroed { heap.alloc_zeroed(l) } else { heap.alloc(l) } };
                let mut all = Vec::new();
                with_masked(|_| {
                    while let at = alloc()
                        && !at.is_null()
                    {
                        all.push(at);
                    }
                });
                let held = holder.0.lock().expect("no panic").len();
                let wanted = held / 2 * 4096 / size.max(align);
                for n in 0..wanted {
                    let at = alloc();
                    assert!(!at.is_null(), "{l:?}: {n} of {wanted}");
                    assert!(!zeroed || holds(at, size, 0), "{l:?}: {n} is not zero");
                    // SAFETY: as many bytes are ours.
                    unsafe { at.write_bytes(0xff, size) };
                    all.push(at);
                }
                // What grows has to move.
                let last = all.pop().expect("one");
                // SAFETY: it came from there, with this layout.
                let grown = unsafe { heap.realloc(last, l, 8000) };
                assert!(!grown.is_null(), "{l:?}");
                // SAFETY: each is freed once, with its layout.
                unsafe {
                    heap.dealloc(grown, layout(8000, align));
                    all.into_iter().for_each(|at| heap.dealloc(at, l));
                }
            }
        }
        let mut pages = holder.0.lock().expect("no panic");
        pages.drain(..).for_each(give_back);
        slab::validate();
    });
}

#[test]
fn every_size_and_alignment() {
    static BUFFER: EarlyBuffer = EarlyBuffer::new();
    on_machine(&BUFFER, |heap| {
        slab::kmem_cache_init(7);
        for align in (0..=14).map(|shift| 1 << shift) {
            for size in [1, 8, 24, 65, 80, 96, 100, 192, 200, 5000, 8192, 8193, 20000] {
                let l = layout(size, align);
                let some: Vec<_> = (0..3).map(|i| filled(heap, l, i)).collect();
                assert_eq!(some.iter().collect::<BTreeSet<_>>().len(), 3);
                for (i, &at) in some.iter().enumerate() {
                    assert!(holds(at, size, i as u8), "{l:?}");
                    // SAFETY: freed once, with its layout.
                    unsafe { heap.dealloc(at, l) };
                }
            }
        }
        let active: usize = slab::slabinfo()
            .filter(|info| !["slab_sheaf", "kmem_cache"].contains(&info.name))
            .map(|info| info.active_objects)
            .sum();
        assert_eq!(active, 0);
        // SAFETY: nothing is allocated.
        assert!(unsafe { heap.alloc(layout(64 << 20, 8)) }.is_null());
        // SAFETY: as above.
        assert!(unsafe { heap.alloc(layout(8, 64 << 20)) }.is_null());
    });
}

#[test]
fn zeroed_and_resized() {
    static BUFFER: EarlyBuffer = EarlyBuffer::new();
    on_machine(&BUFFER, |heap| {
        for late in [false, true] {
            if late {
                slab::kmem_cache_init(7);
            }
            let l = layout(300, 8);
            let dirty = filled(heap, l, 0xff);
            // SAFETY: each is freed once, with its layout.
            unsafe {
                heap.dealloc(dirty, l);
                let zero = heap.alloc_zeroed(l);
                assert!(holds(zero, 300, 0));
                zero.write_bytes(9, 300);
                let large = heap.realloc(zero, l, 20000);
                assert!(holds(large, 300, 9));
                let small = heap.realloc(large, layout(20000, 8), 50);
                assert!(holds(small, 50, 9));
                if late {
                    assert_eq!(slab::ksize(small), 64);
                }
                heap.dealloc(small, layout(50, 8));
            }
        }
    });
}
