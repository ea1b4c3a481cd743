//! Lines, commands and completion, and that nothing typed is too much for them.

mod random;

use super::command::*;
use super::complete::{Lists, complete, list};
use super::line::{Event, Line, MAX};
use crate::addr::{Order, Pfn, VirtAddr};
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::mm::gfp::Gfp;
use std::string::{String, ToString};
use std::vec::Vec;

const LISTS: Lists = Lists {
    benches: &["kmalloc_64_pair", "kmalloc_1024_pair"],
    faults: |f| ["null", "wx"].into_iter().for_each(f),
};

/// A machine has some; nobody looks at it.
const RAM: PhysRange = PhysRange::from_size(PhysAddr::new(0x4000_0000), 4 << 20);

/// Model of a terminal of one line: enough of ECMA-48 for [`Line`].
#[derive(Default)]
struct Terminal {
    cells: Vec<char>,
    cursor: usize,
    bells: usize,
    escape: Option<String>,
}

impl core::fmt::Write for Terminal {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        for c in s.chars() {
            if let Some(escape) = &mut self.escape {
                escape.push(c);
                if c.is_ascii_alphabetic() {
                    let escape = self.escape.take().unwrap_or_default();
                    let number = escape[1..escape.len() - 1].parse().unwrap_or(1);
                    match c {
                        'K' => self.cells.truncate(self.cursor),
                        'D' => {
                            self.cursor = self.cursor.checked_sub(number).expect("the left edge")
                        }
                        'H' => self.cursor = 0,
                        'J' => self.cells.clear(),
                        _ => panic!("ESC {escape}"),
                    }
                }
                continue;
            }
            match c {
                '\r' => self.cursor = 0,
                '\x07' => self.bells += 1,
                '\x1b' => self.escape = Some(String::new()),
                '\n' => {
                    self.cells.clear();
                    self.cursor = 0;
                }
                c => {
                    assert!(self.cursor <= self.cells.len() && self.cursor < 82, "beyond the line");
                    self.cells.truncate(self.cells.len().max(self.cursor));
                    if self.cursor == self.cells.len() {
                        self.cells.push(c);
                    } else {
                        self.cells[self.cursor] = c;
                    }
                    self.cursor += 1;
                }
            }
        }
        Ok(())
    }
}

struct Session {
    line: Line,
    terminal: Terminal,
}

impl Session {
    fn new() -> Self {
        let (line, mut terminal) = (Line::new("> "), Terminal::default());
        line.show(&mut terminal);
        Self { line, terminal }
    }

    /// Types bytes; the lines that were completed.
    fn types(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            match self.line.feed(byte, &mut self.terminal) {
                Event::Done => {
                    lines.push(self.line.take().to_string());
                    self.line.show(&mut self.terminal);
                }
                Event::Cancelled => self.line.show(&mut self.terminal),
                Event::Typing | Event::Complete => {}
            }
        }
        lines
    }

    /// Returns the text on the terminal, with the cursor as a bar.
    fn shown(&self) -> String {
        let mut cells = self.terminal.cells.clone();
        cells.insert(self.terminal.cursor, '|');
        cells.into_iter().collect()
    }
}

/// Types `keys` on an empty line: what is shown then.
fn after(keys: &[u8]) -> String {
    let mut session = Session::new();
    assert!(session.types(keys).is_empty());
    session.shown()
}

