use super::*;
use std::format;
use std::vec::Vec;

fn blob(lines: &str) -> Vec<u8> {
    let mut blob = MAGIC.to_vec();
    blob.extend((lines.len() as u64).to_le_bytes());
    blob.extend(lines.bytes());
    blob.extend([0; 100]);
    blob
}

#[test]
fn every_address_finds_its_function() {
    let starts = [0x1000, 0x1004, 0x1100, 0x2000, 0x2040, 0xffff_8000_0000_0000usize];
    let names = ["a", "bb", "_ZN3foo3barE", "d_longer_name", "e", "_stext"];
    for n in 1..=starts.len() {
        let lines: std::string::String =
            starts.iter().zip(names).take(n).map(|(a, s)| format!("{a:016x} {s}\n")).collect();
        let blob = blob(&lines);
        let symbols = Symbols::new(&blob).expect("a table");
        assert_eq!(symbols.lookup(0xfff), None);
        for i in 0..n {
            let next = if i + 1 < n { starts[i + 1] } else { starts[i] + 0x100 };
            for address in [starts[i], starts[i] + 1, next - 1] {
                let found = symbols.lookup(address);
                assert_eq!(found, Some((names[i], address - starts[i])), "{n} {address:#x}");
            }
        }
    }
}

#[test]
fn the_whole_table_is_read_in_order() {
    let lines = "0000000000001000 a\n0000000000002000 _ZN3foo3bar17h0123456789abcdefE\n";
    let text = format!("{}", Symbols::new(&blob(lines)).expect("a table"));
    assert_eq!(text, "0000000000001000 t a\n0000000000002000 t foo::bar\n");
    // It ends at a line that is none.
    let text =
        format!("{}", Symbols::new(&blob(&format!("{lines}x y\n{lines}"))).expect("a table"));
    assert_eq!(text.lines().count(), 2);
    assert_eq!(Symbols::new(&blob("")).expect("a table").iter().count(), 0);
}

#[test]
fn names_are_demangled() {
    let blob = blob("0000000000001000 _ZN3foo3bar17h0123456789abcdefE\n");
    let symbols = Symbols::new(&blob);
    let at = |address| format!("{}", Symbolized { symbols, address });
    assert_eq!(at(0x1010), "foo::bar+0x10");
    assert_eq!(at(0x10), "0x10");
}

#[test]
fn what_is_no_table_is_refused() {
    assert!(Symbols::new(b"").is_none());
    assert!(Symbols::new(b"GRSYMS01").is_none());
    assert!(Symbols::new(b"GRSYMS01\xff\xff\xff\xff\xff\xff\xff\xff").is_none());
    assert!(Symbols::new(&[0; 64]).is_none());
    let empty = blob("");
    assert!(Symbols::new(&empty).is_some_and(|s| s.lookup(5).is_none()));
    let torn = blob("zz\n0000");
    assert!(Symbols::new(&torn).is_some_and(|s| s.lookup(5).is_none()));
}
