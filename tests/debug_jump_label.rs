//! Static keys on the running kernel: branches that are patched in the image.

#![no_std]
#![no_main]

mod harness;

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use granule::addr::VirtAddr;
use granule::arch::jump_label::branches;
use granule::arch::jump_label::{StaticKey, static_branch_unlikely};
use granule::arch::{CpuId, NR_CPUS, mmu};
use granule::arch::{image, smp};
use granule::init::interrupts::reschedules;
use granule::init::secondary;
use granule::machine_local;
use granule::mm::ptdump;
use granule::sched::kick_all_cpus_sync;

machine_local! {
    static KEY: StaticKey = StaticKey::new();
    static OTHER: StaticKey = StaticKey::new();
}

#[inline(never)]
fn asked() -> bool {
    static_branch_unlikely!(KEY)
}

#[inline(never)]
fn other_asked() -> bool {
    static_branch_unlikely!(OTHER)
}

/// Function with several branches of one key, as inlined code has.
#[inline(never)]
fn count() -> u32 {
    let mut n = 0;
    for _ in 0..3 {
        n += u32::from(static_branch_unlikely!(KEY));
        n += u32::from(static_branch_unlikely!(OTHER)) << 8;
    }
    n + (u32::from(asked()) << 16)
}

const NOP: u32 = 0xd503_201f;

/// The first instructions of a function, as they are in memory.
fn code(f: fn() -> bool) -> [u32; 8] {
    let at = f as *const () as *const [u32; 8];
    assert!(image::text().contains(VirtAddr::from_ptr(at)));
    // SAFETY: 32 bytes of the image's instructions.
    unsafe { at.read_volatile() }
}

kernel_tests! {
    fn a_branch_is_a_nop_until_its_key_is_on() {
        assert!(branches() > 2, "the image has a table of branches");
        let off = code(asked);
        assert!(off.contains(&NOP));
        assert_eq!(count(), 0);
        KEY.inc();
        let on = code(asked);
        let changed: usize = off.iter().zip(&on).filter(|(a, b)| a != b).count();
        assert_eq!(changed, 1, "one instruction is another");
        let (was, is) = off.iter().zip(&on).find(|(a, b)| a != b).expect("one");
        assert_eq!((*was, is >> 26), (NOP, 5), "a B is where the NOP was");
        assert!(asked() && !other_asked());
        assert_eq!(count(), 1 << 16 | 3);
        OTHER.inc();
        assert_eq!(count(), 1 << 16 | 3 << 8 | 3);
        KEY.inc();
        KEY.dec();
        assert!(asked(), "one of two users has given it back");
        KEY.dec();
        OTHER.dec();
        assert_eq!(code(asked), off);
        assert_eq!(count(), 0);
    }

    fn the_image_stays_read_only() {
        KEY.inc();
        assert_eq!(ptdump::check_wx(|run| granule::kprintln!("W+X: {run}")), 0);
        KEY.dec();
    }

    /// A page is mapped writable while an instruction in it is patched, which is no finding.
    fn the_check_for_writable_code_bears_patching() {
        static DONE: AtomicBool = AtomicBool::new(false);
        static FOUND: AtomicUsize = AtomicUsize::new(0);
        secondary::on_each(|cpu| {
            if cpu == CpuId::BOOT {
                for _ in 0..100 {
                    FOUND.fetch_add(ptdump::check_wx(|_| ()), Ordering::Relaxed);
                }
                DONE.store(true, Ordering::Relaxed);
            } else if cpu.index() == 1 {
                while !DONE.load(Ordering::Relaxed) {
                    KEY.inc();
                    KEY.dec();
                }
            }
        });
        assert_eq!(FOUND.load(Ordering::Relaxed), 0);
        assert!(!asked());
    }

    /// Each CPU takes an exception during the call, and so sees the key's new state.
    fn all_cpus_see_a_key_after_they_were_kicked() {
        static ANSWER: [AtomicU32; NR_CPUS] = [const { AtomicU32::new(2) }; NR_CPUS];
        for round in 0..20 {
            let before = core::array::from_fn::<u64, NR_CPUS, _>(|n| CpuId::new(n).map_or(0, reschedules));
            if round % 2 == 0 { KEY.inc() } else { KEY.dec() }
            kick_all_cpus_sync();
            for cpu in smp::online().filter(|&cpu| cpu != CpuId::BOOT) {
                assert!(reschedules(cpu) > before[cpu.index()], "CPU {}", cpu.index());
            }
            secondary::on_each(|cpu| {
                ANSWER[cpu.index()].store(u32::from(asked()), Ordering::Release);
            });
            for cpu in smp::online() {
                let answer = ANSWER[cpu.index()].load(Ordering::Acquire);
                assert_eq!(answer, 1 - round % 2, "CPU {}", cpu.index());
            }
        }
        assert!(!asked());
    }

    /// The others run the branch all the time, while it changes. Each synchronizes its context
    /// before it asks, so it may not miss a change that was complete by then.
    fn a_branch_changes_under_those_who_run_it() {
        static DONE: AtomicBool = AtomicBool::new(false);
        static ASKED: [AtomicU32; NR_CPUS] = [const { AtomicU32::new(0) }; NR_CPUS];
        static ANSWER: [AtomicBool; NR_CPUS] = [const { AtomicBool::new(false) }; NR_CPUS];
        static WRONG: AtomicUsize = AtomicUsize::new(0);
        fn others() -> impl Iterator<Item = usize> {
            smp::online().skip(1).map(|cpu| cpu.index())
        }
        /// The others have asked again, from the first word to the last: what all must see.
        fn all_see(on: bool, round: u32) {
            for other in others() {
                let asked = ASKED[other].load(Ordering::Acquire);
                while ASKED[other].load(Ordering::Acquire).wrapping_sub(asked) < 2 {
                    core::hint::spin_loop();
                }
                if ANSWER[other].load(Ordering::Acquire) != on {
                    WRONG.fetch_add(1, Ordering::Relaxed);
                    granule::kprintln!("round {round}: CPU {other} does not see the key {on}");
                }
            }
        }
        secondary::on_each(|cpu| {
            if cpu == CpuId::BOOT {
                for n in 0..500 {
                    KEY.inc();
                    let on = asked();
                    all_see(true, n);
                    KEY.dec();
                    let off = !asked();
                    all_see(false, n);
                    WRONG.fetch_add(usize::from(!on) + usize::from(!off), Ordering::Relaxed);
                }
                // As fast as it can, too.
                for _ in 0..1000 {
                    KEY.inc();
                    let on = asked();
                    KEY.dec();
                    let off = !asked();
                    WRONG.fetch_add(usize::from(!on) + usize::from(!off), Ordering::Relaxed);
                }
                DONE.store(true, Ordering::Relaxed);
            } else {
                while !DONE.load(Ordering::Relaxed) {
                    mmu::isb();
                    ANSWER[cpu.index()].store(asked(), Ordering::Release);
                    ASKED[cpu.index()].fetch_add(1, Ordering::Release);
                }
            }
        });
        assert_eq!(WRONG.load(Ordering::Relaxed), 0, "a CPU ran an instruction that was patched");
        assert!(!asked());
    }
}
