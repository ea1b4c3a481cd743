//! Archives, whole and damaged ones, plain and compressed.

use super::*;
use crate::fs::vfs::tests::{World, in_world};
use crate::fs::vfs::{FileType, makedev, statfs};
use crate::mm::slab::{FailSlab, set_failslab};
use linux_raw_sys::general::*;
use miniz_oxide::deflate::compress_to_vec;
use proptest::prelude::*;
use std::format;
use std::vec::Vec;

/// An entry of an archive.
#[derive(Clone)]
struct Item {
    name: Vec<u8>,
    mode: u32,
    body: Vec<u8>,
    ino: u32,
    nlink: u32,
    dev: (u32, u32),
}

fn item(name: &str, mode: u32, body: &[u8]) -> Item {
    Item { name: name.into(), mode, body: body.to_vec(), ino: 1, nlink: 1, dev: (0, 0) }
}

/// An archive of entries and the trailer, in newc or with checksums.
fn archive(items: &[Item], sums: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in items.iter().chain([&item("TRAILER!!!", 0, b"")]) {
        let sum = item.body.iter().map(|&byte| u32::from(byte)).sum::<u32>();
        let fields = [
            item.ino,
            item.mode,
            1000,
            100,
            item.nlink,
            12345,
            item.body.len() as u32,
            8,
            1,
            item.dev.0,
            item.dev.1,
            item.name.len() as u32 + 1,
            if sums { sum } else { 0 },
        ];
        bytes.extend(if sums { b"070702" } else { b"070701" });
        fields.iter().for_each(|field| bytes.extend(format!("{field:08x}").as_bytes()));
        bytes.extend(&item.name);
        bytes.push(0);
        while bytes.len() % 4 != 0 {
            bytes.push(0);
        }
        bytes.extend(&item.body);
        while bytes.len() % 4 != 0 {
            bytes.push(0);
        }
    }
    bytes
}

/// A member of a gzip file, with the optional fields of a header.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut member = vec![0x1f, 0x8b, 8, 0x1e, 0, 0, 0, 0, 0, 3];
    member.extend([3, 0, 1, 2, 3]);
    member.extend(b"name\0comment\0\xab\xcd");
    member.extend(compress_to_vec(bytes, 6));
    let crc = bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 != 0 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    });
    member.extend((!crc).to_le_bytes());
    member.extend((bytes.len() as u32).to_le_bytes());
    member
}

use std::vec;

