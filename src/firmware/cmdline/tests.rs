//! Command lines.

use super::*;
use std::string::ToString;
use std::vec::Vec;

fn params(text: &str) -> Vec<(&str, Option<&str>)> {
    CommandLine::new(text).params().map(|param| (param.key, param.value)).collect()
}

#[test]
fn words_values_quotes() {
    assert_eq!(params(" a  b=1\tc= \n"), [("a", None), ("b", Some("1")), ("c", Some(""))]);
    assert_eq!(params("a=\"x y\" b"), [("a", Some("x y")), ("b", None)]);
    assert_eq!(params("\"a=x y\" b"), [("a", Some("x y")), ("b", None)]);
    assert_eq!(params("a=b=c"), [("a", Some("b=c"))]);
    assert_eq!(params("a=\"open end"), [("a", Some("open end"))]);
    assert_eq!(params("a -- init b"), [("a", None)]);
    assert_eq!(params("a=-- b"), [("a", Some("--")), ("b", None)]);
    assert_eq!(params(""), []);
    assert_eq!(params("\""), [("", None)]);
    assert_eq!(params("ä=ö\u{a0}ü"), [("ä", Some("ö\u{a0}ü"))]);
}

#[test]
fn last_one_counts_and_dashes_are_underscores() {
    let line = CommandLine::new("a-b=1 a_b=2 flag x=3");
    assert_eq!(line.value("a_b"), Some("2"));
    assert_eq!(line.value("a-b"), Some("2"));
    assert!(line.has("flag") && !line.has("fla") && !line.has("flags"));
    assert_eq!((line.value("flag"), line.value("ab")), (None, None));
}

#[test]
fn sizes() {
    for (text, size) in [
        ("0", Some(0)),
        ("123", Some(123)),
        ("4k", Some(4096)),
        ("0x10M", Some(16 << 20)),
        ("010", Some(8)),
        ("2G", Some(2 << 30)),
        ("3T", Some(3 << 40)),
        ("1P", Some(1 << 50)),
        ("15E", Some(15 << 60)),
        ("16E", None),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("0xffffffffffffffffff", None),
        ("", None),
        ("M", None),
        ("0x", None),
        ("1M2", None),
        ("-1", None),
        ("+1", None),
        ("089", None),
        ("1ö", None),
    ] {
        assert_eq!(parse_size(text), size, "{text}");
    }
    assert_eq!(memparse("64M@1G"), Some((64 << 20, "@1G")));
}

#[test]
fn mem_and_messages() {
    let mem = |text| CommandLine::new(text).mem();
    assert_eq!(mem("mem=512M"), Ok(Some(512 << 20)));
    assert_eq!(mem("mem=1G mem=64M"), Ok(Some(64 << 20)));
    assert_eq!(mem("memory=1G"), Ok(None));
    for text in ["mem", "mem=", "mem=0", "mem=1Q"] {
        assert!(mem(text).is_err(), "{text}");
    }
    let message = mem("mem=12\u{1b}\"").unwrap_err().to_string();
    assert_eq!(message, "mem=\"12\\u{1b}\\\"\" ignored: expected a size such as 512M");
}

#[test]
fn memmap() {
    let memmap = |text| CommandLine::new(text).memmap().collect::<Vec<_>>();
    let range = |start, end| Ok(PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)));
    assert_eq!(
        memmap("memmap=16M$0x50000000,4K$1G x memmap=1$2"),
        [range(0x5000_0000, 0x5100_0000), range(0x4000_0000, 0x4000_1000), range(2, 3)]
    );
    for text in ["16M", "16M@1G", "$1G", "0$1G", "1E$15E,", "2$18446744073709551615", ""] {
        let line = std::format!("memmap={text}");
        assert!(CommandLine::new(&line).memmap().last().unwrap().is_err(), "{text}");
    }
}

#[test]
fn cma() {
    let cma = |text| CommandLine::new(text).cma().map(|param| param.map(|p| (p.size, p.at)));
    let m = |n: u64| PhysAddr::new(n << 20);
    assert_eq!(cma("nothing"), Ok(None));
    assert_eq!(cma("cma=64M"), Ok(Some((64 << 20, None))));
    assert_eq!(cma("cma=0"), Ok(Some((0, None))));
    assert_eq!(cma("cma=64M@"), Ok(Some((64 << 20, None))));
    assert_eq!(cma("cma=64M@1G"), Ok(Some((64 << 20, Some(CmaPlace::Fixed(m(1024)))))));
    let within = Some(CmaPlace::Within(PhysRange::new(m(1024), m(2048))));
    assert_eq!(cma("cma=64M@1G-2G"), Ok(Some((64 << 20, within))));
    let from_zero = Some(CmaPlace::Within(PhysRange::new(m(0), m(1024))));
    assert_eq!(cma("cma=64M@0-1G"), Ok(Some((64 << 20, from_zero))));
    for text in ["cma", "cma=", "cma=M", "cma=64M@x", "cma=64M@2G-1G", "cma=64M@1G-", "cma=1M,2M"] {
        assert!(cma(text).is_err(), "{text}");
    }
    assert!(cma("cma=8E@15E").is_err());
}

