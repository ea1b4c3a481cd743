//! The tests of the image `storm`, with debugging tools on: each tool reaches something under a
//! mask when a thread and interrupts allocate.
//!
//! Command line: kfence.sample_interval=1 page_owner=on kmemleak=on debug_objects=on
//! QEMU: -icount shift=0,sleep=off

#![no_std]
#![no_main]

mod harness;
#[path = "harness/storm.rs"]
mod storm;
#[path = "harness/timer.rs"]
mod timer;

use granule as root;
use granule::mm::debug::{debug_objects_on, kfence_samples, kmemleak_on, page_owner_on};
use storm::Path;
use timer::allocate;

const INTERRUPTS: u32 = 3_000;

kernel_tests! {
    fn what_kfence_takes_is_nobody_elses() {
        let before = kfence_samples();
        allocate(Path::Objects, INTERRUPTS);
        assert!(kfence_samples() > before + 5, "no object is KFENCE's");
    }

    fn stacks_are_saved_in_threads_and_interrupts() {
        assert!(page_owner_on() && kmemleak_on() && debug_objects_on());
        allocate(Path::Pages, INTERRUPTS);
        allocate(Path::LargeObjects, INTERRUPTS);
        assert!(kmemleak_on() && debug_objects_on(), "a tool has switched itself off");
    }
}
