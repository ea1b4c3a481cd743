//! Files that are not as they should be: Linux's errors, and no panic.

use super::*;
use proptest::prelude::*;

fn good() -> Vec<Segment> {
    std::vec![
        segment(R | X, 0, 0x40_0000, 0x1000, 0x1000),
        segment(R | W, 0x1000, 0x41_1000, 0x100, 0x2000),
    ]
}

fn result(file: &File) -> Result<Loaded, Errno> {
    exec(&mut Model::default(), file, None)
}

/// The file with `bytes` at `offset`.
fn with(offset: usize, bytes: &[u8]) -> File {
    let mut file = elf(2, 0x40_0100, &good());
    file.0[offset..offset + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn each_field_of_the_header_wrong_in_turn() {
    on_machine(|| {
        let noexec = Some(Errno::ENOEXEC);
        let cases: &[(usize, &[u8], Option<Errno>)] = &[
            // e_ident: the magic number alone counts.
            (0, &[0x7e], noexec),
            (1, b"e", noexec),
            (3, b"f", noexec),
            (4, &[1], None),
            (5, &[2], None),
            (6, &[9], None),
            (7, &[0xff; 9], None),
            // e_type
            (16, &[0], noexec),
            (16, &[1], noexec),
            (16, &[4], noexec),
            (16, &[2, 1], noexec),
            // e_machine
            (18, &[62], noexec),
            (18, &[183, 1], noexec),
            // e_version
            (20, &[0xff; 4], None),
            // e_entry in the kernel's half; elsewhere it is the program's business.
            (24, &[0xff; 8], Some(Errno::EINVAL)),
            (24, &[0, 0, 0, 0, 0, 0, 1, 0], Some(Errno::EINVAL)),
            (24, &[0; 8], None),
            // e_phoff beyond the file, in part or as a whole, negative
            (32, &[0xc8, 0xff, 1], noexec),
            (32, &[0, 0, 0, 0, 1], noexec),
            (32, &[0xff; 8], noexec),
            // e_shoff, e_flags, e_ehsize
            (40, &[0xff; 8], None),
            (48, &[0xff; 4], None),
            (52, &[0xff; 2], None),
            // e_phentsize
            (54, &[32, 0], noexec),
            (54, &[0, 0], noexec),
            (54, &[57, 0], noexec),
            // e_phnum: none, more than a page, 10,000
            (56, &[0, 0], noexec),
            (56, &[74, 0], noexec),
            (56, &[0x10, 0x27], noexec),
            (56, &[0xff, 0xff], noexec),
            // e_shentsize, e_shnum, e_shstrndx
            (58, &[0xff; 6], None),
        ];
        for (offset, bytes, error) in cases {
            assert_eq!(result(&with(*offset, bytes)).err(), *error, "{bytes:?} at {offset}");
        }
        // Files that end within the header.
        for len in 0..64 {
            let mut file = elf(2, 0x40_0100, &good());
            file.0.truncate(len);
            assert_eq!(result(&file).err(), noexec);
        }
    });
}

#[test]
fn as_many_headers_as_fit_a_page() {
    on_machine(|| {
        let mut segments = good();
        segments.resize(73, Segment::default());
        assert_eq!(result(&elf(2, 0x40_0100, &segments)).unwrap().phnum, 73);
    });
}

#[test]
fn segments_of_all_kinds() {
    on_machine(|| {
        let cases = [
            // The file says more than it has: that is a fault at the access, not here.
            (segment(R, 0x100_0000, 0x50_0000, 0x1000, 0x1000), None),
            // Offset and address differ within the page.
            (segment(R, 0x10, 0x50_0000, 0x1000, 0x1000), Some(Errno::EINVAL)),
            (segment(R, 0, 0x50_0010, 0x1000, 0x1000), Some(Errno::EINVAL)),
            // Less in memory than in the file.
            (segment(R, 0, 0x50_0000, 0x1001, 0x1000), Some(Errno::EINVAL)),
            // The kernel's half, the last page of the user's, and past it.
            (segment(R, 0, 0xffff_0000_0000_0000, 0x1000, 0x1000), Some(Errno::ENOMEM)),
            (segment(R, 0, 0xffff_ffff_ffff_f000, 0x1000, 0x1000), Some(Errno::ENOMEM)),
            (segment(R, 0, 0xffff_ffff_f000, 0x1000, 0x1000), None),
            (segment(R, 0, 0xffff_ffff_f000, 0x1000, 0x2000), Some(Errno::ENOMEM)),
            (segment(R, 0, 0xffff_ffff_f000, 0x2000, 0x2000), Some(Errno::ENOMEM)),
            (segment(R, 0, 1 << 48, 0x1000, 0x1000), Some(Errno::ENOMEM)),
            // Sizes that wrap around.
            (segment(R, 0, 0x50_0000, u64::MAX, u64::MAX), Some(Errno::EINVAL)),
            (segment(R, 0, 0x50_0000, 0x1000, u64::MAX), Some(Errno::ENOMEM)),
            (segment(R, 0, 0x50_0000, 0x1000, 1 << 63), Some(Errno::ENOMEM)),
            (segment(R, 0, 0x50_0000, 0x1000, 1 << 48), Some(Errno::ENOMEM)),
            (segment(R, 0, 0x50_0000, 0, u64::MAX), Some(Errno::EINVAL)),
            (segment(R, 0, 0x50_0000, 0, 0), None),
            (segment(R, 0, 1 << 48, 0, 0), Some(Errno::EINVAL)),
            // An offset that wraps around, and a negative one.
            (segment(R, !0xfff, 0x50_0000, 0x1000, 0x1000), Some(Errno::EINVAL)),
            (segment(R, !0xfff, 0x50_0000, 0x2000, 0x2000), Some(Errno::EINVAL)),
            // Over the others: the last one counts.
            (segment(R, 0, 0x40_0000, 0x1000, 0x1000), None),
            (segment(R | W, 0, 0x41_0000, 0x2000, 0x9000), None),
        ];
        for (last, error) in cases {
            let mut segments = good();
            segments.push(last);
            let what = (last.offset, last.vaddr, last.filesz, last.memsz);
            let found = result(&elf(2, 0x40_0100, &segments)).err();
            assert_eq!(found, error, "{what:x?}");
        }
    });
}

#[test]
fn addresses_that_only_the_bias_makes_good() {
    on_machine(|| {
        for vaddr in [0xffff_ffff_0000_0000, 0xffff_ffff_f000] {
            let program = elf(3, vaddr, &[segment(R, 0, vaddr, 0x2000, 0x2000)]);
            assert_eq!(result(&program).err(), Some(Errno::EINVAL), "{vaddr:x}");
        }
    });
}

#[test]
fn a_program_where_something_lies() {
    on_machine(|| {
        let mut mm = Model::default();
        mm.put(0x40_0000, 0x1000, Content::Zeros);
        let error = exec(&mut mm, &elf(2, 0x40_0100, &good()), None).err();
        assert_eq!((error, mm.ranges.len()), (Some(Errno::EEXIST), 1));
    });
}

#[test]
fn alignments_that_are_none() {
    on_machine(|| {
        for align in [0, 1, 3, 0x1001, 1 << 47, 1 << 63, u64::MAX] {
            let segments: Vec<_> = good().into_iter().map(|s| Segment { align, ..s }).collect();
            // Where the program says where it goes, alignment is no matter.
            assert!(result(&elf(2, 0x40_0100, &segments)).is_ok());
            // Elsewhere it may lead to address 0 and below: an error, or a place.
            let _ = result(&elf(3, 0x40_0100, &segments));
            let _ =
                exec(&mut Model::default(), &elf(3, 0x100, &segments), Some(&elf(3, 0, &good())));
        }
    });
}

#[test]
fn a_program_without_segments() {
    on_machine(|| {
        let none = [Segment { kind: 4, ..Segment::default() }];
        // It has an entry, though nothing is there.
        assert!(result(&elf(2, 0x40_0000, &none)).is_ok());
        assert!(result(&elf(3, 0x40_0000, &none)).is_ok());
    });
}

#[test]
fn interpreters_that_are_none() {
    on_machine(|| {
        let name = |filesz, offset| {
            let interp = Segment { kind: 3, offset, filesz, ..Segment::default() };
            let mut file = elf(2, 0x40_0100, &[interp]);
            file.0[0x200..0x20c].copy_from_slice(b"/lib/ld.so\0\xff");
            let (image, _) = Image::open_program(&file.0, &file)?;
            Ok(image.interpreter(&file)?.unwrap().to_vec())
        };
        assert_eq!(name(11, 0x200), Ok(b"/lib/ld.so".to_vec()));
        for size in [0, 1, 10, 12, 4097, u64::MAX] {
            assert_eq!(name(size, 0x200), Err(Errno::ENOEXEC), "{size}");
        }
        assert_eq!(name(11, 0x1_fffe), Err(Errno::EIO));
        assert_eq!(name(11, u64::MAX), Err(Errno::EINVAL));

        let program = elf(2, 0x40_0100, &good());
        let with =
            |interpreter: &File| exec(&mut Model::default(), &program, Some(interpreter)).err();
        let bad = |offset: usize, bytes: &[u8]| {
            let mut file = elf(3, 0, &[segment(R | X, 0, 0, 0x1000, 0x1000)]);
            file.0[offset..offset + bytes.len()].copy_from_slice(bytes);
            with(&file)
        };
        assert_eq!(bad(0, &[0x7f]), None);
        assert_eq!(bad(0, b"#"), Some(Errno::ELIBBAD));
        assert_eq!(bad(18, &[62]), Some(Errno::ELIBBAD));
        assert_eq!(bad(56, &[0]), Some(Errno::ELIBBAD));
        assert_eq!(bad(54, &[1]), Some(Errno::ELIBBAD));
        assert_eq!(bad(16, &[1]), Some(Errno::EPERM));
        assert_eq!(bad(64, &[0]), Some(Errno::EINVAL), "nothing to map");
        // An entry is an offset, which may go back.
        assert_eq!(bad(24, &[0xff; 8]), None);
        assert_eq!(bad(30, &[1]), Some(Errno::EINVAL));
        assert_eq!(with(&File(std::vec![0x7f; 63])), Some(Errno::EIO));
        // A segment that is larger in the file than in memory.
        let larger = elf(3, 0, &[segment(R, 0, 0, 0x1000, 0xfff)]);
        assert_eq!(with(&larger), Some(Errno::ENOMEM));
    });
}

proptest! {
    /// Any bytes in place of the headers.
    #[test]
    fn no_header_makes_the_loader_panic(
        kind in 2u16..4,
        words in proptest::collection::vec(prop_oneof![
            Just(0u64), Just(u64::MAX), Just(1 << 63), Just(1 << 48), Just(0xffff_ffff_f000),
            0u64..0x1_0000, any::<u64>(), (0u64..0x1000).prop_map(|n| n << 12),
        ], 24),
        flips in proptest::collection::vec((0usize..64 + 4 * 56, any::<u8>()), 0..4),
    ) {
        on_machine(|| {
            let segments: Vec<_> = words.chunks(6).map(|w| Segment {
                kind: 1, flags: w[5] as u32 & 7, offset: w[0], vaddr: w[1], filesz: w[2], memsz: w[3],
                align: w[4],
            }).collect();
            let mut file = elf(kind, words[5], &segments);
            for (at, byte) in flips {
                file.0[at] = byte;
            }
            for interpreter in [None, Some(&file)] {
                let mut mm = Model::default();
                if let Ok(loaded) = exec(&mut mm, &file, interpreter) {
                    prop_assert!(loaded.start < LIMIT);
                }
                prop_assert!(mm.ranges.iter().all(|r| r.0 < r.1 && r.1 <= LIMIT));
            }
            Ok(())
        })?;
    }
}
