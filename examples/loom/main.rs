//! Models of code that CPUs share without a lock, tried in every order of its steps and with
//! every value that the memory model allows.
//!
//! The files below `src/` are the kernel's own, compiled with loom's atomics; `shim` stands
//! for the machine under them.
//!
//! ```text
//! loom --list    names the protocols
//! loom NAME      tries one; exits with 101 where it breaks
//! ```

#![allow(dead_code, unused_imports, reason = "the kernel's files hold more than is tried here")]

mod arch;
#[path = "../../src/arch/asid/mod.rs"]
mod asid;
#[path = "../../src/arch/aarch64/bbm_window.rs"]
mod bbm_window;
#[path = "../../src/mm/page_alloc/pcp/closed.rs"]
mod closed;
#[path = "../../src/mm/debug/kfence/gate.rs"]
mod gate;
#[path = "../../src/mm/page/life.rs"]
mod life;
mod models;
#[path = "../../src/arch/aarch64/offer.rs"]
mod offer;
#[path = "../../src/mm/sparse/root.rs"]
mod root;
mod sched;
mod shim;
mod sync;

/// Per-CPU data: each CPU of a model has some.
mod percpu {
    use crate::arch::{CpuId, NR_CPUS};

    pub fn possible_cpus() -> impl DoubleEndedIterator<Item = CpuId> + Clone {
        (0..NR_CPUS).filter_map(CpuId::new)
    }
}

type Model = (&'static str, fn());

const MODELS: [Model; 18] = [
    ("spinlock_excludes_and_publishes", models::spinlock_excludes_and_publishes),
    ("try_lock_excludes_and_publishes", models::try_lock_excludes_and_publishes),
    ("what_is_asked_is_done", models::what_is_asked_is_done),
    ("no_wake_up_is_lost", models::no_wake_up_is_lost),
    ("a_task_goes_when_nobody_uses_it", models::a_task_goes_when_nobody_uses_it),
    ("a_section_is_seen_whole_or_not_at_all", models::a_section_is_seen_whole_or_not_at_all),
    (
        "a_path_stays_closed_while_there_is_a_reason",
        models::mm::a_path_stays_closed_while_there_is_a_reason,
    ),
    (
        "an_allocation_keeps_a_mark_that_follows_it",
        models::mm::an_allocation_keeps_a_mark_that_follows_it,
    ),
    ("a_bad_page_is_not_freed_as_a_good_one", models::mm::a_bad_page_is_not_freed_as_a_good_one),
    ("the_last_reference_sees_what_all_did", models::mm::the_last_reference_sees_what_all_did),
    (
        "an_owner_that_is_alone_again_sees_what_others_did",
        models::mm::an_owner_that_is_alone_again_sees_what_others_did,
    ),
    (
        "a_gate_lets_one_through_and_its_key_is_taken",
        models::mm::a_gate_lets_one_through_and_its_key_is_taken,
    ),
    (
        "a_fault_between_break_and_make_is_tried_again",
        models::mm::a_fault_between_break_and_make_is_tried_again,
    ),
    (
        "a_late_core_parks_or_has_its_stack_for_itself",
        models::mm::a_late_core_parks_or_has_its_stack_for_itself,
    ),
    (
        "a_switch_during_a_roll_over_shares_no_asid",
        models::asid::a_switch_during_a_roll_over_shares_no_asid,
    ),
    (
        "a_change_reaches_a_context_that_begins_to_run",
        models::asid::a_change_reaches_a_context_that_begins_to_run,
    ),
    (
        "a_semaphore_excludes_and_is_handed_over",
        models::locks::a_semaphore_excludes_and_is_handed_over,
    ),
    (
        "a_writer_that_is_killed_holds_it_or_leaves_no_trace",
        models::locks::a_writer_that_is_killed_holds_it_or_leaves_no_trace,
    ),
];

fn main() {
    let word = std::env::args().nth(1).unwrap_or_default();
    if word == "--list" {
        MODELS.iter().for_each(|(name, _)| println!("{name}"));
        return;
    }
    let Some((_, model)) = MODELS.iter().find(|(name, _)| *name == word) else {
        eprintln!("usage: loom --list | NAME");
        std::process::exit(2);
    };
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(*model);
    println!("{word}: every order holds");
}
