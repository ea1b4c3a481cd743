//! The program against the trees of `tests/data` (and of `GRANULE_DTBS`), and what it
//! says of bad files and bad arguments.

#[allow(dead_code)]
#[path = "../../src/firmware/fdt/tests/corpus.rs"]
mod corpus;
#[allow(dead_code)]
#[path = "../../src/firmware/fdt/tests/mutate/mod.rs"]
mod mutate;

#[allow(dead_code)]
#[path = "../../src/firmware/fdt/tests/build.rs"]
mod small;

use super::*;
use corpus::{Sample, bad, good, pairs};
use granule::firmware::fdt::total_size;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Result of the program: exit code, standard output and error.
struct Done {
    code: u8,
    out: String,
    err: String,
}

impl Done {
    /// The object that was printed.
    fn object(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.err);
        serde_json::from_str(&self.out).unwrap()
    }

    /// The one line that was printed instead.
    fn line(&self, code: u8) -> &str {
        assert_eq!((self.code, &*self.out), (code, ""), "{}", self.err);
        let line = self.err.strip_prefix("error: ").and_then(|line| line.strip_suffix('\n'));
        let line = line.unwrap_or_else(|| panic!("{:?}", self.err));
        assert!(!line.contains('\n'), "{line:?}");
        line
    }
}