#[test]
fn levels_flags_cores() {
    let level = |text| CommandLine::new(text).loglevel();
    assert_eq!(level("loglevel=4"), Ok(Some(4)));
    assert_eq!(level("quiet loglevel=6"), Ok(Some(6)));
    assert_eq!(level("loglevel=6 debug"), Ok(Some(10)));
    assert_eq!(level("loglevel=15"), Ok(Some(15)));
    assert_eq!(level("x"), Ok(None));
    assert!(level("loglevel=16").is_err() && level("loglevel").is_err());
    let line = CommandLine::new("a b=off c=1 d=maybe");
    assert_eq!(
        ["a", "b", "c", "e"].map(|key| line.flag(key)),
        [Ok(Some(true)), Ok(Some(false)), Ok(Some(true)), Ok(None)]
    );
    assert!(line.flag("d").is_err());
    let core = |text| CommandLine::new(text).core_size("kernelcore");
    assert_eq!(core("kernelcore=512M"), Ok(Some(CoreSize::Bytes(512 << 20))));
    assert_eq!(core("kernelcore=50%"), Ok(Some(CoreSize::Percent(50))));
    assert_eq!(core("kernelcore=mirror"), Ok(Some(CoreSize::Mirror)));
    assert!(core("kernelcore=101%").is_err());
    assert!(CommandLine::new("movablecore=mirror").core_size("movablecore").is_err());
    assert_eq!(CommandLine::new("n=0x20").number("n"), Ok(Some(32)));
    assert!(CommandLine::new("n=20M").number("n").is_err());
}

#[test]
fn own_switches_and_console() {
    let line = CommandLine::new("granule.fault=null granule.test earlycon=pl011,0x9000000");
    assert_eq!(line.granule("fault"), Some("null"));
    assert_eq!(line.granule("test"), Some(""));
    assert_eq!(line.granule("other"), None);
    let own = |key, value| Param { key, value };
    let all: Vec<_> = line.granule_params().collect();
    assert_eq!(all, [own("fault", Some("null")), own("test", None)]);
    assert_eq!(line.earlycon(), Some("pl011,0x9000000"));
    assert_eq!(CommandLine::new("earlycon").earlycon(), Some(""));
    assert_eq!(CommandLine::new("").earlycon(), None);
}

#[test]
fn bytes_that_are_no_text_end_the_line() {
    assert_eq!(CommandLine::from_bytes(b"mem=1G \xff cma=1M").as_str(), "mem=1G ");
    assert_eq!(CommandLine::from_bytes(b"").as_str(), "");
    let mut long = std::vec![b' '; COMMAND_LINE_SIZE - 1];
    long.extend("\u{e4} mem=1G".bytes());
    // The character that does not fit as a whole goes.
    assert_eq!(CommandLine::from_bytes(&long).as_str().len(), COMMAND_LINE_SIZE - 1);
    assert_eq!(CommandLine::from_bytes(&long[1..]).as_str().len(), COMMAND_LINE_SIZE);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        cases: if cfg!(miri) { 3 } else { 1000 },
        failure_persistence: None,
        ..proptest::prelude::ProptestConfig::default()
    })]

    #[test]
    fn any_text_has_an_answer(text in "[a-c=\"$@, 0-9MGEx\\-\u{0}\u{a0}ä]{0,40}") {
        for prefix in ["", "cma=", "mem=", "memmap=", "loglevel=", "kernelcore="] {
            let text = std::format!("{prefix}{text}");
            let line = CommandLine::new(&text);
            assert!(line.params().count() <= text.len());
            let _ = (line.mem(), line.cma(), line.loglevel(), line.core_size("kernelcore"));
            for range in line.memmap().flatten() {
                assert!(range.start() < range.end());
            }
            if let Ok(Some(cma)) = line.cma() {
                let Some(CmaPlace::Fixed(base)) = cma.at else { continue };
                assert!(base.checked_add(cma.size).is_some());
            }
        }
    }
}

#[test]
fn switches() {
    let read = |text| CommandLine::new(text).switch("kmemleak").map_err(|error| error.value);
    assert_eq!(read("other=on"), Ok(None));
    for on in ["kmemleak", "kmemleak=on", "kmemleak=1", "kmemleak=y", "kmemleak=ON"] {
        assert_eq!(read(on), Ok(Some(true)), "{on}");
    }
    for off in ["kmemleak=off", "kmemleak=0", "kmemleak=n", "kmemleak=on kmemleak=off"] {
        assert_eq!(read(off), Ok(Some(false)), "{off}");
    }
    assert_eq!(read("kmemleak=perhaps"), Err("perhaps"));
    assert_eq!(read("kmemleak="), Err(""));
}
