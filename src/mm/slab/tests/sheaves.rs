//! Sheaves by themselves.

use super::*;

#[test]
fn a_sheaf_is_last_in_first_out_and_takes_nothing_twice() {
    use super::sheaf::{OwnedSheaf, SHEAF_OBJECTS, Sheaf};
    let at = |n: u32| VirtAddr::new(0x1000 + n as usize);
    let none = OwnedSheaf::none();
    assert!(!none.push(at(0)) && none.pop().is_none());
    for capacity in [1, 6, SHEAF_OBJECTS as u32] {
        let sheaf = OwnedSheaf::of(std::boxed::Box::leak(Sheaf::new(capacity).into()));
        assert_eq!((sheaf.pop(), sheaf.top(), sheaf.room()), (None, None, capacity));
        for n in 0..capacity {
            assert_eq!(sheaf.count(), n);
            assert!(sheaf.push(at(n)));
            assert!(!sheaf.push(at(n)), "it lies on top");
            assert_eq!(sheaf.top(), Some(at(n)));
        }
        assert!(!sheaf.push(at(capacity)) && sheaf.room() == 0);
        assert!(sheaf.iter(capacity).eq((0..capacity).rev().map(at)));
        for n in (0..capacity).rev() {
            assert_eq!(sheaf.pop(), Some(at(n)));
        }
        assert_eq!(sheaf.pop(), None);
    }
}

/// A report counts what a CPU has while that may give the sheaf's memory back.
#[test]
fn a_sheaf_is_counted_without_a_look_into_it() {
    use super::sheaf::SheafSlot;
    let room = |n: usize| SheafSlot::at(0x7000_0000_0000_0200 + 8 * n);
    assert_eq!(room(0).count_from_afar(60), 60);
    assert_eq!(room(13).count_from_afar(60), 47);
    assert_eq!(room(60).count_from_afar(60), 0);
    // Of another cache's, which the slot may have had just before.
    assert_eq!(room(60).count_from_afar(10), 0);
    assert_eq!(SheafSlot::new().count_from_afar(60), 0);
}

/// Whatever the memory of a sheaf is used for by the time another CPU looks at it, no more is read
/// than there could be in the sheaf.
#[test]
fn a_look_from_afar_stays_within_the_sheaf() {
    use super::sheaf::SheafSlot;
    #[repr(align(512))]
    struct Memory([usize; 64]);
    // With what the capacity was written over too.
    let memory = Memory([usize::MAX; 64]);
    for (at, capacity, objects) in
        [(0, 60, 60), (13, 60, 47), (60, 60, 0), (61, 10, 0), (0, 99, 62)]
    {
        let top = memory.0.as_ptr().wrapping_add(at).expose_provenance();
        let sheaf = SheafSlot::at(top);
        assert_eq!(sheaf.iter(capacity).count(), objects);
        assert!(sheaf.iter(capacity).all(|object| object.get() == usize::MAX));
    }
}

/// While a CPU gets an empty sheaf for its full one, another fills the node's barn up.
#[test]
fn a_sheaf_for_which_the_barn_has_no_room_any_more_is_given_back() {
    let other = CpuId::new(1).expect("a CPU");
    let in_use = || slabinfo().map(|info| info.active_objects).sum::<usize>();
    on_machine(64 << 10, |m| {
        let before = in_use();
        for nth in 0.. {
            let cache = create("barn", 500, SlabFlags::empty());
            // So many that sheaves go to the barn, again and again.
            let take =
                |n: usize| -> Vec<_> { (0..n).map(|_| cache.alloc(K).expect("memory")).collect() };
            let (ours, theirs) = (take(1000), RefCell::new(take(3000)));
            shrink_all();
            let points = Cell::new(0);
            let rival = || {
                if points.replace(points.get() + 1) == nth {
                    m.on_cpu(other, || {
                        theirs.take().into_iter().for_each(|object| put(cache, object));
                    });
                }
            };
            with_rival(&rival, || ours.into_iter().for_each(|object| put(cache, object)));
            theirs.take().into_iter().for_each(|object| put(cache, object));
            m.on_cpu(other, || cache.shrink());
            cache.shrink();
            validate();
            // SAFETY: its objects are gone, and nobody else knows it.
            unsafe { kmem_cache_destroy(cache) }.expect("no objects");
            assert_eq!(in_use(), before, "at {nth}");
            if points.get() <= nth {
                assert!(nth > 10, "the barn is not reached");
                break;
            }
        }
    });
}

#[test]
fn a_sheaf_is_filled_gathered_and_drained() {
    use super::sheaf::{OwnedSheaf, Sheaf};
    let at = |n: usize| VirtAddr::new(0x1000 + n);
    let sheaf = OwnedSheaf::of(std::boxed::Box::leak(Sheaf::new(10).into()));
    let held = || -> Vec<usize> {
        sheaf.iter(sheaf.capacity()).map(|object| object.get() - 0x1000).collect()
    };
    let mut few = 0..4;
    assert_eq!(sheaf.fill(|| few.next().map(at)), 4);
    assert_eq!(held(), [3, 2, 1, 0], "as many as there are");
    let mut many = 4..;
    assert_eq!(sheaf.fill(|| many.next().map(at)), 6);
    assert_eq!(held(), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0], "as many as there is room for");
    assert_eq!(many.next(), Some(10), "no more was asked for");
    assert_eq!(sheaf.gather(|object| object.get().is_multiple_of(3)), 3);
    let mut gathered = held();
    assert!(gathered[..3].iter().all(|n| (0x1000 + n).is_multiple_of(3)), "{gathered:?}");
    let mut taken = Vec::new();
    sheaf.drain(|object| {
        let takes = object.get().is_multiple_of(3);
        if takes {
            taken.push(object.get() - 0x1000);
        }
        takes
    });
    assert_eq!(taken, gathered[..3], "the last put first, as long as they are taken");
    assert_eq!(held(), gathered[3..]);
    sheaf.drain(|_| true);
    assert_eq!((sheaf.count(), sheaf.room()), (0, 10));
    gathered.sort_unstable();
    assert!(gathered.into_iter().eq(0..10));
}
