//! Tasks at EL0: preempted by the tick, with shares of the CPU by nice values, and with registers of
//! their own over switches and on other CPUs.

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/user.rs"]
mod user;

use alloc::vec::Vec;
use core::cell::RefCell;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use granule::addr::{UserAddr, VirtAddr};
use granule::arch::cpumask::CpuMask;
use granule::arch::el0_entry::{self, Cause, Fast, FastRegs, Slow, User};
use granule::arch::esr::{Exception, Syndrome};
use granule::arch::exception::PtRegs;
use granule::arch::extable::copy_from_kernel_nofault;
use granule::arch::{CpuId, IrqMasked, fpsimd, smp};
use granule::init::interrupts;
use granule::mm::kthread::kthread_create_on_cpu;
use granule::sched::{
    CpuTime, KThread, Nice, cpu_time, jiffies, kthread_unuse_mm, kthread_use_mm, msleep, schedule,
    set_cpus_allowed,
};
use user::{DATA, MORE, TEXT, UserSpace};

core::arch::global_asm!(
    ".pushsection .rodata.user_text, \"a\"",
    ".balign 4",
    ".arch_extension fp",
    ".arch_extension simd",
    ".global user_text, user_count, user_calls, user_registers, user_fp, user_sve, user_sme, user_text_end",
    "user_text:",
    // Counts at x1 until the word behind is not 0, and then makes call 0.
    "user_count:",
    "ldr x2, [x1]",
    "add x2, x2, #1",
    "str x2, [x1]",
    "ldr x2, [x1, #8]",
    "cbz x2, user_count",
    "svc #0",
    // The same with call 1 in each turn.
    "user_calls:",
    "ldr x2, [x1]",
    "add x2, x2, #1",
    "str x2, [x1]",
    "svc #1",
    "ldr x2, [x1, #8]",
    "cbz x2, user_calls",
    "svc #0",
    // The same with values in all registers that a switch has to keep. They are made from x0, which
    // is another in each turn; TPIDRRO_EL0 has the first one. UDF ends it where one is wrong.
    "user_registers:",
    "mov x9, x0",
    // Registers of zeros at first.
    ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "umov x2, v\\n\\().d[0]",
    "umov x3, v\\n\\().d[1]",
    "orr x2, x2, x3",
    "cbnz x2, 9f",
    ".endr",
    ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
    "umov x2, v\\n\\().d[0]",
    "umov x3, v\\n\\().d[1]",
    "orr x2, x2, x3",
    "cbnz x2, 9f",
    ".endr",
    "mrs x2, fpsr",
    "cbnz x2, 9f",
    "mrs x2, fpcr",
    "cbnz x2, 9f",
    "mrs x2, tpidr_el0",
    "cbnz x2, 9f",
    // TPIDR2_EL0 where the word at x1 + 24 says that it is there.
    "ldr x8, [x1, #24]",
    "cbz x8, 1f",
    "mrs x2, s3_3_c13_c0_5",
    "cbnz x2, 9f",
    "1:",
    ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "add x2, x0, #\\n",
    "ins v\\n\\().d[0], x2",
    "mvn x2, x2",
    "ins v\\n\\().d[1], x2",
    ".endr",
    ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
    "add x2, x0, #\\n",
    "ins v\\n\\().d[0], x2",
    "mvn x2, x2",
    "ins v\\n\\().d[1], x2",
    ".endr",
    "and x4, x0, #0x1f",
    "msr fpsr, x4",
    "and x5, x0, #7",
    "lsl x5, x5, #22",
    "msr fpcr, x5",
    "mvn x6, x0",
    "msr tpidr_el0, x6",
    "cbz x8, 4f",
    "msr s3_3_c13_c0_5, x0",
    "4:",
    "mov x7, #64",
    "2:",
    ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "add x3, x0, #\\n",
    "umov x2, v\\n\\().d[0]",
    "cmp x2, x3",
    "b.ne 9f",
    "mvn x3, x3",
    "umov x2, v\\n\\().d[1]",
    "cmp x2, x3",
    "b.ne 9f",
    ".endr",
    ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
    "add x3, x0, #\\n",
    "umov x2, v\\n\\().d[0]",
    "cmp x2, x3",
    "b.ne 9f",
    "mvn x3, x3",
    "umov x2, v\\n\\().d[1]",
    "cmp x2, x3",
    "b.ne 9f",
    ".endr",
    "mrs x2, fpsr",
    "cmp x2, x4",
    "b.ne 9f",
    "mrs x2, fpcr",
    "cmp x2, x5",
    "b.ne 9f",
    "mrs x2, tpidr_el0",
    "cmp x2, x6",
    "b.ne 9f",
    "mrs x2, tpidrro_el0",
    "cmp x2, x9",
    "b.ne 9f",
    "cbz x8, 5f",
    "mrs x2, s3_3_c13_c0_5",
    "cmp x2, x0",
    "b.ne 9f",
    "5:",
    "sub x7, x7, #1",
    "cbnz x7, 2b",
    "ldr x2, [x1]",
    "add x2, x2, #1",
    "str x2, [x1]",
    "ldr x2, [x1, #16]",
    "cbz x2, 3f",
    "svc #1", // which may sleep
    "3: add x0, x0, #37",
    "ldr x2, [x1, #8]",
    "cbz x2, 1b",
    "svc #0",
    "9: udf #9",
    // Touches the registers once.
    "user_fp: fmov d0, xzr",
    "svc #0",
    // Instructions that are not there: PTRUE of SVE, SMSTART of SME.
    "user_sve: .inst 0x2518e3e0",
    "user_sme: .inst 0xd503477f",
    "user_text_end:",
    ".arch_extension nosimd",
    ".arch_extension nofp",
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

/// Handlers of a program: call 1 runs a function with all registers, and all else ends it.
struct Program {
    in_call: fn(),
    end: RefCell<Option<(Exception, PtRegs)>>,
}

impl User for Program {
    fn sync(&self, _: &mut FastRegs<'_>, _: Syndrome, _: &IrqMasked) -> Fast {
        Fast::AllRegisters
    }
    fn interrupt(&self, _: &IrqMasked) -> Fast {
        Fast::Return
    }
    fn all_registers(&self, regs: &mut PtRegs, cause: Cause) -> Slow {
        let Cause::Sync(syndrome) = cause else { panic!("an interrupt") };
        if syndrome.exception() == Exception::Svc(1) {
            (self.in_call)();
            return Slow::Return;
        }
        *self.end.borrow_mut() = Some((syndrome.exception(), regs.clone()));
        Slow::Leave
    }
}

/// Runs a program in the current task; its end, and the registers then. `x0` is in TPIDRRO_EL0 too.
fn run(pc: UserAddr, x0: u64, in_call: fn()) -> (Exception, PtRegs) {
    let program = Program { in_call, end: RefCell::new(None) };
    let mut regs = PtRegs::user(pc, MORE);
    regs.x[0] = x0;
    regs.x[1] = DATA.get() as u64;
    el0_entry::run(&regs, (0, x0), &program);
    program.end.into_inner().expect("it has ended")
}

/// ID_AA64PFR1_EL1.SME: the CPU has TPIDR2_EL0.
fn has_sme() -> bool {
    let pfr1: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mrs {}, id_aa64pfr1_el1", out(reg) pfr1, options(nomem, nostack)) };
    pfr1 >> 24 & 0xf != 0
}

/// A task that runs a program in an address space of its own.
struct Task {
    space: UserSpace,
    thread: KThread,
}

fn start_with(pc: UserAddr, x0: u64, cpu: CpuId, nice: i32, in_call: fn()) -> Task {
    let space = space();
    space.set_word(DATA, 3, has_sme().into());
    let mm = space.mm();
    let thread = kthread_create_on_cpu("user", cpu, move || {
        kthread_use_mm(mm).expect("enough ASIDs");
        let (end, regs) = run(pc, x0, in_call);
        drop(kthread_unuse_mm());
        if end == Exception::Svc(0) {
            return 0;
        }
        granule::kprintln!("a program ended: {end} at {:#x}\n{regs}", regs.elr);
        1
    });
    let thread = thread.expect("a thread");
    thread.task().set_user_nice(Nice::new(nice).expect("in range"));
    thread.wake_up();
    Task { space, thread }
}

fn start(pc: UserAddr, x0: u64, cpu: CpuId) -> Task {
    start_with(pc, x0, cpu, 0, || ())
}

impl Task {
    /// Turns of its loop.
    fn turns(&self) -> u64 {
        self.space.word(DATA, 0)
    }
    /// Waits until it has made so many more.
    fn makes(&self, turns: u64) {
        let goal = self.turns() + turns;
        while self.turns() < goal {
            assert!(!self.thread.has_ended(), "a register was wrong");
            msleep(10);
        }
    }
    fn stop(self) {
        self.space.set_word(DATA, 1, 1);
        assert_eq!(self.thread.join(), 0);
    }
}

/// The CPU where tests run tasks: another than that of the tests, if there is one.
fn other_cpu() -> CpuId {
    smp::online().last().expect("a CPU")
}

/// Saves and loads of FP and SIMD registers on all CPUs.
fn fp_counters() -> (u64, u64) {
    let all = smp::online().map(fpsimd::counters);
    all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

kernel_tests! {
    fn the_tick_preempts_code_that_spins() {
        for cpu in [other_cpu(), CpuId::BOOT] {
            let (a, b) = (start(program!(user_count), 0, cpu), start(program!(user_count), 0, cpu));
            // Each gets the CPU again and again.
            for _ in 0..5 {
                a.makes(1);
                b.makes(1);
            }
            // A thread of the kernel's gets it too.
            let thread = kthread_create_on_cpu("kernel", cpu, || 7).expect("a thread");
            thread.wake_up();
            assert_eq!(thread.join(), 7);
            a.makes(1);
            a.stop();
            b.stop();
        }
    }

    /// Not only at ticks, by which it would take one for each.
    fn a_task_that_is_woken_runs_at_once() {
        let cpu = other_cpu();
        let spins = start(program!(user_count), 0, cpu);
        spins.makes(1);
        let (ticks, asked) = (interrupts::ticks(cpu), interrupts::reschedules(cpu));
        const ROUNDS: u64 = 200;
        for _ in 0..ROUNDS {
            let thread = kthread_create_on_cpu("woken", cpu, || 0).expect("a thread");
            thread.wake_up();
            assert_eq!(thread.join(), 0);
        }
        if cpu != CpuId::BOOT {
            assert!(interrupts::reschedules(cpu) - asked >= ROUNDS);
        }
        let ticks = interrupts::ticks(cpu) - ticks;
        granule::kprintln!("{ROUNDS} wake-ups in {ticks} ticks");
        spins.makes(1);
        spins.stop();
    }

    fn shares_follow_nice_values() {
        const TICKS: u64 = 160;
        let cpu = other_cpu();
        let tasks = [0, 5].map(|nice| start_with(program!(user_count), 0, cpu, nice, || ()));
        let ran = || tasks.each_ref().map(|task| task.thread.task().runtime());
        let tick = 1_000_000_000 / granule::sched::HZ;
        let before = ran();
        let [a, b] = loop {
            let [a, b] = ran();
            let since = [(a - before[0]) / tick, (b - before[1]) / tick];
            if since[0] + since[1] >= TICKS {
                break since;
            }
            msleep(20);
        };
        granule::kprintln!("ticks at nice 0 and 5: {a}, {b}");
        // 1024 to 335, a tick more or less in each.
        assert!(a * 100 >= b * 270 && a * 100 <= b * 340, "{a} to {b}");
        tasks.into_iter().for_each(Task::stop);
    }

    /// Of a task that spins at EL0, nearly all; of one that is called all the time, some.
    fn time_at_el0_and_in_the_kernel_is_told_apart() {
        const TICKS: u64 = 40;
        let cpu = other_cpu();
        let tick = 1_000_000_000 / granule::sched::HZ;
        let spins = start_with(program!(user_count), 0, cpu, 5, || ());
        let before = cpu_time(cpu).expect("it is up");
        let task = spins.thread.task();
        while task.utime() < TICKS * tick {
            msleep(20);
        }
        // It enters the kernel by interrupts alone.
        assert!(task.runtime() - task.utime() <= task.runtime() / 4, "{} of {}", task.utime(), task.runtime());
        let least = task.utime() / tick;
        let now = cpu_time(cpu).expect("it is up");
        let most = task.utime() / tick;
        let nice = (now.nice - before.nice) / tick;
        assert!(nice >= TICKS && now.user == before.user, "{before:?}, {now:?}");
        assert!((least..=most).contains(&nice), "{nice}, not {least} to {most}");
        spins.stop();
        let now = cpu_time(cpu).expect("it is up");
        // Without a task the CPU is idle, unless it is that of the tests.
        let wait = |over: &mut dyn FnMut(CpuTime) -> bool| {
            while !over(cpu_time(cpu).expect("it is up")) {
                msleep(20);
            }
        };
        if cpu != CpuId::BOOT {
            wait(&mut |time| time.idle >= now.idle + 5 * tick);
        }
        // In the kernel, where a thread of its own computes.
        let thread = kthread_create_on_cpu("computes", cpu, || {
            let until = jiffies() + 20;
            while jiffies() < until {
                core::hint::spin_loop();
            }
            0
        });
        let thread = thread.expect("a thread");
        thread.wake_up();
        assert_eq!(thread.join(), 0);
        wait(&mut |time| time.system >= now.system + 10 * tick);
        assert_eq!(cpu_time(cpu).expect("it is up").nice, now.nice);
    }

    fn registers_are_kept_over_switches() {
        let cpu = other_cpu();
        let tasks: Vec<Task> =
            (0..4u64).map(|n| start(program!(user_registers), (n << 32) + n * 5, cpu)).collect();
        let without = start(program!(user_count), 0, cpu);
        for _ in 0..3 {
            tasks.iter().chain([&without]).for_each(|task| task.makes(1));
        }
        tasks.into_iter().chain([without]).for_each(Task::stop);
    }

    fn registers_are_kept_on_other_cpus() {
        let cpus: Vec<CpuId> = smp::online().collect();
        let tasks: Vec<Task> = (0..3usize)
            .map(|n| start(program!(user_registers), (n as u64) << 32, cpus[n % cpus.len()]))
            .collect();
        // In calls that sleep and without.
        for asleep in [0, 1] {
            tasks.iter().for_each(|task| task.space.set_word(DATA, 2, asleep));
            for round in 0..3 * cpus.len() {
                for (n, task) in tasks.iter().enumerate() {
                    // The same CPUs again, with nobody there meanwhile, and then with others.
                    let cpu = cpus[(n * (round % 2) + round) % cpus.len()];
                    set_cpus_allowed(task.thread.task(), CpuMask::of(cpu)).expect("it is up");
                    task.makes(2);
                    assert_eq!(task.thread.task().cpu(), cpu);
                }
            }
        }
        tasks.into_iter().for_each(Task::stop);
    }

    /// The registers of the CPU that it comes back to are those of its own past.
    fn a_task_that_comes_back_to_a_cpu_has_its_latest_registers() {
        let cpus = [smp::online().next(), smp::online().last()].map(|cpu| cpu.expect("a CPU"));
        let task = start(program!(user_registers), 1 << 40, cpus[0]);
        for round in 0..8 {
            set_cpus_allowed(task.thread.task(), CpuMask::of(cpus[round % 2])).expect("it is up");
            task.makes(2);
        }
        task.stop();
    }

    fn a_task_that_touches_no_fp_register_costs_no_save() {
        let cpu = other_cpu();
        let before = fp_counters();
        let tasks = [0, 1].map(|_| start(program!(user_count), 0, cpu));
        for _ in 0..5 {
            tasks.iter().for_each(|task| task.makes(1));
        }
        tasks.into_iter().for_each(Task::stop);
        assert_eq!(fp_counters(), before);
    }

    /// It goes on with what it finds in the registers.
    fn a_task_alone_with_threads_of_the_kernel_has_its_registers_loaded_once() {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let cpu = other_cpu();
        let before = fp_counters();
        let in_call = || {
            CALLS.fetch_add(1, SeqCst);
            // The idle task runs, or that of the tests.
            msleep(1);
        };
        let task = start_with(program!(user_registers), 3, cpu, 0, in_call);
        task.space.set_word(DATA, 2, 1);
        task.makes(5);
        task.stop();
        let (saves, loads) = fp_counters();
        assert!(CALLS.load(SeqCst) >= 5);
        assert!(saves - before.0 >= CALLS.load(SeqCst));
        assert_eq!(loads - before.1, 1);
    }

    fn a_program_begins_with_registers_of_zeros() {
        let space = space();
        space.with(|| {
            for x0 in [1, 2] {
                // One turn, with a call in which other tasks run: they are saved there.
                space.set_word(DATA, 1, 1);
                space.set_word(DATA, 2, 1);
                space.set_word(DATA, 3, has_sme().into());
                let (end, _) = run(program!(user_registers), x0, || msleep(1));
                assert_eq!(end, Exception::Svc(0));
            }
        });
    }

    fn sve_and_sme_are_not_there() {
        let space = space();
        space.with(|| {
            assert_eq!(run(program!(user_fp), 0, || ()).0, Exception::Svc(0));
            // They themselves end the program, and not what is behind them.
            let ends = |pc: UserAddr| {
                let (end, regs) = run(pc, 0, || ());
                assert_eq!(regs.elr, pc.get() as u64, "{end}");
                end
            };
            let sve = ends(program!(user_sve));
            assert!(matches!(sve, Exception::Undefined | Exception::SveAccess), "{sve}");
            let sme = ends(program!(user_sme));
            assert!(matches!(sme, Exception::Undefined | Exception::SmeAccess(_)), "{sme}");
        });
    }

    /// A CPU walks a user's tables while it runs a task of that user's alone, and who frees them
    /// last can do so at once.
    fn a_thread_of_the_kernel_finds_no_page_of_a_user_s() {
        let cpu = other_cpu();
        let task = start(program!(user_count), 0, cpu);
        let at = VirtAddr::new(DATA.get());
        for _ in 0..20 {
            task.makes(1);
            let thread = kthread_create_on_cpu("reads", cpu, move || {
                // SAFETY: memory, if anything.
                i32::from(unsafe { copy_from_kernel_nofault(&mut [0; 8], at) })
            });
            let thread = thread.expect("a thread");
            // It runs in between, and where the task was.
            thread.wake_up();
            assert_eq!(thread.join(), 0, "it was read");
        }
        task.stop();
    }

    /// The tables of the task before aren't those that another finds.
    fn tasks_have_tables_of_their_own() {
        let cpu = other_cpu();
        let tasks: Vec<Task> = (0..3).map(|_| start(program!(user_calls), 0, cpu)).collect();
        for task in &tasks {
            task.makes(3);
        }
        // One that counts nowhere else: its own word alone goes on.
        let mut tasks = tasks.into_iter();
        let first = tasks.next().expect("three");
        let rest: Vec<Task> = tasks.collect();
        rest.into_iter().for_each(Task::stop);
        first.makes(3);
        first.stop();
        schedule();
    }
}
