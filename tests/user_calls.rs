//! System calls and exceptions of a process whose pages are mapped by hand.

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/user.rs"]
mod user;

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use granule::addr::UserAddr;
use granule::arch::exception::PtRegs;
use granule::fs::tmpfs;
use granule::fs::vfs::{FsContext, MountFlags, mount};
use granule::mm::alloc::KArc;
use granule::mm::gfp::Gfp;
use granule::mm::kthread::kthread_run;
use granule::sched::{kthread_unuse_mm, kthread_use_mm, msleep, send_sigkill};
use granule::user::process::signal::{Exit, Signal};
use granule::user::process::{self, Process};
use granule::user::syscall;
use user::{DATA, HOLE, KERNEL, MORE, RODATA, TEXT, UserSpace};

core::arch::global_asm!(
    ".pushsection .rodata.user_text, \"a\"",
    ".balign 4",
    "user_text:",
    // Makes call x8 with x0 to x5, and ends with the result, negated.
    "user_call:",
    "svc #0",
    "neg x0, x0",
    "mov x8, #93",
    "svc #0",
    // Registers through calls on both paths: getpid, and uname to x19.
    "user_registers:",
    "mov x20, #0x123",
    "mov x9, #0x99",
    "mov x30, #0x77",
    "mov x8, #172",
    "svc #0",
    "cmp x0, x21",
    "b.ne 9f",
    "mov x0, x19",
    "mov x8, #160",
    "svc #0",
    "cbnz x0, 9f",
    "ldr x0, [x19]",
    "cmp x0, x22", // "Linux"
    "b.ne 9f",
    "cmp x20, #0x123",
    "b.ne 9f",
    "cmp x9, #0x99",
    "b.ne 9f",
    "cmp x30, #0x77",
    "b.ne 9f",
    "mov x0, #55",
    "mov x8, #94",
    "svc #0",
    "9: udf #9",
    "user_undefined: udf #1",
    "user_mrs:",
    "mrs x0, midr_el1",
    "mrs x1, s3_0_c0_c7_0",
    "mov x2, #0xff000000",
    "cmp x1, x2",
    "b.ne 9b",
    "mrs xzr, s3_0_c0_c4_0",
    "mov x0, #3",
    "mov x8, #93",
    "svc #0",
    "user_sctlr: mrs x0, sctlr_el1",
    "user_brk: brk #7",
    "user_loop: b user_loop",
    "user_sleep:",
    "mov x8, #101",
    "svc #0",
    "udf #3",
    "user_text_end:",
    ".popsection",
);

macro_rules! program {
    ($name:ident) => {{
        unsafe extern "C" {
            static $name: u8;
            static user_text: u8;
        }
        TEXT.checked_add((&raw const $name).addr() - (&raw const user_text).addr()).expect("there")
    }};
}

fn space() -> UserSpace {
    unsafe extern "C" {
        static user_text: u8;
        static user_text_end: u8;
    }
    let start = &raw const user_text;
    let bytes = (&raw const user_text_end).addr() - start.addr();
    // SAFETY: constants of the image, between two symbols.
    UserSpace::new(unsafe { core::slice::from_raw_parts(start, bytes) })
}

const PID: u32 = 4711;

/// Runs a program with these registers.
fn run(space: &UserSpace, pc: UserAddr, set: impl FnOnce(&mut PtRegs)) -> Exit {
    let root =
        tmpfs::new_mount("rootfs", b"rootfs", tmpfs::Options::default(), MountFlags::default());
    mount::attach(&root.expect("memory"), None).expect("no other root");
    let process = Process::new(PID, 1, 100, FsContext::new().expect("a root")).expect("memory");
    let process = KArc::new(process, Gfp::GFP_KERNEL).expect("memory");
    let mut regs = PtRegs::user(pc, MORE);
    set(&mut regs);
    kthread_use_mm(space.mm()).expect("enough ASIDs");
    let exit = process::run(process, &regs);
    drop(kthread_unuse_mm());
    mount::detach_all();
    exit
}

/// The error of a call, 0 for none.
fn error(number: u64, args: [u64; 6]) -> u8 {
    let exit = run(&space(), program!(user_call), |regs| {
        regs.x[..6].copy_from_slice(&args);
        regs.x[8] = number;
    });
    match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => panic!("{signal:?} in call {number} {args:x?}"),
    }
}

const EFAULT: u8 = 14;
const EINVAL: u8 = 22;
const ENOSYS: u8 = 38;

fn signal(pc: UserAddr, expected: Signal) {
    assert_eq!(run(&space(), pc, |_| ()), Exit::Signal(expected));
}

