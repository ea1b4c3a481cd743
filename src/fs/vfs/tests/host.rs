//! Random calls, of which each does the same here and in the file system of the host.

use super::*;
use proptest::prelude::*;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::string::ToString;

#[derive(Clone, Debug)]
enum Op {
    Mkdir(String),
    Rmdir(String),
    Unlink(String),
    Open(String, u32),
    Append(String, usize),
    Truncate(String, u64),
    Read(String),
    Link(String, String),
    Symlink(&'static str, String),
    Readlink(String),
    Rename(String, String),
    Stat(String),
    Lstat(String),
}

/// Paths of few names, at most two directories up.
fn path() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => Just("a"), 4 => Just("b"), 3 => Just("c"), 1 => Just("."), 2 => Just("..")
    ];
    (prop::collection::vec(part, 1..4), any::<bool>(), 0..8u8).prop_map(|(parts, double, end)| {
        let mut up = 0;
        let parts = parts.into_iter().filter(|&part| {
            up += usize::from(part == "..");
            part != ".." || up <= 2
        });
        let path = parts.collect::<Vec<_>>().join(if double { "//" } else { "/" });
        let path = if path.is_empty() { ".".to_string() } else { path };
        if end == 0 { path + "/" } else { path }
    })
}

fn op() -> impl Strategy<Value = Op> {
    let targets = prop::sample::select(&["a", "b", "c", "a/b", ".", "c/", "none/x"]);
    let flags = prop::sample::select(&[
        O_RDONLY,
        O_CREAT | O_WRONLY,
        O_CREAT | O_EXCL | O_WRONLY,
        O_CREAT | O_TRUNC | O_RDWR,
        O_DIRECTORY,
        O_NOFOLLOW,
        O_NOFOLLOW | O_CREAT | O_WRONLY,
        O_WRONLY,
        O_PATH | O_NOFOLLOW,
    ]);
    prop_oneof![
        4 => path().prop_map(Op::Mkdir),
        2 => path().prop_map(Op::Rmdir),
        2 => path().prop_map(Op::Unlink),
        4 => (path(), flags).prop_map(|(path, flags)| Op::Open(path, flags)),
        2 => (path(), 0..5000usize).prop_map(|(path, len)| Op::Append(path, len)),
        1 => (path(), 0..9000u64).prop_map(|(path, len)| Op::Truncate(path, len)),
        1 => path().prop_map(Op::Read),
        2 => (path(), path()).prop_map(|(old, new)| Op::Link(old, new)),
        3 => (targets, path()).prop_map(|(target, path)| Op::Symlink(target, path)),
        1 => path().prop_map(Op::Readlink),
        5 => (path(), path()).prop_map(|(old, new)| Op::Rename(old, new)),
        1 => path().prop_map(Op::Stat),
        1 => path().prop_map(Op::Lstat),
    ]
}

/// Result of a call: some text, or the number of an error.
type Told = Result<String, i32>;

fn told<T: ToString>(result: io::Result<T>) -> Told {
    result.map(|value| value.to_string()).map_err(|why| why.raw_os_error().unwrap_or(-1))
}

/// Type, names and size; of a directory no size, which file systems differ in.
fn shown(mode: u32, nlink: u64, size: u64) -> String {
    let size = if mode & S_IFMT == S_IFDIR { 0 } else { size };
    format!("{:o} {nlink} {size}", mode & S_IFMT)
}

fn on_host(base: &str, op: &Op) -> Told {
    let at = |path: &str| format!("{base}/w/w/{path}");
    let open = |path: &str, flags: u32| {
        let mut options = fs::OpenOptions::new();
        options.read(flags & O_ACCMODE != O_WRONLY).write(flags & O_ACCMODE != O_RDONLY);
        options.custom_flags((flags & !O_ACCMODE) as i32).open(at(path))
    };
    match op {
        Op::Mkdir(path) => told(fs::create_dir(at(path)).map(|()| "")),
        Op::Rmdir(path) => told(fs::remove_dir(at(path)).map(|()| "")),
        Op::Unlink(path) => told(fs::remove_file(at(path)).map(|()| "")),
        Op::Open(path, flags) => told(open(path, *flags).map(|_| "")),
        Op::Append(path, len) => {
            let file = open(path, O_WRONLY | O_APPEND);
            told(file.and_then(|mut file| file.write(&vec![b'x'; *len])))
        }
        // truncate(2) has no function of its own there.
        Op::Truncate(path, len) => {
            told(open(path, O_WRONLY).and_then(|file| file.set_len(*len)).map(|()| ""))
        }
        Op::Read(path) => {
            let mut text = String::new();
            told(open(path, O_RDONLY).and_then(|mut file| file.read_to_string(&mut text)))
                .map(|_| text)
        }
        Op::Link(old, new) => told(fs::hard_link(at(old), at(new)).map(|()| "")),
        Op::Symlink(target, path) => {
            told(std::os::unix::fs::symlink(target, at(path)).map(|()| ""))
        }
        Op::Readlink(path) => told(fs::read_link(at(path)).map(|target| format!("{target:?}"))),
        Op::Rename(old, new) => told(fs::rename(at(old), at(new)).map(|()| "")),
        Op::Stat(path) => {
            told(fs::metadata(at(path)).map(|of| shown(of.mode(), of.nlink(), of.size())))
        }
        Op::Lstat(path) => {
            told(fs::symlink_metadata(at(path)).map(|of| shown(of.mode(), of.nlink(), of.size())))
        }
    }
}

