//! The kernel's run queue and wait queue, on a CPU of `shim`.

#[path = "../../src/sched/rq.rs"]
pub mod rq;
#[path = "../../src/sched/task.rs"]
pub mod task;
#[path = "../../src/sched/wait.rs"]
pub mod wait;
pub use crate::shim::sched::{
    cond_resched, may_sleep, schedule, schedule_timeout, set_current_state, should_stop, wake_slot,
};

pub fn current() -> Option<task::ThreadId> {
    let cpu = crate::arch::CpuId::BOOT;
    crate::shim::sched::own().map(|(slot, generation)| task::ThreadId { cpu, slot, generation })
}