fn program(arguments: &[&str]) -> Done {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(arguments.iter().map(OsString::from), &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { code, out: text(out), err: text(err) }
}

/// Has a blob described.
fn described(blob: &[u8], append: Option<&str>) -> Done {
    let nowhere = PhysRange::new(PhysAddr::new(0), PhysAddr::new(0));
    let append = append.map(String::from);
    let request = Request { file: "tree".into(), append, image: nowhere, dtb_at: None };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = match describe(blob, &request, &mut out, &mut err) {
        Ok(()) => 0,
        Err(Failure::Error(line)) => {
            writeln!(err, "error: {line}").unwrap();
            1
        }
        Err(other) => panic!("{other:?}"),
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { code, out: text(out), err: text(err) }
}

fn tree(name: &str) -> String {
    format!("{}/tests/data/{name}.dtb", env!("CARGO_MANIFEST_DIR"))
}

/// Overlapping and touching ranges made one.
fn union(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.retain(|(_, size)| *size > 0);
    ranges.sort_unstable();
    let mut union: Vec<(u64, u64)> = Vec::new();
    for (start, end) in ranges.into_iter().map(|(base, size)| (base, base + size)) {
        match union.last_mut() {
            Some((_, last)) if start <= *last => *last = end.max(*last),
            _ => union.push((start, end)),
        }
    }
    union
}

/// The ranges of a list of objects, by the names of base and size.
fn ranges(list: &Value, base: &str) -> Vec<(u64, u64)> {
    let pair = |item: &Value| json!([item[base], item["size"]]);
    pairs(&list.as_array().unwrap().iter().map(pair).collect())
}

fn holds(union: &[(u64, u64)], (base, size): (u64, u64)) -> bool {
    union.iter().any(|(start, end)| *start <= base && base + size <= *end)
}

fn facts_match(sample: &Sample, object: &Value) {
    let about_the_file = ["file", "file_size", "header", "sha256", "source", "stats"];
    for (key, expected) in sample.expected.as_object().unwrap() {
        if !about_the_file.contains(&&**key) {
            assert_eq!(object.get(key), Some(expected), "{}: {key}", sample.name);
        }
    }
    for key in object.as_object().unwrap().keys() {
        let own = ["memblock", "zones"].contains(&&**key);
        assert!(own || sample.expected.get(key).is_some(), "{}: {key}", sample.name);
    }
}

#[test]
fn every_fact_of_every_good_tree() {
    for sample in good() {
        let done = described(sample.blob, Some(""));
        let object = done.object();
        facts_match(&sample, &object);
        let ram: Vec<Value> = object["ram"].as_array().unwrap().to_vec();
        let ram = union(pairs(&ram.iter().map(|r| json!([r[0], r[1]])).collect()));
        assert_eq!(union(ranges(&object["memblock"]["memory"], "base")), ram, "{}", sample.name);
        for (base, size) in union(ranges(&object["zones"], "start")) {
            assert!(holds(&[(ram[0].0, ram[ram.len() - 1].1)], (base, size - base)));
        }
        assert_eq!(ram.is_empty(), done.err.contains("would not boot: no usable RAM"));
        assert_eq!(ram.is_empty(), object["zones"] == json!([]), "{}", sample.name);
    }
}

/// Checks facts that the program does not print.
#[test]
fn sizes_of_every_good_tree() {
    for sample in good() {
        let tree = Tree::new(sample.blob).unwrap();
        assert_eq!(total_size(&sample.blob[..40]), Ok(sample.blob.len()));
        let mut walk = tree.walk();
        let (mut nodes, mut properties, mut depth) = (0, 0, 0);
        while let Some(node) = walk.next() {
            nodes += 1;
            properties += node.properties().count();
            depth = depth.max(walk.depth());
        }
        let stats = &sample.expected["stats"];
        let known = json!([stats["nodes"], stats["properties"], stats["max_depth"]]);
        assert_eq!(json!([nodes, properties, depth]), known, "{}", sample.name);
    }
}

#[test]
fn every_bad_tree_behaves() {
    for sample in bad() {
        let (done, name) = (described(sample.blob, None), &sample.name);
        let verdict = sample.expected["verdict"].as_str().unwrap();
        if done.code != 0 {
            done.line(1);
            assert!(matches!(verdict, "reject" | "no-crash" | "no-ram"), "{name}: {}", done.err);
            continue;
        }
        assert!(!matches!(verdict, "reject" | "no-ram"), "{name}");
        let object = done.object();
        let memory = union(ranges(&object["memblock"]["memory"], "base"));
        let reserved = union(ranges(&object["memblock"]["reserved"], "base"));
        for (key, value) in sample.expected["facts"].as_object().into_iter().flatten() {
            match &**key {
                "ram" | "ram_union" | "whole_pages" | "whole_entries" => {
                    assert_eq!(memory, union(pairs(value)), "{name}: {key}");
                }
                "certain_ram" => assert!(pairs(value).iter().all(|r| holds(&memory, *r)), "{name}"),
                "reserved_union" => {
                    assert!(pairs(value).iter().all(|r| holds(&reserved, *r)), "{name}");
                }
                "ram_pieces" => assert_eq!(json!(memory.len()), *value, "{name}"),
                "ram_bytes" => {
                    let bytes: u64 = memory.iter().map(|(start, end)| end - start).sum();
                    assert_eq!(json!(format!("{bytes:#x}")), *value, "{name}");
                }
                other => panic!("{name}: what is {other}?"),
            }
        }
    }
}

#[test]
fn zones_as_the_page_allocator_has_them() {
    let zones = |name: &str, line: &str| {
        let object = program(&["--append", line, &tree(name)]).object();
        let zone = |z: &Value| {
            let text = |key: &str| z[key].as_str().unwrap().to_string();
            format!("{} {} {}-{}", text("name"), z["nid"], text("start"), text("end"))
        };
        object["zones"].as_array().unwrap().iter().map(zone).collect::<Vec<_>>()
    };
    assert_eq!(
        zones("dtbs/qemu-virt-numa4-uneven", ""),
        [
            "DMA 0 0x40000000-0x60000000",
            "DMA 1 0x60000000-0xc0000000",
            "DMA 2 0xc0000000-0xd0000000",
            "DMA 3 0xd0000000-0x100000000",
            "Normal 3 0x100000000-0x140000000",
        ]
    );
    // What its DMA controllers do not reach.
    assert_eq!(
        zones("dtbs/broadcom-bcm2837-rpi-3-b", ""),
        ["DMA 0 0x0-0x3f000000", "DMA32 0 0x3f000000-0x40000000"]
    );
    assert_eq!(
        zones("dtbs/qemu-virt-numa2", "kernelcore=50%"),
        [
            "DMA 0 0x40000000-0x60000000",
            "Movable 0 0x60000000-0x80000000",
            "DMA 1 0x80000000-0xa0000000",
            "Movable 1 0xa0000000-0xc0000000",
        ]
    );
    assert!(zones("dtbs/broadcom-bcm2711-rpi-4-b", "").is_empty());
}

#[test]
fn options_change_the_map() {
    let file = tree("dtbs/qemu-virt-bootargs-cma");
    let reserved = |options: &[&str]| {
        let object = program(&[options, &[&file]].concat()).object();
        ranges(&object["memblock"]["reserved"], "base")
    };
    let cma = (0x7c00_0000, 64 << 20);
    assert_eq!(reserved(&[]), [cma], "bootargs say cma=64M");
    assert_eq!(reserved(&["--append", ""]), []);
    let places = ["--append", "", "--image", "0x40200000,2M", "--dtb-at", "0x48000000"];
    assert_eq!(reserved(&places), [(0x4020_0000, 2 << 20), (0x4800_0000, 7677)]);
    let object = program(&["--append", "mem=16M memmap=1M$0x40100000", "--", &file]).object();
    assert_eq!(ranges(&object["memblock"]["memory"], "base"), [(0x4000_0000, 16 << 20)]);
    assert_eq!(ranges(&object["memblock"]["reserved"], "base"), [(0x4010_0000, 1 << 20)]);
    let done = program(&["--append", "mem=junk", &file]);
    assert_eq!(done.code, 0);
    assert!(done.err.starts_with("warning: ") && done.err.contains("mem=\"junk\" ignored"));
    // A no-map region, and a node of its own.
    let object = program(&[&tree("dtbs/amlogic-amlogic-a4-a113l2-ba400")]).object();
    let regions = object["memblock"]["memory"].as_array().unwrap();
    let flags: Vec<_> = regions.iter().map(|region| &region["flags"]).collect();
    assert_eq!(flags, [&json!([]), &json!(["NOMAP"]), &json!([])]);
    assert!(regions.iter().all(|region| region["nid"].is_null()));
    let object = program(&[&tree("dtbs/qemu-virt-numa2")]).object();
    assert_eq!(object["memblock"]["memory"][1]["nid"], 1);
    // All of RAM reserved: still a tree that can be read.
    let done = program(&[&tree("bad/reserved-all-ram")]);
    let object = done.object();
    assert_eq!(object["zones"], json!([]));
    assert_ne!(object["memblock"]["memory"], json!([]));
    assert!(done.err.contains("would not boot: no free RAM"));
}

#[test]
fn a_tree_without_usable_ram_is_an_error() {
    use small::Builder;
    let virt = |builder: Builder| builder.string("compatible", "linux,dummy-virt");
    let bus = |b: Builder| b.open("soc").string("compatible", "simple-bus").close();
    let refused = [
        Builder::new(2, 2).blob(),
        Builder::new(2, 2).memory("memory", &[1 << 30, 0]).blob(),
        bus(virt(Builder::new(2, 2))).blob(),
        // These name RAM, of which none can be used.
        bus(Builder::new(2, 2)).memory("memory", &[1 << 30, 0xfff]).blob(),
        bus(Builder::new(2, 2)).memory("memory", &[1 << 60, 1 << 30]).blob(),
        bus(Builder::new(2, 2))
            .open("memory")
            .string("device_type", "memory")
            .string("status", "disabled")
            .longs("reg", &[1 << 30, 1 << 30])
            .close()
            .blob(),
    ];
    for blob in refused {
        let done = described(&blob, None);
        assert!(done.err.contains("no usable RAM"), "{}", done.err);
        // One line for the refusal; what led to it may have been warned of.
        assert_eq!((done.code, &*done.out), (1, ""));
        assert_eq!(done.err.lines().filter(|line| line.starts_with("error: ")).count(), 1);
    }
    // What a board ships is for the boot loader to complete.
    for blob in [
        bus(Builder::new(2, 2)).blob(),
        bus(Builder::new(2, 2)).memory("memory", &[1 << 30, 0]).blob(),
    ] {
        let done = described(&blob, None);
        assert_eq!(done.object()["zones"], json!([]));
        assert!(done.err.contains("would not boot: no usable RAM"), "{}", done.err);
    }
    // It is not the tree's fault.
    let one =
        described(&Builder::new(2, 2).memory("memory", &[1 << 30, 1 << 30]).blob(), Some("mem=1"));
    assert!(one.line(1).contains("mem=: 0x0 bytes of 1 GiB are used"), "{}", one.err);
}

#[test]
fn a_tree_of_three_thousand_entries_of_ram() {
    let reg: Vec<u64> = (0..3000).flat_map(|n| [(1 << 30) + (n << 21), 1 << 20]).collect();
    let object = described(&small::Builder::new(2, 2).memory("memory", &reg).blob(), None).object();
    assert_eq!(object["memblock"]["memory"].as_array().unwrap().len(), 3000);
}

#[test]
fn wrong_usage_is_told() {
    for arguments in [
        &[][..],
        &["a", "b"],
        &["--frobnicate", "a"],
        &["-x"],
        &["a", "--append"],
        &["--image", "1M", "a"],
        &["--image", "1M,x", "a"],
        &["--image", "0xffffffffffffffff,2", "a"],
        &["--dtb-at", "here", "a"],
        &["--x\n\u{1b}[31m"],
    ] {
        assert!(program(arguments).line(2).contains("--help"), "{arguments:?}");
    }
    let help = program(&["--append", "x", "--help", "a"]);
    assert!(help.code == 0 && help.out.starts_with("usage: scripts/dtmap") && help.err.is_empty());
}

/// A directory of its own that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dtmap-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().into()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_that_are_no_trees_are_refused() {
    let scratch = Scratch::new("files");
    let directory = scratch.0.to_str().unwrap();
    assert!(program(&[directory]).line(1).contains(directory));
    let missing = format!("{directory}/none");
    assert!(program(&[&missing]).line(1).starts_with(&missing));
    let empty = scratch.file("empty", &[]);
    assert!(program(&[&empty]).line(1).ends_with("empty"));
    // As large as a tree can be, and one byte more.
    let mut blob = std::fs::read(tree("dtbs/qemu-virt-numa2")).unwrap();
    blob.resize(MAX_SIZE, 0);
    program(&[&scratch.file("padded", &blob)]).object();
    blob.push(0);
    assert!(program(&[&scratch.file("large", &blob)]).line(1).contains("larger than 0x200000"));
    assert!(program(&["/dev/zero"]).line(1).contains("larger than"));
    let text = scratch.file("text", b"no device tree, but long enough for the header of one");
    assert!(program(&[&text]).line(1).contains("magic number"));
    assert!(Path::new(&text).exists());
}

/// Fails to write with one kind of error.
struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Err(self.0.into())
    }
}

