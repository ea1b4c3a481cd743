use super::*;
use crate::addr::{PhysAddr, PhysRange, VirtAddr};
use crate::arch::hosted::Machine;
use crate::arch::hosted::mmu::{Access, Config};
use crate::arch::irq::{is_masked, with_masked};
use crate::arch::pgtable::{Descriptor, KernelAttrs, Level};
use crate::arch::{CpuId, mmu, phys_to_virt};
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
