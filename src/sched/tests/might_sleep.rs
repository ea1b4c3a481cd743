//! The check that nobody sleeps who may not.

use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::arch::irq::with_masked;
use crate::sched::rcu::rcu_read_lock;
use crate::sched::{
    Completion, Mutex, RwSemaphore, WaitQueue, cond_resched, might_sleep, msleep, schedule,
};
use crate::sync::{Rank, SleepRank, SpinLock};
use core::cell::RefCell;
use std::boxed::Box;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, set_hook, take_hook};
use std::string::String;
use std::sync::Once;

std::thread_local! {
    /// The file of this thread's last panic, where the thread asks for it.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Returns the message and the place of the panic in `f`, by file.
pub(super) fn panic_of(f: impl FnOnce()) -> Option<(String, String)> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| match PLACE.take() {
            Some(_) => PLACE.set(info.location().map(|at| at.file().into())),
            None => before(info),
        }));
    });
    PLACE.set(Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(f));
    let place = PLACE.take()?;
    let message = match result.err()?.downcast::<String>() {
        Ok(message) => *message,
        Err(other) => panic_any(other),
    };
    Some((message, place))
}

/// Functions that may sleep; here none has to.
const SLEEPING: [(&str, fn()); 12] = [
    ("might_sleep", || might_sleep()),
    ("schedule", || schedule()),
    ("cond_resched", || assert!(cond_resched())),
    ("msleep", || msleep(0)),
    ("Mutex::lock", || drop(Mutex::new(SleepRank::Cma).lock())),
    ("RwSemaphore::read", || drop(RwSemaphore::new(SleepRank::Cma).read())),
    ("RwSemaphore::write", || drop(RwSemaphore::new(SleepRank::Cma).write())),
    ("wait_event", || WaitQueue::new().wait_event(|| true)),
    ("wait_event_or_yield", || WaitQueue::new().wait_event_or_yield(|| true)),
    ("wait_event_interruptible", || {
        let _ = WaitQueue::new().wait_event_interruptible(|| true);
    }),
    ("wait_event_timeout", || {
        let _ = WaitQueue::new().wait_event_timeout(|| true, 1);
    }),
    ("Completion::wait", || {
        let completion = Completion::new();
        completion.complete();
        completion.wait();
    }),
];

#[test]
fn what_may_sleep_says_so_though_it_need_not() {
    let zone = SpinLock::new(Rank::Zone, ());
    let node = SpinLock::new(Rank::SlabNode, ());
    for (name, sleeps) in SLEEPING {
        assert_eq!(panic_of(sleeps), None, "{name}");
        let (message, place) = panic_of(|| with_masked(|_| sleeps())).expect(name);
        assert!(message.ends_with(": interrupts are masked, no lock is held"), "{name}: {message}");
        assert!(place.ends_with("sched/tests/might_sleep.rs"), "{name}: the caller, not {place}");
        let locked = || {
            with_masked(|irq| {
                let _node = node.lock(irq);
                let _zone = zone.lock(irq);
                sleeps();
            });
        };
        let (message, _) = panic_of(locked).expect(name);
        assert!(message.ends_with("masked, SlabNode, Zone is held"), "{name}: {message}");
        let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), 4096);
        let reads = || {
            let _guard = rcu_read_lock();
            sleeps();
        };
        let (message, _) = panic_of(|| Machine::run(&[ram], |_| reads())).expect(name);
        assert!(message.ends_with(": inside of an RCU read section"), "{name}: {message}");
    }
}