#[test]
fn nobody_reads_what_is_printed() {
    for arguments in [vec![tree("dtbs/qemu-virt-numa2")], vec!["--help".into()]] {
        let arguments = || arguments.iter().map(OsString::from);
        let mut err = Vec::new();
        assert_eq!(run(arguments(), &mut Broken(io::ErrorKind::BrokenPipe), &mut err), 1);
        assert!(err.is_empty(), "quietly");
        assert_eq!(run(arguments(), &mut Broken(io::ErrorKind::StorageFull), &mut err), 1);
        assert!(err.starts_with(b"error: standard output: "));
    }
    let nobody = &mut Broken(io::ErrorKind::BrokenPipe);
    assert_eq!(run(["/none".into()].into_iter(), &mut Vec::new(), nobody), 1);
}

/// Puts a tree together: each item opens a node, closes it, or is a property.
fn blob(items: impl IntoIterator<Item = (&'static str, Option<Vec<u8>>)>) -> Vec<u8> {
    let (mut structure, mut strings) = (vec![0, 0, 0, 1, 0, 0, 0, 0], Vec::new());
    for (name, value) in items {
        match (name, value) {
            ("}", None) => structure.extend(2u32.to_be_bytes()),
            (name, None) => {
                structure.extend(1u32.to_be_bytes());
                structure.extend(name.bytes().chain([0]));
            }
            (name, Some(value)) => {
                let words = [3, value.len() as u32, strings.len() as u32];
                structure.extend(words.iter().flat_map(|word| word.to_be_bytes()));
                structure.extend(value);
                strings.extend(name.bytes().chain([0]));
            }
        }
        structure.resize(structure.len().next_multiple_of(4), 0);
    }
    structure.extend([0, 0, 0, 2, 0, 0, 0, 9]);
    let end = 56 + structure.len();
    let header = [0xd00d_feed, end + strings.len(), 56, end, 40, 17, 16, 0];
    let sizes = [strings.len(), structure.len(), 0, 0, 0, 0];
    let words = header.into_iter().chain(sizes).flat_map(|word| (word as u32).to_be_bytes());
    words.chain(structure).chain(strings).collect()
}

/// Nodes of a board's tree besides memory, which its boot loader adds.
fn board() -> [(&'static str, Option<Vec<u8>>); 3] {
    [("soc", None), ("compatible", Some(b"simple-bus\0".to_vec())), ("}", None)]
}

#[test]
fn a_small_tree_does_not_make_a_large_output() {
    // A long name in the path of each of many nodes.
    let name = &*"n".repeat(100_000).leak();
    let psci = [("p", None), ("compatible", Some(b"arm,psci\0".to_vec())), ("}", None)];
    let all = |count| {
        let many = std::iter::repeat_n(psci.clone(), count).flatten();
        blob(board().into_iter().chain([(name, None)]).chain(many).chain([("}", None)]))
    };
    assert_eq!(described(&all(2), None).object()["psci"].as_array().unwrap().len(), 2);
    assert!(described(&all(1000), None).line(1).contains("its facts take more than"));
}

#[test]
fn what_could_drive_a_terminal_is_not_printed() {
    let model = "a\tb\u{1b}[31m\u{9b}31m\u{7f}ä\u{0}".as_bytes();
    let tree = [("model", Some([b"\xff", model].concat()))].into_iter().chain(board());
    let done = described(&blob(tree), None);
    assert!(done.out.chars().all(|c| !c.is_control() || c == '\n'), "{:?}", done.out);
    assert_eq!(done.object()["model"], "\u{fffd}a\tb\u{1b}[31m\u{fffd}31m\u{fffd}ä");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn mangled_trees_are_described_or_refused(
        base in any::<prop::sample::Index>(),
        changes in mutate::mutations(),
    ) {
        let names = ["dtbs/qemu-raspi4b-2g-filled", "dtbs/qemu-virt-numa2", "bad/cpus-bad"];
        let mut blob = std::fs::read(tree(names[base.index(names.len())])).unwrap();
        mutate::mutate(&mut blob, &changes);
        let done = described(&blob, None);
        match done.code {
            0 => drop(done.object()),
            _ => drop(done.line(1)),
        }
    }
}