fn here(world: &World, op: &Op) -> Told {
    let at = |path: &str| format!("/w/w/{path}");
    let none = |result: Result<(), Errno>| result.map(|()| String::new());
    let shown = |stat: Kstat| shown(stat.owner.mode, stat.nlink.into(), stat.size);
    let result = match op {
        Op::Mkdir(path) => none(world.mkdir(&at(path))),
        Op::Rmdir(path) => none(world.rmdir(&at(path))),
        Op::Unlink(path) => none(world.unlink(&at(path))),
        // The host's library opens all files so.
        Op::Open(path, flags) => {
            none(world.open(&at(path), flags | O_CLOEXEC).map(|fd| world.close(fd)))
        }
        Op::Append(path, len) => world.open(&at(path), O_WRONLY | O_APPEND).and_then(|fd| {
            let written = write(&world.caller(), fd, &mut vec![b'x'; *len].as_slice());
            world.close(fd);
            written.map(|written| written.to_string())
        }),
        Op::Truncate(path, len) => none(world.open(&at(path), O_WRONLY).and_then(|fd| {
            let result = ftruncate(&world.caller(), fd, *len as i64);
            world.close(fd);
            result
        })),
        Op::Read(path) => world.read(&at(path)).map(|bytes| String::from_utf8(bytes).unwrap()),
        Op::Link(old, new) => none(world.link(&at(old), &at(new))),
        Op::Symlink(target, path) => none(world.symlink(target, &at(path))),
        Op::Readlink(path) => {
            world.readlink(&at(path)).map(|text| format!("{:?}", String::from_utf8(text).unwrap()))
        }
        Op::Rename(old, new) => none(world.rename(&at(old), &at(new), 0)),
        Op::Stat(path) => world.stat(&at(path)).map(shown),
        Op::Lstat(path) => world.lstat(&at(path)).map(shown),
    };
    result.map_err(|why| why.get().into())
}

/// All that is below a directory of the host, sorted: path, type, names, size.
fn tree_on_host(base: &str, below: &str, tree: &mut Vec<String>) {
    let mut names: Vec<_> = fs::read_dir(format!("{base}{below}"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for name in names {
        let path = format!("{below}/{name}");
        let of = fs::symlink_metadata(format!("{base}{path}")).unwrap();
        tree.push(format!("{path} {}", shown(of.mode(), of.nlink(), of.size())));
        if of.is_dir() {
            tree_on_host(base, &path, tree);
        }
    }
}

/// The same of a directory here.
fn tree_here(world: &World, below: &str, tree: &mut Vec<String>) {
    let mut names = world.list(if below.is_empty() { "/" } else { below }).unwrap();
    names.sort();
    for (name, kind) in names {
        let path = format!("{below}/{name}");
        let of = world.lstat(&path).unwrap();
        assert_eq!(kind, of.owner.file_type().to_dtype());
        tree.push(format!("{path} {}", shown(of.owner.mode, of.nlink.into(), of.size)));
        if kind == DT_DIR as u8 {
            tree_here(world, &path, tree);
        }
    }
}

/// A directory of the host's, in memory, which is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let parent = PathBuf::from("/dev/shm");
        let parent = if parent.is_dir() { parent } else { std::env::temp_dir() };
        let path = parent.join(format!("granule-vfs-{}-{n}", std::process::id()));
        fs::create_dir_all(path.join("w/w")).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    #[cfg_attr(miri, ignore = "needs files of the host")]
    fn calls_do_what_those_of_the_host_do(ops in prop::collection::vec(op(), 1..50)) {
        let scratch = Scratch::new();
        let base = scratch.0.to_str().unwrap();
        in_world("", |world, _| {
            world.mkdir("/w").unwrap();
            world.mkdir("/w/w").unwrap();
            for (n, op) in ops.iter().enumerate() {
                assert_eq!(here(world, op), on_host(base, op), "step {n}: {op:?}");
            }
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            tree_here(world, "", &mut ours);
            tree_on_host(base, "", &mut theirs);
            assert_eq!(ours, theirs);
        });
    }
}
