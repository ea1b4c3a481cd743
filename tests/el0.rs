//! Code at EL0, on pages that are mapped by hand.

#![no_std]
#![no_main]

extern crate alloc;

mod harness;
#[path = "harness/user.rs"]
mod user;

use core::cell::{Cell, RefCell};
use granule::addr::{UserAddr, VirtAddr};
use granule::arch::IrqMasked;
use granule::arch::el0_entry::{self, Cause, Fast, FastRegs, Slow, User};
use granule::arch::esr::{Exception, FaultStatus, Origin, Syndrome, SystemRegister};
use granule::arch::exception::PtRegs;
use granule::arch::extable;
use granule::arch::features::{self, Features};
use granule::arch::irq;
use granule::arch::layout;
use granule::arch::uaccess::{Efault, UserPtr, UserSlice};
use user::{DATA, GUARDED, HOLE, KERNEL, MORE, RODATA, TEXT, UserSpace};

core::arch::global_asm!(
    ".pushsection .rodata.user_text, \"a\"",
    ".balign 4",
    "user_text:",
    // Registers with values of their own through calls of all kinds.
    "user_calls:",
    ".irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
    "mov x\\n, #(0x100 + \\n)",
    ".endr",
    ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30",
    "mov x\\n, #(0x100 + \\n)",
    ".endr",
    "mov x0, #41",
    "cmp x0, #41", // Z and C
    "svc #1",      // x0 + 1, on the fast path
    "svc #2",      // x0 + 1, with all registers
    "b.ne 1f",
    "svc #1",
    "1: svc #0", // leave
    // Instructions that programs take for granted.
    "user_granted:",
    "mrs x3, ctr_el0",
    "mrs x4, dczid_el0",
    "mrs x5, cntvct_el0",
    "dc zva, x0",
    "dc cvau, x0",
    "ic ivau, x0",
    "yield",
    "svc #0",
    // One instruction each that is no business of EL0's, or goes wrong.
    "user_undefined: udf #7",
    "user_brk: brk #0x123",
    "user_counter: mrs x3, cntpct_el0",
    "user_mask: msr daifset, #2",
    "user_load: ldr x1, [x0]",
    "user_store: str x1, [x0]",
    "user_jump: br x0",
    "user_hlt: hlt #0xf000",
    "user_ret: ret",
    // Counts in x0, in memory at x1 and in TPIDR_EL0, for ever.
    "user_count:",
    "mov x0, #0",
    "2: add x0, x0, #1",
    "str x0, [x1]",
    "msr tpidr_el0, x0",
    "mrs x2, tpidr_el0",
    "cmp x0, x2",
    "b.ne 3f",
    "b 2b",
    "3: udf #1",
    "user_text_end:",
    ".popsection",
);

// Vectors of EL1 under which a call that faults returns, with ESR_EL1 in x0 and ELR_EL1 in x1.
core::arch::global_asm!(
    ".pushsection .text.returning_vectors, \"ax\"",
    ".balign 2048",
    "returning_vectors:",
    ".space 0x200",
    "mrs x0, esr_el1",
    "mrs x1, elr_el1",
    "msr elr_el1, x30",
    "eret",
    ".space 0x600 - 16",
    ".popsection",
);

/// Calls the code at `at` as the kernel's own; the syndrome and the place of the fault, or 0 and 0.
fn kernel_calls(at: UserAddr) -> (Syndrome, u64) {
    irq::with_masked(|_| {
        let (esr, elr): (u64, u64);
        // SAFETY: the code is a RET or faults, and the vectors are there for the call alone.
        unsafe {
            core::arch::asm!(
                "mrs x22, vbar_el1",
                "adrp x20, returning_vectors",
                "add x20, x20, :lo12:returning_vectors",
                "msr vbar_el1, x20",
                "isb",
                "mov x0, #0",
                "mov x1, #0",
                "blr x21",
                "msr vbar_el1, x22",
                "isb",
                out("x20") _,
                in("x21") at.get(),
                lateout("x0") esr,
                lateout("x1") elr,
                out("x22") _,
                out("x30") _,
                options(nostack)
            );
        }
        (Syndrome(esr), elr)
    })
}

