//! First stacks, byte by byte.

use super::*;
use crate::user::exec::args::{Args, MAX_ARG_STRLEN};
use crate::user::exec::script::Line;
use crate::user::exec::stack::{Aux, Stack, build};

const MIB: u64 = 1 << 20;
const TOP: u64 = 1 << 48;

const LOADED: Loaded = Loaded {
    start: 1,
    entry: 2,
    phdr: 3,
    phnum: 4,
    base: 5,
    start_code: 0,
    end_code: 0,
    start_data: 0,
    end_data: 0,
    brk: 0,
    brk_moved: false,
};

const AUX: Aux = Aux {
    sysinfo_ehdr: 6,
    hwcap: (7, 8),
    ids: [9, 10, 11, 12],
    secure: true,
    random: *b"0123456789abcdef",
};

fn word(stack: &Stack, at: u64) -> u64 {
    let offset = (at - stack.sp) as usize;
    u64::from_le_bytes(stack.bytes[offset..offset + 8].try_into().unwrap())
}

fn string(stack: &Stack, at: u64) -> &[u8] {
    let bytes = &stack.bytes[(at - stack.sp) as usize..];
    &bytes[..bytes.iter().position(|&byte| byte == 0).unwrap()]
}

#[test]
fn a_stack_is_that_of_linux() {
    on_machine(|| {
        for shift in [0, 1, 4095] {
            let args = Args::new(b"/bin/x", &[b"x", b"-l", b""], &[b"A=1", b"HOME=/"], 8 * MIB);
            let stack = build(&args.unwrap(), &LOADED, &AUX, TOP, shift).unwrap();
            assert_eq!(stack.sp % 16, 0);
            assert_eq!(stack.sp + stack.bytes.len() as u64, TOP);
            // A word of zeros, the name, the environment, the arguments.
            assert!(stack.bytes.ends_with(b"x\0-l\0\0A=1\0HOME=/\0/bin/x\0\0\0\0\0\0\0\0\0"));
            assert_eq!(stack.env_end, TOP - 15);
            assert_eq!(stack.arg_end, TOP - 15 - 11);
            assert_eq!(stack.arg_start, TOP - 15 - 11 - 6);
            // Pointers from the stack pointer on.
            let words = |n| word(&stack, stack.sp + 8 * n);
            assert_eq!(words(0), 3);
            assert_eq!([1, 2, 3].map(|n| string(&stack, words(n))), [&b"x"[..], b"-l", b""]);
            assert_eq!((words(4), words(7)), (0, 0));
            assert_eq!([5, 6].map(|n| string(&stack, words(n))), [&b"A=1"[..], b"HOME=/"]);
            let aux = |n| (words(8 + 2 * n), words(9 + 2 * n));
            let fixed = [
                (33, 6),
                (51, 4720),
                (16, 7),
                (6, 4096),
                (17, 100),
                (3, 3),
                (5, 4),
                (7, 5),
                (8, 0),
                (9, 2),
                (11, 9),
                (12, 10),
                (13, 11),
                (14, 12),
                (23, 1),
            ];
            for (n, (key, value)) in fixed.into_iter().enumerate() {
                let n = n as u64;
                // AT_PHENT stands behind AT_PHDR.
                let at = if n < 6 { n } else { n + 1 };
                assert_eq!(aux(at), (key, value));
            }
            assert_eq!(aux(6), (4, 56));
            let (key, random) = aux(16);
            assert_eq!((key, word(&stack, random)), (25, u64::from_le_bytes(*b"01234567")));
            assert_eq!(aux(17), (26, 8));
            let (key, execfn) = aux(18);
            assert_eq!((key, string(&stack, execfn)), (31, &b"/bin/x"[..]));
            let (key, platform) = aux(19);
            assert_eq!((key, string(&stack, platform)), (15, &b"aarch64"[..]));
            assert_eq!(aux(20), (0, 0));
            assert_eq!(platform, ((stack.arg_start - shift) & !15) - 8);
            assert_eq!(random, platform - 16);
            // The vector ends right below, but for the alignment of the stack pointer.
            assert!(random - (stack.sp + 8 * 50) < 16);
            assert!((0..21).all(|n| stack.auxv[n as usize] == aux(n)));
        }
    });
}

#[test]
fn strings_have_limits() {
    on_machine(|| {
        let long = std::vec![b'x'; MAX_ARG_STRLEN];
        let result = |argv: &[&[u8]], stack| Args::new(b"/x", argv, &[], stack).err();
        assert_eq!(result(&[&long], 1024 * MIB), Some(Errno::E2BIG));
        assert_eq!(result(&[&long[1..]], 1024 * MIB), None);
        // A quarter of the stack, but at least 128 KiB, and at most 6 MiB, pointers included.
        let fits = |argv: &[&[u8]], stack| result(argv, stack).is_none();
        let room = MAX_ARG_STRLEN - 3 - 1 - 8;
        assert!(fits(&[&long[..room]], 0) && !fits(&[&long[..room + 1]], 0));
        assert!(fits(&[&long[..room]], 512 << 10) && !fits(&[&long[..room + 1]], 512 << 10));
        assert!(fits(&[&long[..room + 1]], (512 << 10) + 4));
        // Pointers alone are too many.
        let empty = std::vec![&b""[..]; 20_000];
        assert_eq!(result(&empty, 0), Some(Errno::E2BIG));
    });
}

#[test]
fn a_program_without_arguments_has_an_empty_one() {
    on_machine(|| {
        let args = Args::new(b"/x", &[], &[], 8 * MIB).unwrap();
        assert_eq!((args.argc(), args.argv()), (1, &b"\0"[..]));
    });
}

#[test]
fn a_script_is_an_argument_of_its_interpreter() {
    on_machine(|| {
        let mut args = Args::new(b"/s", &[b"s", b"1", b"2"], &[b"E"], 8 * MIB).unwrap();
        let line = Line { interpreter: b"/bin/sh", argument: Some(b"-e x") };
        args.run_script(&line, b"/s").unwrap();
        assert_eq!((args.argc(), args.argv()), (5, &b"/bin/sh\0-e x\0/s\x001\x002\0"[..]));
        // The interpreter is a script, too.
        args.run_script(&Line { interpreter: b"/i", argument: None }, b"/bin/sh").unwrap();
        let argv = &b"/i\0/bin/sh\0-e x\0/s\x001\x002\0"[..];
        assert_eq!((args.argc(), args.argv(), args.filename()), (6, argv, &b"/s\0"[..]));
    });
}
