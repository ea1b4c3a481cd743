//! Input of any kind.

use super::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 512 }))]

    /// Whatever is typed, the line is what the terminal shows, and is read or refused.
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(
        prop_oneof![
            4 => 0x20u8..0x7f,
            2 => any::<u8>(),
            1 => prop::sample::select(b"\x1b\x1b[[ABCDHF~137;\x01\x05\x0b\x15\x17\x7f".to_vec()),
        ],
        0..600,
    )) {
        let mut session = Session::new();
        for &byte in &bytes {
            for line in session.types(&[byte]) {
                if let Err(wrong) = parse(&line) {
                    prop_assert!(!wrong.to_string().is_empty());
                }
            }
            let before = session.line.before_cursor();
            prop_assert!(before.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert!(before.len() <= MAX);
            if session.terminal.escape.is_none() && before.len() <= 77 {
                let cursor = 2 + before.len();
                prop_assert_eq!(session.terminal.cursor, cursor);
                let left: String = session.terminal.cells[..cursor].iter().collect();
                prop_assert_eq!(left, std::format!("> {before}"));
            }
        }
    }

    /// Words of any kind behind a command.
    #[test]
    fn any_words_are_answered(
        which in 0..COMMANDS.len(),
        words in prop::collection::vec("[ -~]{0,12}|[0-9a-fx]{1,20}|GFP_[A-Z|_]{0,20}|[0-9]{1,22}[KMGTPE]?", 0..4),
    ) {
        let line = std::format!("{} {}", COMMANDS[which].name, words.join(" "));
        if let Err(wrong) = parse(&line) {
            prop_assert!(!wrong.to_string().is_empty());
        }
    }

    /// Completion adds to what is there, and what it adds is again a beginning of as many.
    #[test]
    fn any_line_is_completed(line in "([a-z]{0,8}|cat /[a-z/.]{0,20}|alloc pages [0-9] [A-Z_|]{0,12}|watch 1 [a-z/ ]{0,20}|[ -~]{0,40})") {
        Machine::run(&[RAM], |_| {
            let found = complete(&line, LISTS);
            if found.candidates > 1 {
                let longer = std::format!("{line}{}", found.rest);
                let again = complete(&longer, LISTS);
                assert_eq!((again.candidates, again.rest.as_str()), (found.candidates, ""), "{line}");
            }
        });
    }

    /// A set of flags is what its names say.
    #[test]
    fn gfp_flags_by_name(bits in any::<u32>()) {
        let gfp = Gfp::from_bits_truncate(bits);
        let text = GfpNames(gfp).to_string();
        if gfp.is_empty() {
            prop_assert_eq!(text, "0");
        } else {
            prop_assert_eq!(parse_gfp(&text), Some(gfp), "{}", text);
        }
    }

    #[test]
    fn numbers_and_addresses(n in any::<u64>()) {
        prop_assert_eq!(parse_number(&std::format!("{n}")), Some(n));
        prop_assert_eq!(parse_number(&std::format!("{n:#x}")), Some(n));
        prop_assert_eq!(parse_address(&std::format!("{n:x}")), Some(VirtAddr::new(n as usize)));
        prop_assert_eq!(parse_number(&std::format!("{n}0000000000000000000000")), None);
    }
}