macro_rules! program {
    ($name:ident) => {{
        unsafe extern "C" {
            static $name: u8;
            static user_text: u8;
        }
        (&raw const $name).addr() - (&raw const user_text).addr()
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

/// The address of a program in the page at `text`.
fn address(text: UserAddr, program: usize) -> UserAddr {
    text.checked_add(program).expect("in the page")
}

/// SP_EL0, which at EL1 is the kernel's: the current task.
fn sp_el0() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mrs {}, sp_el0", out(reg) value, options(nomem, nostack)) };
    value
}

/// The handlers of a program: calls 0 to 2, and the first other exception ends it.
struct Program {
    /// SP_EL0 of the kernel.
    sp_el0: u64,
    fast: Cell<usize>,
    slow: Cell<usize>,
    interrupts: Cell<usize>,
    /// What ended it, and its registers then.
    end: RefCell<Option<(Cause, PtRegs)>>,
    /// Called with all registers for each interrupt.
    on_interrupt: Option<fn(&Program, &mut PtRegs)>,
    /// Called with `DATA` for call 1, and the result.
    in_call: Option<fn(UserAddr) -> bool>,
    read: Cell<Option<bool>>,
}

impl Program {
    fn new() -> Self {
        Self {
            sp_el0: sp_el0(),
            fast: Cell::new(0),
            slow: Cell::new(0),
            interrupts: Cell::new(0),
            end: RefCell::new(None),
            on_interrupt: None,
            in_call: None,
            read: Cell::new(None),
        }
    }
}

impl User for Program {
    fn sync(&self, regs: &mut FastRegs<'_>, syndrome: Syndrome, _: &IrqMasked) -> Fast {
        assert!(irq::is_masked());
        assert_eq!(sp_el0(), self.sp_el0, "the user's stack pointer");
        match syndrome.exception() {
            Exception::Svc(1) => {
                self.fast.set(self.fast.get() + 1);
                if let Some(f) = self.in_call {
                    self.read.set(Some(f(DATA)));
                }
                regs.set_x0(regs.x(0) + 1);
                Fast::Return
            }
            _ => Fast::AllRegisters,
        }
    }

    fn interrupt(&self, _: &IrqMasked) -> Fast {
        self.interrupts.set(self.interrupts.get() + 1);
        if self.on_interrupt.is_some() { Fast::AllRegisters } else { Fast::Return }
    }

    fn all_registers(&self, regs: &mut PtRegs, cause: Cause) -> Slow {
        assert!(!irq::is_masked());
        assert_eq!(sp_el0(), self.sp_el0, "the user's stack pointer");
        match (cause, self.on_interrupt) {
            (Cause::Interrupt, Some(f)) => {
                f(self, regs);
                return Slow::Return;
            }
            (Cause::Sync(syndrome), _) if syndrome.exception() == Exception::Svc(2) => {
                self.slow.set(self.slow.get() + 1);
                regs.x[0] += 1;
                regs.x[19] += 0x1000;
                return Slow::Return;
            }
            _ => {}
        }
        *self.end.borrow_mut() = Some((cause, regs.clone()));
        Slow::Leave
    }
}

/// Runs the program at `pc` with `x0`; its end, and the registers then.
fn run(space: &UserSpace, pc: UserAddr, x0: u64) -> (Exception, PtRegs) {
    let program = Program::new();
    let mut regs = PtRegs::user(pc, MORE);
    regs.x[0] = x0;
    space.with(|| el0_entry::run(&regs, (0, 0), &program));
    let (cause, regs) = program.end.into_inner().expect("it has ended");
    match cause {
        // No area has any of these addresses.
        Cause::Sync(syndrome) | Cause::Fault(syndrome, _) => (syndrome.exception(), regs),
        Cause::Interrupt => panic!("ended by an interrupt"),
    }
}

/// Runs `program`, of one instruction, and checks that it faults there for `reason`.
fn faults(program: usize, x0: u64, reason: Exception) {
    let pc = address(TEXT, program);
    let (exception, regs) = run(&space(), pc, x0);
    assert_eq!(exception, reason, "with {x0:#x}");
    assert_eq!(regs.elr, pc.get() as u64);
    if let Exception::DataAbort(..) = reason {
        assert_eq!(regs.far, x0, "the address");
    }
}

fn abort(status: FaultStatus, is_write: bool) -> Exception {
    let abort = granule::arch::esr::Abort { status, is_write, has_address: true };
    Exception::DataAbort(Origin::Lower, abort)
}

/// Reads the eight words at a user's address as the kernel does its own memory.
fn kernel_reads(at: UserAddr) -> bool {
    // SAFETY: memory, if anything.
    unsafe { extable::copy_from_kernel_nofault(&mut [0; 8], VirtAddr::new(at.get())) }
}

kernel_tests! {
    fn the_exception_table_is_in_order() {
        assert!(extable::is_sorted());
    }

    fn values_are_read_and_written_with_the_user_s_rights() {
        let mut space = space();
        space.bytes_mut(RODATA)[..4].copy_from_slice(&[1, 2, 3, 4]);
        space.with(|| {
            for offset in [0, 1, 6, 4090] {
                let at = address(DATA, offset);
                assert_eq!(UserPtr::new(at).put(0x0102_0304_0506_0708u64), Ok(()));
                assert_eq!(UserPtr::<u64>::new(at).get(), Ok(0x0102_0304_0506_0708));
                assert_eq!(UserPtr::<u32>::new(at).get(), Ok(0x0506_0708));
                assert_eq!(UserPtr::<u16>::new(at).get(), Ok(0x0708));
                assert_eq!(UserPtr::<u8>::new(at).get(), Ok(8));
                assert_eq!(UserPtr::new(at).put(0xaau8), Ok(()));
                assert_eq!(UserPtr::new(address(at, 2)).put(0xbbccu16), Ok(()));
                assert_eq!(UserPtr::new(address(at, 4)).put(0x1122_3344u32), Ok(()));
                assert_eq!(UserPtr::<u64>::new(at).get(), Ok(0x1122_3344_bbcc_07aa));
                assert_eq!(UserPtr::new(at).put([9u8, 8, 7]), Ok(()));
                assert_eq!(UserPtr::<[u8; 4]>::new(at).get(), Ok([9, 8, 7, 0xbb]), "{offset}");
            }
            assert_eq!(UserPtr::<u32>::new(RODATA).get(), Ok(0x0403_0201));
            assert_eq!(UserPtr::new(RODATA).put(5u32), Err(Efault { not_copied: 4 }));
            assert_eq!(UserPtr::<u32>::new(RODATA).get(), Ok(0x0403_0201));
            for at in [KERNEL, HOLE, UserAddr::default()] {
                assert_eq!(UserPtr::<u64>::new(at).get(), Err(Efault { not_copied: 8 }));
                assert_eq!(UserPtr::new(at).put(5u8), Err(Efault { not_copied: 1 }));
                assert_eq!(UserPtr::<[u8; 3]>::new(at).get(), Err(Efault { not_copied: 3 }));
            }
            assert_eq!(UserPtr::new(address(HOLE, 4092)).put(5u64), Err(Efault { not_copied: 8 }));
        });
        assert!(space.bytes_mut(KERNEL).iter().all(|&byte| byte == 0));
    }

    fn copies_tell_exactly_what_is_missing() {
        let mut space = space();
        let lengths = [0, 1, 7, 8, 9, 63, 64, 65, 127, 200, 300];
        for before in lengths {
            for (missing, offset) in [(0, 0), (1, 1), (7, 3), (8, 0), (64, 2), (150, 5)] {
                let (start, len) = (4096 - before, before + missing);
                let at = UserSlice::from_size(address(MORE, start), len).expect("a user's");
                let expected = if missing == 0 { Ok(()) } else { Err(Efault { not_copied: missing }) };
                // The kernel's side is not aligned as the user's is.
                let mut kernel = [0u8; 600];
                space.bytes_mut(MORE).fill(0x11);
                space.bytes_mut(MORE)[start..].fill(0x22);
                let to = &mut kernel[offset..][..len];
                assert_eq!(space.with(|| at.copy_to(to)), expected);
                assert!(kernel[offset..][..before].iter().all(|&byte| byte == 0x22));
                assert_eq!(kernel.iter().filter(|&&byte| byte != 0).count(), before);

                for (n, byte) in kernel.iter_mut().enumerate() {
                    *byte = n as u8 | 1;
                }
                let from = &kernel[offset..][..len];
                assert_eq!(space.with(|| at.copy_from(from)), expected);
                assert_eq!(space.bytes_mut(MORE)[start..], from[..before]);
                assert!(space.bytes_mut(MORE)[..start].iter().all(|&byte| byte == 0x11));

                assert_eq!(space.with(|| at.clear()), expected);
                assert!(space.bytes_mut(MORE)[start..].iter().all(|&byte| byte == 0));
                assert!(space.bytes_mut(MORE)[..start].iter().all(|&byte| byte == 0x11));
            }
        }
    }

    fn copies_of_whole_pages_and_strings() {
        let mut space = space();
        let pattern: [u8; 4096] = core::array::from_fn(|n| (n % 251) as u8 + 1);
        let both = UserSlice::from_size(address(DATA, 2048), 4096).expect("a user's");
        assert_eq!(space.with(|| both.copy_from(&pattern)), Ok(()));
        assert_eq!(space.bytes_mut(DATA)[2048..], pattern[..2048]);
        assert_eq!(space.bytes_mut(MORE)[..2048], pattern[2048..]);
        let mut back = [0; 4096];
        assert_eq!(space.with(|| both.copy_to(&mut back)), Ok(()));
        assert!(back == pattern);
        assert_eq!(space.with(|| both.strnlen()), Ok(4096));
        space.bytes_mut(MORE)[5] = 0;
        assert_eq!(space.with(|| both.strnlen()), Ok(2048 + 5));
        space.bytes_mut(MORE).fill(1);
        let over = UserSlice::from_size(address(MORE, 4000), 200).expect("a user's");
        assert_eq!(space.with(|| over.strnlen()), Err(Efault { not_copied: 104 }));
        let kernel = UserSlice::from_size(KERNEL, 100).expect("a user's");
        assert_eq!(space.with(|| kernel.copy_to(&mut [0; 100])), Err(Efault { not_copied: 100 }));
        assert_eq!(space.with(|| kernel.clear()), Err(Efault { not_copied: 100 }));
    }

    /// PSTATE.PAN, where the CPU has it: an access of the kernel's own faults at a user's memory.
    fn the_kernel_s_own_accesses_keep_off_users() {
        let space = space();
        let pan = features::features().contains(Features::PAN);
        assert_eq!(space.with(|| kernel_reads(DATA)), !pan);
        assert!(space.with(|| kernel_reads(KERNEL)), "no page of a user's");
        assert!(!space.with(|| kernel_reads(HOLE)));
        // Also within an exception from EL0.
        let program = Program { in_call: Some(kernel_reads), ..Program::new() };
        let regs = PtRegs::user(address(TEXT, program!(user_calls)), MORE);
        space.with(|| el0_entry::run(&regs, (0, 0), &program));
        assert_eq!(program.read.get(), Some(!pan));
    }

    /// PXN, on pages that EL0 may execute; a page of the kernel's is no code either.
    fn the_kernel_executes_no_code_of_users() {
        let space = space();
        let place = address(TEXT, program!(user_ret));
        // EL0 does, and returns to x30, which is 0.
        let (_, end) = run(&space, address(TEXT, program!(user_jump)), place.get() as u64);
        assert_eq!(end.elr, 0);
        for at in [place, KERNEL] {
            let (syndrome, elr) = space.with(|| kernel_calls(at));
            let Exception::InstructionAbort(Origin::Same, abort) = syndrome.exception() else {
                panic!("{at}: {syndrome}")
            };
            assert_eq!((abort.status, elr), (FaultStatus::Permission(3), at.get() as u64));
        }
    }

    fn calls_return_with_all_registers_as_they_were() {
        let space = space();
        let program = Program::new();
        let mut regs = PtRegs::user(address(TEXT, program!(user_calls)), MORE);
        // All of EL1's rights: none of them is EL0's to have.
        regs.spsr = 0x3c5;
        regs.spsr &= !(3 << 6);
        space.with(|| el0_entry::run(&regs, (0, 0), &program));
        let (cause, regs) = program.end.into_inner().expect("it has ended");
        assert!(matches!(cause, Cause::Sync(s) if s.exception() == Exception::Svc(0)));
        assert_eq!((program.fast.get(), program.slow.get()), (2, 1));
        assert_eq!(regs.x[0], 44);
        for (n, &x) in regs.x.iter().enumerate().skip(1) {
            let changed = if n == 19 { 0x1000 } else { 0 };
            assert_eq!(x, 0x100 + n as u64 + changed, "x{n}");
        }
        assert_eq!(regs.sp, MORE.get() as u64);
        assert_eq!(regs.spsr >> 28, 0b0110, "the flags");
        assert_eq!(regs.spsr & 0xf, 0, "EL0t");
    }

    fn faults_are_reported_with_their_addresses() {
        let (hole, rodata) = (HOLE.get() as u64, RODATA.get() as u64);
        faults(program!(user_load), hole + 8, abort(FaultStatus::Translation(3), false));
        faults(program!(user_store), hole + 16, abort(FaultStatus::Translation(3), true));
        faults(program!(user_load), 0, abort(FaultStatus::Translation(2), false));
        faults(program!(user_load), 1 << 40, abort(FaultStatus::Translation(0), false));
        faults(program!(user_store), rodata + 0xff8, abort(FaultStatus::Permission(3), true));
        faults(program!(user_load), KERNEL.get() as u64, abort(FaultStatus::Permission(3), false));
    }

    fn the_kernel_s_half_is_closed() {
        for at in [layout::KIMAGE.start(), layout::LINEAR.start(), layout::VMEMMAP.start()] {
            let at = at.get() as u64;
            for (program, is_write) in [(program!(user_load), false), (program!(user_store), true)] {
                let (exception, regs) = run(&space(), address(TEXT, program), at);
                let Exception::DataAbort(Origin::Lower, abort) = exception else {
                    panic!("{exception} at {at:#x}")
                };
                assert_eq!((abort.is_write, regs.far), (is_write, at));
            }
            let (exception, regs) = run(&space(), address(TEXT, program!(user_jump)), at);
            assert!(matches!(exception, Exception::InstructionAbort(Origin::Lower, _)));
            assert_eq!((regs.elr, regs.far), (at, at));
        }
    }

    fn instructions_that_go_wrong_say_why() {
        let counter = SystemRegister { encoding: (3, 3, 14, 0, 1), rt: 3, is_read: true };
        faults(program!(user_undefined), 0, Exception::Undefined);
        faults(program!(user_hlt), 0, Exception::Undefined);
        faults(program!(user_brk), 0, Exception::Brk(0x123));
        faults(program!(user_counter), 0, Exception::SystemRegister(counter));
        let pc = address(TEXT, program!(user_mask));
        assert!(matches!(run(&space(), pc, 0).0, Exception::SystemRegister(_)));
    }

    fn cache_operations_of_programs_are_allowed() {
        let mut space = space();
        space.bytes_mut(DATA).fill(0xa5);
        let pc = address(TEXT, program!(user_granted));
        let (exception, regs) = run(&space, pc, DATA.get() as u64);
        assert_eq!(exception, Exception::Svc(0));
        let block = 4 << (regs.x[4] & 0xf);
        let (zero, rest) = space.bytes_mut(DATA).split_at(block);
        assert!(zero.iter().all(|&byte| byte == 0) && rest.iter().all(|&byte| byte == 0xa5));
    }

    fn a_misaligned_pc_and_data_that_is_no_code() {
        let space = space();
        let jump = address(TEXT, program!(user_jump));
        let (exception, regs) = run(&space, jump, TEXT.get() as u64 + 2);
        assert_eq!((exception, regs.far), (Exception::PcAlignment, TEXT.get() as u64 + 2));
        let (exception, regs) = run(&space, jump, DATA.get() as u64);
        let Exception::InstructionAbort(Origin::Lower, abort) = exception else {
            panic!("{exception}")
        };
        assert_eq!(abort.status, FaultStatus::Permission(3));
        assert_eq!((regs.elr, regs.far), (DATA.get() as u64, DATA.get() as u64));
    }

    fn a_guarded_page_takes_no_jump_from_elsewhere() {
        let space = space();
        let target = GUARDED.get() as u64 + program!(user_undefined) as u64;
        let (exception, regs) = run(&space, address(TEXT, program!(user_jump)), target);
        assert_eq!(regs.elr, target);
        let bti = features::features().contains(Features::BTI);
        match exception {
            Exception::BranchTarget { btype } if bti => assert_ne!(btype, 0),
            Exception::Undefined if !bti => {}
            other => panic!("{other}"),
        }
    }

    fn interrupts_come_while_code_runs_at_el0() {
        let mut space = space();
        let program = Program {
            on_interrupt: Some(|program, regs| {
                // x2 is 0 until the first turn.
                if program.interrupts.get() >= 5 && regs.x[2] != 0 {
                    regs.elr = address(TEXT, program!(user_brk)).get() as u64;
                }
            }),
            ..Program::new()
        };
        let mut regs = PtRegs::user(address(TEXT, program!(user_count)), MORE);
        regs.x[1] = DATA.get() as u64;
        regs.x[0] = 1;
        space.with(|| el0_entry::run(&regs, (0, 0), &program));
        let (cause, end) = program.end.into_inner().expect("it has ended");
        assert!(matches!(cause, Cause::Sync(s) if s.exception() == Exception::Brk(0x123)));
        assert!(program.interrupts.get() >= 5);
        let count = u64::from_le_bytes(space.bytes_mut(DATA)[..8].try_into().expect("8 bytes"));
        assert!(count > 0 && count.abs_diff(end.x[0]) <= 1, "{count} {}", end.x[0]);
    }
}