kernel_tests! {
    fn registers_survive_calls() {
        let exit = run(&space(), program!(user_registers), |regs| {
            regs.x[19] = DATA.get() as u64;
            regs.x[21] = PID.into();
            regs.x[22] = u64::from_le_bytes(*b"Linux\0\0\0");
        });
        assert_eq!(exit, Exit::Code(55));
    }

    fn calls_that_are_not_there_are_counted() {
        let before = syscall::absent_calls().find(|&(number, _)| number == 463);
        assert_eq!(before, None);
        assert_eq!(error(463, [0; 6]), ENOSYS);
        assert_eq!(error(463, [0; 6]), ENOSYS);
        assert_eq!(syscall::absent_calls().find(|&(number, _)| number == 463), Some((463, 2)));
        // The number is an int.
        for number in [464, 1 << 20, u64::from(u32::MAX), u64::MAX, 1 << 63] {
            let expected = if number as u32 == 0 { 38 } else { ENOSYS };
            assert_eq!(error(number, [0; 6]), expected, "{number}");
        }
        assert_eq!(error(172 | 1 << 32, [0; 6]), (PID as u8).wrapping_neg());
    }

    fn pointers_to_everywhere() {
        let edge = HOLE.get() as u64 - 4;
        let bad = [
            HOLE.get() as u64,
            edge,
            RODATA.get() as u64,
            KERNEL.get() as u64,
            0,
            1 << 48,
            (1 << 48) - 8,
            0xffff_0000_4000_0000,
            0xffff_8000_0000_0000,
            u64::MAX,
            u64::MAX - 7,
        ];
        for at in bad {
            // clock_gettime, uname, prlimit64, rt_sigaction, getrandom
            assert_eq!(error(113, [1, at, 0, 0, 0, 0]), EFAULT, "{at:#x}");
            assert_eq!(error(160, [at, 0, 0, 0, 0, 0]), EFAULT, "{at:#x}");
            if at != 0 {
                assert_eq!(error(261, [0, 3, 0, at, 0, 0]), EFAULT, "{at:#x}");
                assert_eq!(error(134, [10, 0, at, 8, 0, 0]), EFAULT, "{at:#x}");
            }
            // As much as fits is written.
            let left = if at == edge { 4u8.wrapping_neg() } else { EFAULT };
            assert_eq!(error(278, [at, 8, 0, 0, 0, 0]), left, "{at:#x}");
        }
        let data = DATA.get() as u64;
        assert_eq!(error(113, [1, data + 1, 0, 0, 0, 0]), 0);
        assert_eq!(error(113, [99, data, 0, 0, 0, 0]), EINVAL);
        assert_eq!(error(278, [data, 0, 0, 0, 0, 0]), 0);
        assert_eq!(error(278, [data, 8, 8, 0, 0, 0]), EINVAL);
    }

    fn exceptions_are_signals() {
        signal(program!(user_undefined), Signal::SIGILL);
        signal(program!(user_sctlr), Signal::SIGILL);
        signal(program!(user_brk), Signal::SIGTRAP);
        assert_eq!(run(&space(), program!(user_mrs), |_| ()), Exit::Code(3));
    }

    fn a_process_ends_itself() {
        // exit with 256 is exit with 0; kill by signals that end, that don't, and that are none
        assert_eq!(error(93, [256, 0, 0, 0, 0, 0]), 0);
        let pid = u64::from(PID);
        for (number, expected) in [(6, Signal::SIGABRT), (9, Signal::SIGKILL), (15, Signal::SIGTERM)] {
            let exit = run(&space(), program!(user_call), |regs| {
                (regs.x[0], regs.x[1], regs.x[8]) = (pid, number, 129);
            });
            assert_eq!(exit, Exit::Signal(expected));
        }
        assert_eq!(error(129, [pid, 17, 0, 0, 0, 0]), 0);
        assert_eq!(error(129, [pid, 0, 0, 0, 0, 0]), 0);
        assert_eq!(error(129, [pid, 65, 0, 0, 0, 0]), EINVAL);
        assert_eq!(error(129, [pid + 1, 9, 0, 0, 0, 0]), 3);
    }

    fn others_end_a_process() {
        static ENDED: AtomicU32 = AtomicU32::new(0);
        for pc in [program!(user_loop), program!(user_sleep)] {
            ENDED.store(0, SeqCst);
            let thread = kthread_run("program", move || {
                granule::sched::allow_sigkill();
                let space = space();
                // A sleep of a day.
                space.set_word(DATA, 0, 86_400);
                let exit = run(&space, pc, |regs| regs.x[0] = DATA.get() as u64);
                ENDED.store(1, SeqCst);
                exit.wait_status()
            });
            let thread = thread.expect("a thread");
            msleep(50);
            assert_eq!(ENDED.load(SeqCst), 0);
            assert!(send_sigkill(thread.task()));
            assert_eq!(thread.join(), 9);
        }
    }
}