#[test]
fn keys_edit() {
    let cases: &[(&[u8], &str)] = &[
        (b"abc", "> abc|"),
        (b"abc\x7f", "> ab|"),
        (b"abc\x08\x08", "> a|"),
        (b"abc\x1b[D\x1b[Dx", "> ax|bc"),
        (b"abc\x1b[D\x1b[D\x1b[Cx", "> abx|c"),
        (b"abc\x02\x02\x06x", "> abx|c"),
        (b"abc\x01x\x05y", "> xabcy|"),
        (b"abc\x1b[Hx\x1b[Fy", "> xabcy|"),
        (b"abc\x1bOHx\x1bOFy", "> xabcy|"),
        (b"abc\x1b[1~x\x1b[4~y", "> xabcy|"),
        (b"abc\x1b[7~x\x1b[8~y", "> xabcy|"),
        (b"abc\x01\x1b[3~", "> |bc"),
        (b"abc\x01\x04\x04", "> |c"),
        (b"abcdef\x1b[D\x1b[D\x0b", "> abcd|"),
        (b"abcdef\x1b[D\x1b[D\x15", "> |ef"),
        (b"one two three\x17", "> one two |"),
        (b"one two  \x17\x17", "> |"),
        (b"one two\x1b[D\x17", "> one |o"),
        (b"abc\x0c", "> abc|"),
        (b"abc\x03de", "> de|"),
        // With Ctrl held; keys that are none of these; sequences that a control byte ends.
        (b"ab\x1b[1;5Dx", "> ax|b"),
        (b"ab\x1b[5~\x1b[Z\x1bq\x1b\x1b[D", "> a|b"),
        (b"ab\x1b[\x7fc", "> ac|"),
    ];
    for (keys, shown) in cases {
        assert_eq!(after(keys), *shown, "{:?}", keys.escape_ascii().to_string());
    }
}

#[test]
fn what_is_completed_goes_to_the_cursor() {
    let mut session = Session::new();
    session.types(b"ab\x02");
    session.line.insert_str("x\u{e4}\ny", &mut session.terminal);
    assert_eq!(session.shown(), "> axy|b");
}

#[test]
fn lines_end_once() {
    let mut session = Session::new();
    assert_eq!(session.types(b"a\rb\nc\r\n\r\rd\r"), ["a", "b", "c", "", "", "d"]);
}

#[test]
fn history_goes_back_and_forth() {
    const UP: &[u8] = b"\x1b[A";
    const DOWN: &[u8] = b"\x1b[B";
    let mut session = Session::new();
    session.types(UP);
    assert_eq!((session.shown().as_str(), session.terminal.bells), ("> |", 1));
    // Blank lines and repetitions are not remembered.
    session.types(b"one\r  \rtwo\rtwo\rdraft");
    let mut shows = |keys: &[u8], shown: &str| {
        session.types(keys);
        assert_eq!(session.shown(), shown);
    };
    shows(UP, "> two|");
    shows(UP, "> one|");
    shows(UP, "> one|");
    shows(DOWN, "> two|");
    shows(b"\x10", "> one|");
    shows(b"!\x0e", "> two|");
    shows(DOWN, "> draft|");
    shows(DOWN, "> draft|");
    shows(b"\r\x1b[A", "> draft|");
    // Given up, looking begins anew.
    shows(b"\x1b[A\x03\x1b[A", "> draft|");
    for n in 0..100 {
        session.types(std::format!("line {n}\r").as_bytes());
    }
    session.types(&UP.repeat(200));
    assert_eq!(session.shown(), "> line 84|");
}

#[test]
fn long_lines_show_the_part_round_the_cursor() {
    let mut session = Session::new();
    let typed: String = (0..MAX).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    session.types(typed.as_bytes());
    assert_eq!(session.terminal.bells, 0);
    let end = &typed[MAX - 77..];
    assert_eq!(session.shown(), std::format!("> {end}|"));
    session.types(b"!");
    assert_eq!((session.shown(), session.terminal.bells), (std::format!("> {end}|"), 1));
    session.types(b"\x01");
    assert_eq!(session.shown(), std::format!("> |{}", &typed[..77]));
    assert_eq!(session.types(b"\r"), [typed]);
}

