//! Programs that are as they should be.

use super::*;
use crate::user::exec::load::ELF_ET_DYN_BASE;

/// The layout of a static program: two segments, the second of which begins within a page and has
/// zeros behind.
fn two(base: u64) -> [Segment; 3] {
    let stack = Segment { kind: 0x6474_e551, flags: R | W, ..Segment::default() };
    [
        segment(R | X, 0, base, 0x6f10, 0x6f10),
        segment(R | W, 0xfd40, base + 0x1_fd40, 0x3c0, 0x2_1000),
        stack,
    ]
}

use Which::{Interpreter, Program};

#[test]
fn segments_lie_where_the_file_says() {
    on_machine(|| {
        let mut mm = Model::default();
        let loaded = exec(&mut mm, &elf(2, 0x40_1000, &two(0x40_0000)), None).unwrap();
        assert_eq!(
            mm.ranges,
            [
                (0x40_0000, 0x40_7000, Content::File(Program, 0)),
                (0x41_f000, 0x42_1000, Content::File(Program, 0xf000)),
                (0x42_1000, 0x44_1000, Content::Zeros),
            ]
        );
        // From the end of what the file has to the end of the page.
        assert_eq!(mm.cleared, [(0x42_0100, 0xf00)]);
        let expected = Loaded {
            start: 0x40_1000,
            entry: 0x40_1000,
            phdr: 0x40_0040,
            phnum: 3,
            base: 0,
            start_code: 0x40_0000,
            end_code: 0x40_6f10,
            start_data: 0x41_fd40,
            end_data: 0x42_0100,
            brk: 0x44_1000,
            brk_moved: false,
        };
        assert_eq!(loaded, expected);
    });
}

#[test]
fn a_program_with_an_interpreter_is_moved_by_a_random_distance() {
    on_machine(|| {
        let interpreter = elf(3, 0x1234, &two(0)[..2]);
        for (rnd, base) in [(0, 0xaaaa_aaaa_0000), (0x1235_6000, 0xaaaa_bce0_0000)] {
            let mut mm = Model { rnd, ..Model::default() };
            let loaded = exec(&mut mm, &elf(3, 0x1000, &two(0)), Some(&interpreter)).unwrap();
            assert_eq!((loaded.entry, loaded.phdr), (base + 0x1000, base + 0x40));
            assert_eq!((loaded.brk, loaded.brk_moved), (base + 0x4_1000, false));
            // What follows the first segment was taken away again.
            let of_program: Vec<_> = mm.ranges.iter().filter(|r| r.0 >= base).collect();
            assert_eq!(*of_program[0], (base, base + 0x7000, Content::File(Program, 0)));
            assert_eq!(of_program[1].0, base + 0x1_f000);
            // The interpreter, as a whole, below the stack.
            assert_eq!(loaded.base, 0x7f_ffff_f000 - 0x4_1000);
            assert_eq!(loaded.start, loaded.base + 0x1234);
            let first = mm.ranges.iter().find(|r| r.0 == loaded.base).unwrap();
            assert_eq!(first.2, Content::File(Interpreter, 0));
        }
    });
}

#[test]
fn a_program_without_an_interpreter_lies_among_the_mappings() {
    on_machine(|| {
        for (align, base) in [(0x1000, 0x7f_fffb_e000), (0x1_0000, 0x7f_fffb_0000)] {
            let mut mm = Model::default();
            let segments = two(0).map(|s| Segment { align, ..s });
            let loaded = exec(&mut mm, &elf(3, 0x1000, &segments), None).unwrap();
            let expected = (base + 0x1000, base + 0x1000, 0);
            assert_eq!((loaded.start, loaded.entry, loaded.base), expected);
            assert_eq!(mm.ranges.len(), 3, "the trial at another place is gone");
            let brk = (ELF_ET_DYN_BASE + 0xfff) & !0xfff;
            assert_eq!((loaded.brk, loaded.brk_moved), (brk, true));
        }
    });
}

#[test]
fn an_interpreter_at_its_own_address() {
    on_machine(|| {
        let program = elf(2, 0x40_1000, &two(0x40_0000));
        // The program has no bias: the address is a hint.
        let loaded = exec(&mut Model::default(), &program, Some(&elf(3, 8, &two(0x1000_0000))));
        assert_eq!(loaded.unwrap().base, 0);
        // One that has to be where it says.
        let mut mm = Model::default();
        let loaded = exec(&mut mm, &program, Some(&elf(2, 0x1000_0008, &two(0x1000_0000))));
        assert_eq!((loaded.unwrap().base, loaded.unwrap().start), (0, 0x1000_0008));
        assert!(mm.ranges.iter().any(|r| r.0 == 0x1000_0000));
    });
}

#[test]
fn the_end_of_a_page_that_cannot_be_written() {
    on_machine(|| {
        for (flags, result) in [(R | W, Some(Errno::EFAULT)), (R | X, None)] {
            let mut mm = Model { cannot_clear: true, ..Model::default() };
            let program = elf(2, 0x40_0000, &[segment(flags, 0, 0x40_0000, 0x100, 0x200)]);
            assert_eq!(exec(&mut mm, &program, None).err(), result);
        }
    });
}

#[test]
fn a_segment_of_zeros_alone() {
    on_machine(|| {
        let mut mm = Model::default();
        let segments =
            [segment(R | X, 0, 0x40_0000, 0x100, 0x100), segment(R | W, 0, 0x50_0123, 0, 0x2000)];
        let loaded = exec(&mut mm, &elf(2, 0x40_0000, &segments), None).unwrap();
        assert_eq!(mm.ranges[1], (0x50_0000, 0x50_3000, Content::Zeros));
        assert_eq!((mm.cleared.len(), loaded.brk), (0, 0x50_3000));
    });
}
