use super::*;
use crate::addr::{PhysAddr, PhysRange, VirtAddr};
use crate::arch::hosted::Machine;
use crate::arch::hosted::mmu::{Access, Config};
use crate::arch::irq::{is_masked, with_masked};
use crate::arch::pgtable::{Descriptor, KernelAttrs, Level};
use crate::arch::{CpuId, mmu, phys_to_virt};
use crate::sync::held_locks;
use core::sync::atomic::AtomicU64;

#[test]
fn excludes_between_threads() {
    let lock = SpinLock::new(Rank::Zone, 0u32);
    let rounds = if cfg!(miri) { 20 } else { 2000 };
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for _ in 0..rounds {
                    with_masked(|irq| {
                        let mut n = lock.lock(irq);
                        let seen = *n;
                        cpu::relax();
                        *n = seen + 1;
                    });
                }
            });
        }
    });
    with_masked(|irq| assert_eq!(*lock.lock(irq), 4 * rounds));
}

/// Checks with the emulated MMU that a barrier of the lock's new holder completes the stores
/// of the last one.
#[test]
fn what_the_last_holder_stored_is_earlier() {
    const RAM: PhysAddr = PhysAddr::new(0x4000_0000);
    const VA: VirtAddr = VirtAddr::new(0xffff_8001_0000_0000);
    let word = |table: PhysAddr, index: usize| {
        let at = phys_to_virt(table + 8 * index as u64).get();
        // SAFETY: RAM of this test's machine.
        unsafe { &*core::ptr::with_exposed_provenance::<AtomicU64>(at) }
    };
    let cpu = |n| CpuId::new(n).unwrap();
    Machine::run(&[PhysRange::from_size(RAM, 8192)], |m| {
        let table = RAM + 4096;
        mmu::write_descriptor(word(RAM, Level::Pgd.index(VA)), Descriptor::table(table));
        m.mmu().attach(RAM, Config { seed: 1, cpus: 3, eagerness: 0 });
        let lock = SpinLock::new(Rank::PageTable, ());
        let pass = || with_masked(|irq| drop(lock.lock(irq)));
        let block = Descriptor::leaf(Level::Pud, RAM, KernelAttrs::KERNEL, false);
        mmu::write_descriptor(word(table, Level::Pud.index(VA)), block);
        pass();
        m.on_cpu(cpu(1), || {
            with_masked(|irq| drop(lock.try_lock(irq)));
            mmu::dsb_ishst();
        });
        for _ in 0..20 {
            assert_eq!(m.mmu().access_by(cpu(2), VA, Access::Read), Ok(RAM));
        }
    });
}

#[test]
#[should_panic(expected = "Zone: CPU 0 takes a lock that it holds")]
fn taking_it_twice_is_caught() {
    let zone = SpinLock::new(Rank::Zone, ());
    with_masked(|irq| {
        let _first = zone.lock(irq);
        let _second = zone.lock(irq);
    });
}

#[test]
#[should_panic(expected = "Zone: CPU 0 gives up a lock that it does not hold")]
fn giving_up_what_another_holds_is_caught() {
    let zone = SpinLock::new(Rank::Zone, ());
    with_masked(|irq| {
        let guard = zone.lock(irq);
        // As if a guard could leave its CPU: another one holds the lock now.
        zone.locked.store(cpu::holder(irq) + 1, Ordering::Relaxed);
        drop(guard);
    });
}

#[test]
fn the_word_names_the_holder() {
    let zone = SpinLock::new(Rank::Zone, ());
    with_masked(|irq| {
        let guard = zone.lock(irq);
        assert_eq!(zone.locked.load(Ordering::Relaxed), cpu::holder(irq));
        std::thread::scope(|s| {
            s.spawn(|| {
                with_masked(|irq| {
                    assert_ne!(zone.locked.load(Ordering::Relaxed), cpu::holder(irq));
                    assert!(zone.try_lock(irq).is_none());
                });
            });
        });
        drop(guard);
        assert_eq!(std::format!("{zone:?}"), "SpinLock(Zone, open)");
        assert!(zone.try_lock(irq).is_some());
    });
}

/// A mask ends with its closure, whatever becomes of the guards.
#[test]
fn guards_out_of_order_let_no_interrupt_in() {
    let (zone, console) = (SpinLock::new(Rank::Zone, ()), SpinLock::new(Rank::Console, ()));
    with_masked(|irq| {
        let first = zone.lock(irq);
        with_masked(|irq| {
            let second = console.lock(irq);
            drop(first);
            assert!(is_masked());
            // The first one's rank is free again, and the second's is held.
            assert!(zone.try_lock(irq).is_some());
            assert!(console.try_lock(irq).is_none());
            drop(second);
            assert!(is_masked());
        });
        assert!(is_masked());
        drop(zone.lock(irq));
    });
    assert!(!is_masked());
}