#[test]
fn commands_are_read() {
    let gfp = Gfp::GFP_KERNEL;
    let cases = [
        ("help", Command::Help(None)),
        (" help  pt ", Command::Help(Some("pt"))),
        ("cat /proc/meminfo", Command::Cat("/proc/meminfo")),
        ("ls", Command::Ls("/")),
        ("ls /proc", Command::Ls("/proc")),
        ("echo scan > /sys/x", Command::Echo("scan", Some("/sys/x"))),
        ("echo a > b > /sys/x", Command::Echo("a > b", Some("/sys/x"))),
        ("echo a>/sys/x", Command::Echo("a", Some("/sys/x"))),
        ("echo !kfree >> /sys/x", Command::Echo("!kfree", Some("/sys/x"))),
        ("echo  two  words", Command::Echo("two  words", None)),
        ("echo", Command::Echo("", None)),
        ("watch 1 cat /proc/buddyinfo", Command::Watch(1, "cat /proc/buddyinfo")),
        ("pt ffff000040000000", Command::Pt(VirtAddr::new(0xffff_0000_4000_0000))),
        ("pt 0x10", Command::Pt(VirtAddr::new(16))),
        ("page 0x40200", Command::Page(Pfn::new(0x40200))),
        ("page 4294967295", Command::Page(Pfn::new(u32::MAX))),
        ("alloc", Command::Held),
        ("alloc pages 3", Command::AllocPages(Order::new(3).unwrap(), gfp)),
        (
            "alloc pages 10 GFP_KERNEL|__GFP_ZERO",
            Command::AllocPages(Order::MAX, gfp | Gfp::__GFP_ZERO),
        ),
        ("alloc kmalloc 100", Command::AllocKmalloc(100, gfp)),
        ("alloc kmalloc 4K GFP_ATOMIC", Command::AllocKmalloc(4096, Gfp::GFP_ATOMIC)),
        ("vmalloc 1M", Command::Vmalloc(1 << 20)),
        ("cma", Command::Cma),
        ("cma alloc 16", Command::CmaAlloc(16)),
        ("free 3", Command::Free(Some(3))),
        ("free all", Command::Free(None)),
        ("fragment", Command::Fragment(true)),
        ("fragment free", Command::Fragment(false)),
        ("stress 10000", Command::Stress(10000, 1)),
        ("stress 1 0x2a", Command::Stress(1, 42)),
        ("bench kmalloc_64", Command::Bench(Some("kmalloc_64"))),
        ("fault null", Command::Fault(Some("null"))),
    ];
    for (text, command) in cases {
        assert_eq!(parse(text), Ok(Some(command)), "{text}");
    }
    assert_eq!((parse(""), parse(" \t ")), (Ok(None), Ok(None)));
    // Each command of the list is read in one way at least, which says what it is.
    for entry in COMMANDS {
        assert!(!matches!(parse(entry.name), Err(Wrong::Unknown(_))), "{}", entry.name);
        assert!(!entry.what.is_empty() && entry.what.len() <= 60, "{}", entry.name);
    }
}

#[test]
fn flags_are_named_as_people_do() {
    for text in
        ["GFP_KERNEL", "GFP_KERNEL|__GFP_ZERO", "GFP_ATOMIC", "GFP_HIGHUSER_MOVABLE", "__GFP_ZERO"]
    {
        let gfp = parse_gfp(text).unwrap();
        assert_eq!(GfpNames(gfp).to_string(), text);
    }
}

