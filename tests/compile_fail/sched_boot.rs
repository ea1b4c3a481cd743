//! Calls of the scheduler that the boot alone makes: a second `init_cpu` would forget the
//! threads that run.
#![no_std]
#![forbid(unsafe_code)]

use granule::sched;

pub fn again() {
    sched::schedule();
    sched::init_cpu(); //~ E0603
    sched::withdraw_cpu(); //~ E0603
    sched::make_idle(); //~ E0603
}
