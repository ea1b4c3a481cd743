//! The others: heaps of crates, each in a region behind a lock, and the host's malloc.

use crate::contender::{Contender, Region};
use buddy_system_allocator::{FrameAllocator, Heap as BuddyHeap};
use granule::addr::PAGE_SIZE;
use linked_list_allocator::Heap as LinkedListHeap;
use rlsf::Tlsf;
use std::alloc::{GlobalAlloc, Layout, System};
use std::mem::MaybeUninit;
use std::ptr::{NonNull, with_exposed_provenance_mut};
use std::sync::{Mutex, MutexGuard, PoisonError};
use talc::DefaultBinning;
use talc::base::Talc as TalcHeap;
use talc::source::Manual;

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pointer(object: usize) -> NonNull<u8> {
    NonNull::new(with_exposed_provenance_mut(object)).expect("an object")
}

fn address(object: NonNull<u8>) -> usize {
    object.as_ptr().expose_provenance()
}

/// Room for headers, and for what alignment wastes of the smallest objects.
fn region(bytes: usize) -> Region {
    Region::new(9 * bytes / 4 + (64 << 20))
}

/// A contender whose heap is behind a lock: how to make one in a region, allocate and free.
macro_rules! heap {
    (
        $(#[$doc:meta])* $name:ident, $called:literal, $heap:ty,
        |$region:ident| $new:expr,
        |$a:ident, $layout:ident| $alloc:expr,
        |$f:ident, $object:ident, $with:ident| $free:expr $(,)?
    ) => {
        $(#[$doc])*
        pub struct $name {
            heap: Mutex<$heap>,
            _region: Region,
        }

        impl Contender for $name {
            const NAME: &'static str = $called;
            const GIVES_ALL_BACK: bool = true;
            type Object = usize;

            fn new(bytes: usize) -> Self {
                let region = region(bytes);
                let $region = &region;
                Self { heap: Mutex::new($new), _region: region }
            }
            #[inline]
            fn alloc(&self, $layout: Layout) -> Option<usize> {
                let $a = &mut *lock(&self.heap);
                $alloc.map(address)
            }
            #[inline]
            unsafe fn free(&self, object: usize, $with: Layout) {
                let $object = pointer(object);
                let $f = &mut *lock(&self.heap);
                // SAFETY: as the caller says.
                unsafe { $free }
            }
            fn address(object: usize) -> usize {
                object
            }
        }
    };
}

heap!(
    /// `buddy_system_allocator`'s heap.
    Buddy, "buddy_system_allocator", BuddyHeap<40>,
    |region| {
        let mut heap = BuddyHeap::empty();
        // SAFETY: the region is the heap's alone and lives as long.
        unsafe { heap.init(region.start(), region.len()) };
        heap
    },
    |heap, layout| heap.alloc(layout).ok(),
    |heap, object, layout| heap.dealloc(object, layout),
);

heap!(
    /// `talc`.
    Talc, "talc", TalcHeap<Manual, DefaultBinning>,
    |region| {
        let mut heap = TalcHeap::new(Manual);
        // SAFETY: the region is the heap's alone and lives as long.
        let claimed = unsafe { heap.claim(region.as_ptr(), region.len()) };
        assert!(claimed.is_some(), "talc took no memory");
        heap
    },
    // SAFETY: no size is zero.
    |heap, layout| unsafe { heap.allocate(layout) },
    |heap, object, layout| heap.deallocate(object.as_ptr(), layout),
);

heap!(
    /// `rlsf`, with classes for all of memory.
    Rlsf, "rlsf", Tlsf<'static, u32, u32, 32, 32>,
    |region| {
        let mut heap = Tlsf::new();
        let start = region.as_ptr().cast::<MaybeUninit<u8>>();
        // SAFETY: the region is the heap's alone and lives as long.
        let memory = unsafe { std::slice::from_raw_parts_mut(start, region.len()) };
        let _ = heap.insert_free_block(memory);
        heap
    },
    |heap, layout| heap.allocate(layout),
    |heap, object, layout| heap.deallocate(object, layout.align()),
);

heap!(
    /// `linked_list_allocator`, which Granule itself uses before kmalloc is up.
    LinkedList, "linked_list_allocator", LinkedListHeap,
    // SAFETY: the region is the heap's alone and lives as long.
    |region| unsafe { LinkedListHeap::new(region.as_ptr(), region.len()) },
    |heap, layout| heap.allocate_first_fit(layout).ok(),
    |heap, object, layout| heap.deallocate(object, layout),
);

/// `buddy_system_allocator`'s allocator of numbers, which touches nothing of what it hands
/// out, as an allocator of addresses.
pub struct BuddyFrames(Mutex<FrameAllocator<40>>);

impl Contender for BuddyFrames {
    const NAME: &'static str = "buddy_system_allocator";
    const GIVES_ALL_BACK: bool = true;
    type Object = usize;

    fn new(bytes: usize) -> Self {
        let mut frames = FrameAllocator::new();
        // A number of whole powers of two, as it wastes most of what is not.
        frames.add_frame(0, (4 * bytes / PAGE_SIZE + (64 << 20) / PAGE_SIZE).next_power_of_two());
        Self(Mutex::new(frames))
    }
    #[inline]
    fn alloc(&self, layout: Layout) -> Option<usize> {
        lock(&self.0).alloc(layout.size() / PAGE_SIZE)
    }
    #[inline]
    unsafe fn free(&self, object: usize, layout: Layout) {
        lock(&self.0).dealloc(object, layout.size() / PAGE_SIZE);
    }
    fn address(object: usize) -> usize {
        object * PAGE_SIZE
    }
}

/// The C library's malloc.
pub struct Glibc;

impl Contender for Glibc {
    const NAME: &'static str = "malloc";
    const GIVES_ALL_BACK: bool = false;
    type Object = usize;

    fn new(_: usize) -> Self {
        Self
    }
    #[inline]
    fn alloc(&self, layout: Layout) -> Option<usize> {
        // SAFETY: no size is zero.
        NonNull::new(unsafe { System.alloc(layout) }).map(address)
    }
    #[inline]
    unsafe fn free(&self, object: usize, layout: Layout) {
        // SAFETY: as the caller says.
        unsafe { System.dealloc(pointer(object).as_ptr(), layout) }
    }
    fn address(object: usize) -> usize {
        object
    }
}
