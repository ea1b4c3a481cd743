//! Trees mangled at random: all that is read of them, the scan, the zones. A bounded
//! number of cases here; `scripts/fuzz` runs on for as long as it is asked to.

use super::*;
use crate::firmware::fdt::tests::corpus::{bad, good};
use crate::firmware::fdt::tests::{mutate, mutations, numbers, read};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestError, TestRunner};
use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

/// A tree, a command line, and where the boot loader put things.
#[derive(Clone, Debug, PartialEq)]
struct Case {
    blob: Vec<u8>,
    line: String,
    /// True if memblock's arrays may grow.
    grows: bool,
    /// Image and tree; `None` for where a boot loader would put them.
    places: Option<(PhysRange, PhysAddr)>,
    reach: PhysAddr,
}

/// All trees of the corpus that are no larger than is quick.
static BASES: LazyLock<Vec<&'static [u8]>> = LazyLock::new(|| {
    let all = good().into_iter().chain(bad()).map(|sample| sample.blob);
    all.filter(|blob| blob.len() < 30_000).collect()
});

fn lines() -> impl Strategy<Value = String> {
    let key = prop::sample::select(std::vec![
        "mem",
        "cma",
        "memmap",
        "kernelcore",
        "movablecore",
        "movable_node",
        "loglevel",
    ]);
    let value = prop_oneof![
        4 => numbers().prop_map(|n| format!("{n:#x}")),
        4 => (1u64..2048).prop_map(|n| format!("{n}M")),
        2 => (0u64..120).prop_map(|n| format!("{n}%")),
        3 => (numbers(), numbers()).prop_map(|(a, b)| format!("{a:#x}@{b:#x}")),
        2 => (numbers(), numbers()).prop_map(|(a, b)| format!("16M@{a:#x}-{b:#x}")),
        4 => (1u64..64, numbers()).prop_map(|(a, b)| format!("{a}M${b:#x}")),
        1 => Just(String::new()),
    ];
    let word = (key, value).prop_map(|(key, value)| format!("{key}={value} "));
    prop_oneof![
        1 => Just(String::new()),
        1 => Just("movable_node".into()),
        3 => prop::collection::vec(word, 1..5).prop_map(|words| words.concat()),
    ]
}

fn cases() -> impl Strategy<Value = Case> {
    let place = (numbers(), 0u64..64 << 20, numbers());
    let places = prop::option::weighted(0.2, place)
        .prop_map(|places| places.map(|(at, size, dtb)| (range(at, size), PhysAddr::new(dtb))));
    let reach = prop_oneof![Just(48u32), 32u32..=52].prop_map(|bits| PhysAddr::new(1 << bits));
    let parts = (any::<prop::sample::Index>(), mutations(), lines(), any::<bool>(), places, reach);
    parts.prop_map(|(base, changes, line, grows, places, reach)| {
        let mut blob = BASES[base.index(BASES.len())].to_vec();
        mutate(&mut blob, &changes);
        Case { blob, line, grows, places, reach }
    })
}

/// Last stage that a case reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stage {
    /// The blob was refused.
    Blob,
    /// The blob was read, and no memory was found in it, or too much.
    Tree,
    /// The blob filled memblock.
    Memory,
}

/// Reads and scans; the functions called panic where something does not hold.
fn run(case: &Case) -> Stage {
    // Freed at the end, unlike in other tests: there are many.
    let blob = &case.blob[..];
    let Some(tree) = read(blob) else { return Stage::Blob };
    let (image, dtb) = match case.places {
        None => placed(&tree),
        Some((image, dtb)) => (image, PhysRange::from_size(dtb, tree.total_size() as u64)),
    };
    let command_line = CommandLine::from_bytes(case.line.as_bytes());
    let handover = Handover { tree, dtb, image, command_line, reach: case.reach };
    let mut memblock = Memblock::new();
    let mut messages = Vec::new();
    let grow = case.grows.then_some(grow as Grow);
    let scanned = scan_into(&mut memblock, handover, grow, &mut messages);
    match scanned {
        Ok(_) => Stage::Memory,
        Err(error) => {
            assert!(!format!("{error}").contains('\n'));
            Stage::Tree
        }
    }
}

proptest! {
    #![proptest_config(Config {
        cases: 2000,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    })]

    #[test]
    #[cfg_attr(miri, ignore)]
    fn mangled_trees_are_scanned_or_refused(case in cases()) {
        run(&case);
    }
}

/// Mangling leaves enough to look at.
#[test]
#[cfg_attr(miri, ignore)]
fn mangled_trees_come_to_every_stage() {
    let mut runner = TestRunner::deterministic();
    let mut stages = [0; 3];
    for _ in 0..300 {
        let case = cases().new_tree(&mut runner).unwrap().current();
        stages[run(&case) as usize] += 1;
    }
    assert!(stages.iter().all(|count| *count >= 30), "{stages:?}");
}

// --- For scripts/fuzz ----------------------------------------------------------------

