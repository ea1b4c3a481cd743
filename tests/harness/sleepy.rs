//! An owner of movable pages that sleeps while it moves one, as its contract allows, and a
//! second thread of the same CPU that wants what the first one holds meanwhile.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use granule::arch::CpuId;
use granule::arch::irq::with_masked;
use granule::mm::gfp::Gfp;
use granule::mm::kthread::kthread_create_on_cpu;
use granule::mm::migrate::{
    MigrateError, MigrateMode, MovableOperations, OwnerId, clear_page_movable, inherit_mark,
    register_movable, set_page_movable,
};
use granule::mm::page::Frame;
use granule::mm::page_alloc::OwnedPage;
use granule::sched::{KThread, schedule};
use granule::sync::{Once, Rank, SpinLock};

/// The one page of the owner.
static PAGE: SpinLock<Option<OwnedPage>> = SpinLock::new(Rank::ZsPool, None);
static OWNER: Once<OwnerId> = Once::new();
/// True while the owner is asked to move its page, and sleeps.
static MOVING: AtomicBool = AtomicBool::new(false);
/// True when the second thread is about to wait.
static WAITING: AtomicBool = AtomicBool::new(false);

struct Sleepy;

impl MovableOperations for Sleepy {
    fn name(&self) -> &'static str {
        "sleepy"
    }

    fn isolate(&self, frame: Frame, _: u32) -> bool {
        with_masked(|irq| PAGE.lock(irq).as_ref().is_some_and(|page| page.frame() == frame))
    }

    fn migrate(
        &self,
        from: Frame,
        mut to: OwnedPage,
        mode: MigrateMode,
    ) -> Result<OwnedPage, (MigrateError, OwnedPage)> {
        if mode == MigrateMode::Sync {
            sleep_until_waited_for();
        }
        with_masked(|irq| {
            let mut slot = PAGE.lock(irq);
            let Some(old) = slot.take_if(|page| page.frame() == from) else {
                return Err((MigrateError::Busy, to));
            };
            to.bytes_mut().copy_from_slice(old.bytes());
            inherit_mark(&old, &to);
            clear_page_movable(&old);
            *slot = Some(to);
            Ok(old)
        })
    }

    fn putback(&self, _: Frame) {}
}

/// Yields until the other thread is about to wait, and once more, so that it does.
pub fn sleep_until_waited_for() {
    MOVING.store(true, SeqCst);
    while !WAITING.load(SeqCst) {
        schedule();
    }
    (0..3).for_each(|_| schedule());
}

/// Gives the owner a page that is `wanted`, among many that are allocated for this.
#[allow(dead_code, reason = "not every image has it own a page")]
pub fn own_a_page(wanted: impl Fn(Frame) -> bool) -> Frame {
    let owner = *OWNER.call_once(|| register_movable(&Sleepy).expect("room for an owner"));
    let mut others = Vec::new();
    let page = loop {
        let page = OwnedPage::alloc(Gfp::GFP_HIGHUSER_MOVABLE).expect("a page as wanted");
        if wanted(page.frame()) {
            break page;
        }
        others.push(page);
    };
    let frame = page.frame();
    set_page_movable(&page, owner, 0);
    with_masked(|irq| *PAGE.lock(irq) = Some(page));
    frame
}

/// Takes the page of [`own_a_page`] from the owner again.
#[allow(dead_code, reason = "not every image has it own a page")]
pub fn disown() -> Frame {
    let page = with_masked(|irq| PAGE.lock(irq).take()).expect("it is the owner's");
    clear_page_movable(&page);
    page.frame()
}

/// Runs `first`, which comes to [`sleep_until_waited_for`] on its way, and meanwhile `second`,
/// which has to wait for it, as two threads of one CPU, and waits for the end of both.
pub fn on_one_cpu(
    first: impl FnOnce() -> i32 + Send + 'static,
    second: impl FnOnce() -> i32 + Send + 'static,
) -> (i32, i32) {
    MOVING.store(false, SeqCst);
    WAITING.store(false, SeqCst);
    let cpu = CpuId::BOOT;
    let run = |thread: Result<KThread, _>| {
        let thread = thread.expect("a thread");
        thread.wake_up();
        thread
    };
    let first = run(kthread_create_on_cpu("first", cpu, first));
    let second = run(kthread_create_on_cpu("second", cpu, move || {
        while !MOVING.load(SeqCst) {
            schedule();
        }
        WAITING.store(true, SeqCst);
        second()
    }));
    (first.join(), second.join())
}
