//! Threads of one address space at once.

use super::*;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

const CPUS: usize = 3;
/// Pages that all threads write to.
const COMMON: usize = 60;

/// Each thread adds to words of pages that are everybody's, and uses pages of its own, in the same
/// table and in another one, which it unmaps, and whose table it frees.
fn thread(rig: &Rig<'_>, cpu: usize, turns: usize) {
    rig.switch(TCR);
    let area = rig.area(0, 4096, RW);
    // Each write to a page is the first to it for one thread.
    for turn in 0..turns {
        let page = (turn * 7 + cpu * 3) % COMMON;
        let pa = rig.access(&area, address(page), Access::Write).expect("may be written");
        word_at(pa).fetch_add(1, Relaxed);

        let own = COMMON + cpu * 20 + turn % 20;
        rig.write(&area, own, own as u64).expect("may be written");
        assert_eq!(rig.read(&area, own), Ok(own as u64));
        let far = (cpu + 1) * 512 + turn % 5;
        rig.write(&area, far, far as u64).expect("may be written");
        if turn % 3 == 0 {
            rig.tables.zap(range(own, 1), Zap::All);
            rig.tables.zap(range((cpu + 1) * 512, 512), Zap::All);
            rig.tables.free_tables(range((cpu + 1) * 512, 512));
            assert_eq!(rig.read(&area, own), Ok(0));
        }
        if turn % 5 == cpu {
            // Of others' tables those with entries stay.
            rig.tables.free_tables(range(512, CPUS * 512));
            rig.tables.change_protection(range(own, 1), attrs(Prot::READ), false);
            rig.tables.change_protection(range(own, 1), attrs(RW), false);
        }
    }
    rig.switch_off();
}

#[test]
fn faults_and_edits_of_threads_lose_nothing() {
    let turns = if cfg!(miri) { 5 } else { 150 };
    for seed in 0..SEEDS {
        Rig::run(seed, TCR, |rig| {
            rig.switch_off();
            rig.machine.on_cpus(CPUS, |cpu| thread(rig, cpu, turns));
            rig.switch(TCR);
            rig.tables.validate().expect("all adds up");
            let area = rig.area(0, 4096, RW);
            let sum: u64 = (0..COMMON).map(|page| rig.read(&area, page).expect("there")).sum();
            assert_eq!(sum, (CPUS * turns) as u64, "a write is lost");
        });
    }
}

/// A fault waits for the lock of its own table alone.
#[test]
fn a_fault_does_not_wait_for_another_table() {
    Rig::run(1, TCR, |rig| {
        let area = rig.area(0, 4096, RW);
        for page in [0, 512] {
            rig.write(&area, page, 1).expect("may be written");
        }
        let (locked, done) = (AtomicBool::new(false), AtomicBool::new(false));
        rig.machine.on_cpus(2, |cpu| {
            if cpu == 1 {
                while !locked.load(Acquire) {
                    std::thread::yield_now();
                }
                let fault = rig.tables.handle_mm_fault(&area, address(513), Access::Write);
                assert_eq!(fault, Ok(()));
                return done.store(true, Release);
            }
            rig.tables.walk(|walk| {
                let _held = walk.last_table(address(0)).expect("there").lock().expect("linked");
                locked.store(true, Release);
                let start = Instant::now();
                while !done.load(Acquire) {
                    assert!(start.elapsed() < Duration::from_secs(300), "the fault waits");
                    std::thread::yield_now();
                }
            });
        });
        assert_eq!(rig.tables.rss(MmCounter::Anon), 3);
    });
}