std::thread_local! {
    /// True while this thread runs a case: then a panic is a result.
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// A case lasts no longer than this, on any machine.
const HANG: Duration = Duration::from_secs(120);

/// Returns the directory of kept cases.
fn directory() -> PathBuf {
    let directory = std::env::var_os("GRANULE_FUZZ_DIR").expect("scripts/fuzz runs this");
    std::fs::create_dir_all(&directory).unwrap();
    PathBuf::from(directory)
}

impl Case {
    /// Writes the tree, and beside it in a file of text the rest.
    fn save(&self, at: &Path) {
        let places = self.places.map_or(String::from("-"), |(image, dtb)| {
            format!("{:#x} {:#x} {dtb:#x}", image.start(), image.len())
        });
        let text = format!("{}\n{}\n{places}\n{:#x}\n", self.line, self.grows, self.reach);
        // Not made empty first: that would have the disk written each time.
        for (at, bytes) in [(at, &self.blob[..]), (&at.with_extension("txt"), text.as_bytes())] {
            let mut file =
                File::options().write(true).create(true).truncate(false).open(at).unwrap();
            file.write_all(bytes).and_then(|()| file.set_len(bytes.len() as u64)).unwrap();
        }
    }

    fn load(at: &Path) -> Self {
        let text = std::fs::read_to_string(at.with_extension("txt")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let number =
            |text: &str| u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap();
        let places: Vec<u64> = lines[2].split(' ').filter(|t| *t != "-").map(number).collect();
        Self {
            blob: std::fs::read(at).unwrap(),
            line: lines[0].into(),
            grows: lines[1] == "true",
            places: match places[..] {
                [image, size, dtb] => Some((range(image, size), PhysAddr::new(dtb))),
                _ => None,
            },
            reach: PhysAddr::new(number(lines[3])),
        }
    }
}

/// Ends the process when one case takes too long. The case stays on disk.
fn watch(finished: &'static AtomicU64) {
    std::thread::spawn(|| {
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = finished.load(Relaxed);
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() > HANG {
                std::eprintln!("a case takes longer than {} seconds", HANG.as_secs());
                std::process::abort();
            }
        }
    });
}

#[test]
#[ignore = "scripts/fuzz runs it"]
fn for_as_long_as_asked() {
    static FINISHED: AtomicU64 = AtomicU64::new(0);
    static SCANNED: AtomicU64 = AtomicU64::new(0);
    let seconds = std::env::var("GRANULE_FUZZ_SECONDS").expect("scripts/fuzz runs this");
    let end = Instant::now() + Duration::from_secs(seconds.parse().unwrap());
    let directory = directory();
    let current = directory.join("current.dtb");
    LazyLock::force(&BASES);
    watch(&FINISHED);
    // Panics are counted, and shrunk; what they say is said once at the end.
    let said = &*Box::leak(Box::new(Mutex::new(String::new())));
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| match RUNNING.with(Cell::get) {
        true => *said.lock().unwrap() = format!("{info}"),
        false => usual(info),
    }));
    let config = Config {
        cases: 1000,
        failure_persistence: None,
        max_shrink_iters: 50_000,
        ..Config::default()
    };
    let mut round = 0u32;
    while Instant::now() < end {
        round += 1;
        let mut runner = TestRunner::new(config.clone());
        let result = runner.run(&cases(), |case| {
            RUNNING.with(|running| running.set(false));
            case.save(&current);
            RUNNING.with(|running| running.set(true));
            let stage = run(&case);
            RUNNING.with(|running| running.set(false));
            FINISHED.fetch_add(1, Relaxed);
            SCANNED.fetch_add(u64::from(stage == Stage::Memory), Relaxed);
            Ok(())
        });
        if let Err(TestError::Fail(_, case)) = result {
            let stamp = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
            let at = directory.join(format!("failed-{stamp}.dtb"));
            RUNNING.with(|running| running.set(false));
            case.save(&at);
            RUNNING.with(|running| running.set(true));
            let _ = std::panic::catch_unwind(|| run(&case));
            let _ = std::panic::take_hook();
            panic!("{}\n{}", at.display(), said.lock().unwrap());
        }
    }
    let _ = std::fs::remove_file(&current);
    let _ = std::fs::remove_file(current.with_extension("txt"));
    let (all, scanned) = (FINISHED.load(Relaxed), SCANNED.load(Relaxed));
    std::println!("{all} cases in {round} rounds, {scanned} of them gave memory, none failed");
}

/// Writes mangled trees of QEMU's machine virt, for kernels to boot with.
#[test]
#[ignore = "scripts/fuzz --boot runs it"]
fn write_trees_to_boot() {
    let count = std::env::var("GRANULE_FUZZ_COUNT").expect("scripts/fuzz runs this");
    let directory = directory();
    let virt = good().into_iter().filter(|sample| sample.name.contains("qemu-virt"));
    let bases: Vec<_> = virt.map(|sample| sample.blob).filter(|b| b.len() < 30_000).collect();
    assert!(!bases.is_empty());
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    for n in 0..count.parse::<usize>().expect("a number") {
        let mut blob = bases[n % bases.len()].to_vec();
        mutate(&mut blob, &mutations().new_tree(&mut runner).expect("mutations").current());
        std::fs::write(directory.join(format!("boot-{n}.dtb")), &blob).expect("a file");
    }
}

#[test]
#[ignore = "scripts/fuzz --replay runs it"]
fn replay() {
    let file = std::env::var_os("GRANULE_FUZZ_REPLAY").expect("scripts/fuzz runs this");
    run(&Case::load(Path::new(&file)));
    std::println!("nothing is wrong with it");
}

#[test]
#[cfg_attr(miri, ignore)]
fn a_case_is_kept_as_it_is() {
    let at = std::env::temp_dir().join(format!("granule-fuzz-{}.dtb", std::process::id()));
    let mut case = Case {
        blob: std::vec![1, 2, 3],
        line: "mem=64M ".into(),
        grows: true,
        places: None,
        reach: REACH,
    };
    for places in [None, Some((range(4096, 0), PhysAddr::new(8192)))] {
        case.places = places;
        case.save(&at);
        assert_eq!(Case::load(&at), case);
    }
    for extension in ["dtb", "txt"] {
        std::fs::remove_file(at.with_extension(extension)).unwrap();
    }
}