#[test]
fn wrong_commands_get_their_usage() {
    for (text, says) in [
        ("frobnicate 1", "frobnicate: no such command; try help"),
        ("help frobnicate", "frobnicate: no such command; try help"),
        ("cat", "usage: cat PATH"),
        ("cat a b", "usage: cat PATH"),
        ("echo a >", "usage: echo TEXT > PATH"),
        ("echo a > b c", "usage: echo TEXT > PATH"),
        ("watch 1", "usage: watch SECONDS COMMAND..."),
        ("watch x cat", "watch: \"x\" is not a number of seconds\nusage: watch SECONDS COMMAND..."),
        ("pt", "usage: pt VA"),
        ("pt xyz", "pt: \"xyz\" is not an address such as 0xffff800000000000\nusage: pt VA"),
        (
            "pt 10000000000000000",
            "pt: \"10000000000000000\" is not an address such as 0xffff800000000000\nusage: pt VA",
        ),
        (
            "page 4294967296",
            "page: \"4294967296\" is not a frame's number below 2^32\nusage: page PFN",
        ),
        ("page -1", "page: \"-1\" is not a frame's number below 2^32\nusage: page PFN"),
        ("page +1", "page: \"+1\" is not a frame's number below 2^32\nusage: page PFN"),
        (
            "alloc pages 11",
            "alloc: \"11\" is not an order from 0 to 10\nusage: alloc [pages ORDER [GFP] | kmalloc SIZE [GFP]]",
        ),
        ("alloc slab", "usage: alloc [pages ORDER [GFP] | kmalloc SIZE [GFP]]"),
        ("cma free", "usage: cma [alloc PAGES]"),
        ("fragment 3", "usage: fragment [free]"),
        ("free", "usage: free NUMBER | all"),
        ("top 1", "usage: top "),
    ] {
        let wrong = parse(text).expect_err(text);
        assert_eq!(wrong.to_string(), says, "{text}");
    }
    for gfp in
        ["GFP_NOTHING", "GFP_KERNEL|", "|", "GFP_KERNEL||__GFP_ZERO", "gfp_kernel", "__GFP_NOFAIL"]
    {
        let text = std::format!("alloc pages 0 {gfp}");
        assert!(matches!(parse(&text), Err(Wrong::Argument("alloc", ..))), "{text}");
    }
}

/// Returns a line as completion leaves it.
fn completed(line: &str) -> (String, usize) {
    let found = complete(line, LISTS);
    let mut listed = 0;
    list(line, LISTS, &mut |_| listed += 1);
    assert_eq!(listed, found.candidates, "{line}");
    (std::format!("{line}{}", found.rest), found.candidates)
}

#[test]
fn words_are_completed() {
    Machine::run(&[RAM], |_| {
        for (line, becomes, candidates) in [
            ("", "", COMMANDS.len()),
            ("fr", "fr", 2),
            ("fra", "fragment ", 1),
            ("zz", "zz", 0),
            ("cat /pr", "cat /proc/", 1),
            ("cat /proc/mem", "cat /proc/meminfo ", 1),
            ("cat /proc/vm", "cat /proc/vm", 2),
            ("cat /proc/vms", "cat /proc/vmstat ", 1),
            ("cat pro", "cat proc/", 1),
            ("cat /proc/meminfo/", "cat /proc/meminfo/", 0),
            ("cat /nothing/", "cat /nothing/", 0),
            ("ls /sys/k", "ls /sys/kernel/", 1),
            ("echo scan > /sys/kernel/debug/kmem", "echo scan > /sys/kernel/debug/kmemleak ", 1),
            ("watch 1 c", "watch 1 c", 3),
            ("watch 1 cat /proc/budd", "watch 1 cat /proc/buddyinfo ", 1),
            ("alloc p", "alloc pages ", 1),
            ("alloc pages 3 GFP_KER", "alloc pages 3 GFP_KERNEL", 2),
            ("alloc pages 3 GFP_KERNEL|__GFP_ZE", "alloc pages 3 GFP_KERNEL|__GFP_ZERO", 1),
            ("alloc pages 3 GFP_KERNEL x", "alloc pages 3 GFP_KERNEL x", 0),
            ("bench km", "bench kmalloc_", 2),
            ("fault n", "fault null ", 1),
            ("free a", "free all ", 1),
            ("help page", "help page ", 1),
            ("pt 0x", "pt 0x", 0),
        ] {
            assert_eq!(completed(line), (becomes.to_string(), candidates), "{line}");
        }
    });
}