fn sample() -> Vec<Item> {
    let text: Vec<u8> = (0..90_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let hard =
        |name: &str, body: &[u8]| Item { ino: 9, nlink: 2, ..item(name, S_IFREG | 0o640, body) };
    vec![
        item(".", S_IFDIR | 0o711, b""),
        item("bin", S_IFDIR | 0o755, b""),
        item("bin/prog", S_IFREG | 0o4755, &text),
        item("./bin/empty", S_IFREG | 0o600, b""),
        item("/lib", S_IFLNK | 0o777, b"bin"),
        item("lib/more", S_IFREG | 0o644, b"12345"),
        Item { dev: (1, 3), ..item("null", S_IFCHR | 0o666, b"") },
        item("pipe", S_IFIFO | 0o600, b""),
        hard("one", b""),
        hard("bin/two", b"shared"),
    ]
}

fn check(world: &World) {
    let stat = |path: &str| world.lstat(path).unwrap();
    let prog = stat("/bin/prog");
    assert_eq!((prog.owner.mode, prog.owner.uid, prog.owner.gid), (S_IFREG | 0o4755, 1000, 100));
    assert_eq!((prog.mtime.sec, prog.size), (12345, 90_000));
    assert_eq!(world.read("/bin/prog").unwrap(), sample()[2].body);
    assert_eq!((stat("/bin/empty").size, stat("/").owner.mode & 0o7777), (0, 0o711));
    assert_eq!(world.readlink("/lib").unwrap(), b"bin");
    assert_eq!(world.read("/bin/more").unwrap(), b"12345");
    assert_eq!(stat("/null").rdev, makedev(1, 3));
    assert_eq!(stat("/pipe").owner.file_type(), FileType::Fifo);
    assert_eq!(stat("/one").id, stat("/bin/two").id);
    assert_eq!(
        (stat("/one").nlink, world.read("/one").unwrap().as_slice()),
        (2, b"shared".as_slice())
    );
}

fn on(world: &World, bytes: &[u8]) -> Result<Unpacked, UnpackError> {
    unpack(&world.caller(), bytes)
}

#[test]
fn archives_become_files() {
    let plain = archive(&sample(), false);
    let more = archive(&[item("later", S_IFREG | 0o644, b"x"), item("one", S_IFDIR, b"")], true);
    let inputs = [
        plain.clone(),
        archive(&sample(), true),
        gzip(&plain),
        [gzip(&plain), vec![0; 515], plain.clone()].concat(),
        [vec![0; 8], plain.clone()].concat(),
    ];
    for input in inputs {
        in_world("mode=755", |world, _| {
            let unpacked = on(world, &input).unwrap();
            assert_eq!((unpacked.entries % 10, unpacked.skipped), (0, 0));
            check(world);
        });
    }
    // One archive behind another changes what the first made; links don't reach over.
    for both in
        [[plain.clone(), more.clone()].concat(), gzip(&[plain.clone(), more.clone()].concat())]
    {
        in_world("", |world, _| {
            let unpacked = on(world, &both).unwrap();
            assert_eq!((unpacked.entries, unpacked.bytes), (12, 90_012));
            assert_eq!(world.read("/later").unwrap(), b"x");
            assert_eq!(world.stat("/one").unwrap().owner.file_type(), FileType::Directory);
            assert_eq!(world.stat("/bin/two").unwrap().nlink, 1);
        });
    }
}

/// The end of a piece may be anywhere.
#[test]
fn pieces_of_any_size_are_one_archive() {
    let plain = archive(&sample(), true);
    for size in [1, 2, 3, 7, 109, 110, 111, 4095] {
        in_world("mode=755", |world, _| {
            let caller = world.caller();
            let mut reader = cpio::Reader::new(&caller);
            plain.chunks(size).for_each(|piece| reader.feed(piece).unwrap());
            reader.end().unwrap();
            check(world);
        });
    }
}

#[test]
fn hostile_names_lead_nowhere_else() {
    let long = "n".repeat(4095);
    let part = format!("d/{}", "n".repeat(256));
    let items: Vec<_> =
        ["../../../up", "/abs", "", "/", ".", "..", "a/../../b", "none/x", &long, &part, "x//y/"]
            .iter()
            .map(|name| item(name, S_IFREG | 0o644, b"z"))
            .chain([
                item("evil", S_IFLNK, b"/target"),
                item("evil", S_IFREG | 0o644, b"file"),
                item("loop", S_IFLNK, b"loop"),
                item("loop/x", S_IFREG | 0o644, b"z"),
                item("strange", 0, b"z"),
                item("strange", 0o170_000, b"z"),
                item("link", S_IFLNK, &[b'x'; 5000]),
                item("none", S_IFLNK, b""),
                item("abs", S_IFDIR, b"with a body"),
            ])
            .collect();
    in_world("", |world, _| {
        let unpacked = on(world, &archive(&items, false)).unwrap();
        assert_eq!(unpacked.entries, items.len() as u64);
        let mut names: Vec<_> =
            world.list("/").unwrap().into_iter().map(|(name, _)| name).collect();
        names.sort();
        assert_eq!(names, ["abs", "evil", "loop", "up"]);
        // What is written is written to the file of that name, and not where a link leads.
        assert_eq!(world.read("/evil").unwrap(), b"file");
        assert!(world.stat("/abs").unwrap().owner.mode & S_IFDIR != 0);
    });
}

#[test]
fn damage_is_an_error_that_says_what_it_is() {
    let good = archive(&sample(), true);
    let at = |n: usize, byte: u8| {
        let mut bad = good.clone();
        bad[n] = byte;
        bad
    };
    let packed = gzip(&good);
    let flip = |n: usize| {
        let mut bad = packed.clone();
        bad[n] ^= 0x55;
        bad
    };
    let end = packed.len();
    for (bytes, expected) in [
        (b"garbage".to_vec(), UnpackError::Junk),
        ([good.clone(), b"x".to_vec()].concat(), UnpackError::Junk),
        (at(5, b'9'), UnpackError::NoMagic),
        (at(20, b'g'), UnpackError::Malformed),
        (at(20, b'+'), UnpackError::Malformed),
        (good[..300].to_vec(), UnpackError::Truncated),
        (b"0707".to_vec(), UnpackError::Truncated),
        (good[..good.len() - 4].to_vec(), UnpackError::Truncated),
        (at(1000, 0x77), UnpackError::Checksum),
        (flip(3), UnpackError::Damaged),
        (flip(end - 1), UnpackError::Damaged),
        (flip(end - 5), UnpackError::Damaged),
        (packed[..20].to_vec(), UnpackError::Truncated),
        (packed[..end - 3].to_vec(), UnpackError::Truncated),
        (packed[..end / 2].to_vec(), UnpackError::Truncated),
        (gzip(&good[..500]), UnpackError::Truncated),
    ] {
        in_world("", |world, _| assert_eq!(on(world, &bytes), Err(expected)));
    }
    in_world("size=64k", |world, _| {
        assert_eq!(on(world, &good), Err(UnpackError::Write(Errno::ENOSPC)));
    });
    // A length that the archive doesn't have.
    let mut huge = archive(&[item("huge", S_IFREG, b"abc")], false);
    huge[54..62].copy_from_slice(b"ffffffff");
    in_world("", |world, _| assert_eq!(on(world, &huge), Err(UnpackError::Truncated)));
}

#[test]
fn want_of_memory_ends_the_unpacking() {
    let packed = gzip(&archive(&sample(), false));
    let mut failures = 0;
    for space in 0..60 {
        in_world("mode=755", |world, _| {
            set_failslab(Some(FailSlab { interval: 1, probability: 100, space, times: 1 }));
            let result = on(world, &packed);
            failures += set_failslab(None);
            if result.is_err() {
                assert_eq!(result, Err(UnpackError::Write(Errno::ENOMEM)));
                on(world, &packed).unwrap();
            }
            check(world);
        });
    }
    assert!(failures > 30, "{failures} allocations failed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the bytes are, nothing panics and nothing is lost.
    #[test]
    fn damaged_archives_lose_nothing(
        packed in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut items = sample();
        items[2].body.truncate(500);
        let mut bytes = archive(&items, false);
        if packed {
            bytes = gzip(&bytes);
        }
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        in_world("size=4m", |world, _| {
            let _result = on(world, &bytes);
            prop_assert!(statfs(&world.caller(), b"/").unwrap().files > 0);
            Ok(())
        })?;
    }
}
