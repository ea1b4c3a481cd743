//! First lines of scripts.

use crate::errno::Errno;
use crate::user::exec::BINPRM_BUF_SIZE;
use crate::user::exec::script::{Line, parse};
use std::vec::Vec;

fn buf(text: &[u8]) -> [u8; BINPRM_BUF_SIZE] {
    let mut buf = [0; BINPRM_BUF_SIZE];
    let len = text.len().min(buf.len());
    buf[..len].copy_from_slice(&text[..len]);
    buf
}

#[test]
fn lines() {
    type Parts = (&'static [u8], Option<&'static [u8]>);
    type Case = (&'static [u8], Result<Option<Parts>, Errno>);
    let cases: &[Case] = &[
        (b"", Ok(None)),
        (b"#", Ok(None)),
        (b" #!/bin/sh\n", Ok(None)),
        (b"#!/bin/sh\n", Ok(Some((b"/bin/sh", None)))),
        (b"#!/bin/sh", Ok(Some((b"/bin/sh", None)))),
        (b"#! \t /bin/sh \t \nx", Ok(Some((b"/bin/sh", None)))),
        (b"#!/bin/sh -e  -x \n", Ok(Some((b"/bin/sh", Some(b"-e  -x"))))),
        (b"#!/bin/sh\t-e", Ok(Some((b"/bin/sh", Some(b"-e"))))),
        (b"#!\n", Err(Errno::ENOEXEC)),
        (b"#!  \n", Err(Errno::ENOEXEC)),
        (b"#!/a\0/b\n", Ok(Some((b"/a", None)))),
        (b"#!/a b\0c\n", Ok(Some((b"/a", Some(b"b"))))),
    ];
    for (text, expected) in cases {
        let expected =
            expected.map(|line| line.map(|(interpreter, argument)| Line { interpreter, argument }));
        assert_eq!(parse(&buf(text)), expected, "{}", text.escape_ascii());
    }
}

#[test]
fn lines_that_are_cut_off() {
    let long = |start: &str, fill: u8| {
        let mut text: Vec<u8> = start.into();
        text.resize(300, fill);
        buf(&text)
    };
    // Nobody can tell how the path goes on.
    assert_eq!(parse(&long("#!/", b'x')), Err(Errno::ENOEXEC));
    assert_eq!(parse(&long("#!", b' ')), Err(Errno::ENOEXEC));
    let text = long("#!/bin/sh ", b'x');
    // The last byte gives way to a zero.
    let line = Line { interpreter: b"/bin/sh", argument: Some(&text[10..255]) };
    assert_eq!(parse(&text), Ok(Some(line)));
    let line = Line { interpreter: b"/bin/sh", argument: None };
    assert_eq!(parse(&long("#!/bin/sh", b' ')), Ok(Some(line)));
}

#[test]
fn no_bytes_are_too_strange() {
    let mut state = 1u32;
    for _ in 0..200_000 {
        let mut text = *b"#!______________________________";
        for byte in &mut text[2..] {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12345);
            *byte = b" \t\n\0/ab"[(state >> 16) as usize % 7];
        }
        let whole = buf(&text);
        if let Ok(Some(line)) = parse(&whole) {
            assert!(!line.interpreter.contains(&0));
            assert!(line.argument.is_none_or(|argument| !argument.contains(&0)));
        }
    }
}