#[test]
#[should_panic(expected = "lock order: SlabNode")]
fn falling_rank_is_caught() {
    let zone = SpinLock::new(Rank::Zone, ());
    let node = SpinLock::new(Rank::SlabNode, ());
    with_masked(|irq| {
        let _zone = zone.lock(irq);
        let _node = node.lock(irq);
    });
}

#[test]
fn rising_rank_and_reuse_pass() {
    let zone = SpinLock::new(Rank::Zone, ());
    let node = SpinLock::new(Rank::SlabNode, ());
    for _ in 0..2 {
        with_masked(|irq| {
            let _node = node.lock(irq);
            let _zone = zone.lock(irq);
            assert!(zone.try_lock(irq).is_none());
        });
    }
}

/// Two locks of one rank, the one of the lower address first.
fn two() -> [SpinLock<u32>; 2] {
    [SpinLock::new(Rank::PageTable, 1), SpinLock::new(Rank::PageTable, 2)]
}

#[test]
fn a_second_lock_of_a_rank_is_taken_in_the_order_of_addresses() {
    let [low, high] = &two();
    let node = SpinLock::new(Rank::SlabNode, ());
    // Either may be given up first; the order is as before afterwards.
    for low_first in [true, false] {
        with_masked(|irq| {
            let mut first = low.lock(irq);
            let mut second = high.lock_nested(&first);
            core::mem::swap(&mut *first, &mut *second);
            assert_eq!(std::format!("{}", held_locks(irq)), "PageTable twice");
            assert!(low.try_lock(irq).is_none() && high.try_lock(irq).is_none());
            if low_first {
                drop(first);
                assert!(high.try_lock(irq).is_none());
                drop(second);
            } else {
                drop(second);
                assert!(low.try_lock(irq).is_none());
                drop(first);
            }
            assert!(held_locks(irq).is_empty());
            let third = low.lock(irq);
            // A higher rank goes on top of both.
            let fourth = high.lock_nested(&third);
            drop((node.lock(irq), fourth, third));
        });
    }
    // Two swaps.
    with_masked(|irq| assert_eq!(*low.lock(irq), 1));
    with_masked(|irq| assert_eq!(*high.lock(irq), 2));
}

#[test]
#[should_panic(expected = "lock order: PageTable at ")]
fn a_second_lock_of_a_lower_address_is_caught() {
    let [low, high] = &two();
    with_masked(|irq| {
        let first = high.lock(irq);
        let _second = low.lock_nested(&first);
    });
}

#[test]
#[should_panic(expected = "lock order: PageTable at ")]
fn a_lock_nested_into_itself_is_caught() {
    let [low, _] = &two();
    with_masked(|irq| {
        let first = low.lock(irq);
        let _second = low.lock_nested(&first);
    });
}

#[test]
#[should_panic(expected = "lock order: Zone nested into a lock of PageTable")]
fn a_nested_lock_of_another_rank_is_caught() {
    let low = SpinLock::new(Rank::PageTable, ());
    let zone = SpinLock::new(Rank::Zone, ());
    with_masked(|irq| {
        let first = low.lock(irq);
        let _second = zone.lock_nested(&first);
    });
}

#[test]
#[should_panic(expected = "lock order: a second PageTable taken while PageTable twice is held")]
fn a_third_lock_of_a_rank_is_caught() {
    let locks = [const { SpinLock::new(Rank::PageTable, ()) }; 3];
    with_masked(|irq| {
        let first = locks[0].lock(irq);
        let second = locks[1].lock_nested(&first);
        let _third = locks[2].lock_nested(&second);
    });
}

#[test]
#[should_panic(expected = "lock order: a second PageTable taken while PageTable, Zone is held")]
fn a_nested_lock_under_a_higher_rank_is_caught() {
    let [low, high] = &two();
    let zone = SpinLock::new(Rank::Zone, ());
    with_masked(|irq| {
        let first = low.lock(irq);
        let _zone = zone.lock(irq);
        let _second = high.lock_nested(&first);
    });
}

#[test]
#[should_panic(expected = "lock order: PageTable (rank ")]
fn a_plain_lock_of_a_held_rank_is_caught_while_two_are_held_and_after() {
    let locks = [const { SpinLock::new(Rank::PageTable, ()) }; 3];
    with_masked(|irq| {
        let first = locks[0].lock(irq);
        let second = locks[1].lock_nested(&first);
        drop(first);
        let _third = locks[2].lock(irq);
        drop(second);
    });
}
