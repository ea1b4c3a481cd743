//! Renames with flags, and those that fail; each allocation of a change that fails.

use super::*;
use crate::mm::slab::{FailSlab, set_failslab};

fn ino(world: &World, path: &str) -> u64 {
    world.lstat(path).unwrap().id.ino
}

#[test]
fn two_names_are_exchanged() {
    in_world("", |world, _| {
        world.mkdir("/a").unwrap();
        world.mkdir("/b").unwrap();
        world.mkdir("/a/dir").unwrap();
        world.write("/b/file", b"x").unwrap();
        let (dir, file) = (ino(world, "/a/dir"), ino(world, "/b/file"));
        world.rename("/a/dir", "/b/file", RENAME_EXCHANGE).unwrap();
        assert_eq!((ino(world, "/b/file"), ino(world, "/a/dir")), (dir, file));
        let nlink = |path: &str| world.stat(path).unwrap().nlink;
        assert_eq!((nlink("/a"), nlink("/b"), nlink("/b/file")), (2, 3, 2));
        assert_eq!(ino(world, "/b/file/.."), ino(world, "/b"));
        // In one directory.
        world.write("/b/other", b"").unwrap();
        world.rename("/b/file", "/b/other", RENAME_EXCHANGE).unwrap();
        assert_eq!(ino(world, "/b/other"), dir);
        let exchange = |one: &str, two: &str| world.rename(one, two, RENAME_EXCHANGE);
        assert_eq!(exchange("/b/other", "/none"), Err(Errno::ENOENT));
        assert_eq!(exchange("/none", "/b/other"), Err(Errno::ENOENT));
        assert_eq!(exchange("/b", "/b/other"), Err(Errno::EINVAL));
        assert_eq!(exchange("/b/other", "/b"), Err(Errno::EINVAL));
        assert_eq!(exchange("/b/other/", "/a/dir/"), Err(Errno::ENOTDIR));
        assert_eq!(exchange("/a", "/b").map(|()| nlink("/")), Ok(4));
        assert_eq!(world.list("/b").unwrap().len(), 1);
    });
}

#[test]
fn a_name_is_not_replaced_against_the_caller_s_will() {
    in_world("", |world, _| {
        world.write("/a", b"a").unwrap();
        world.write("/b", b"b").unwrap();
        assert_eq!(world.rename("/a", "/b", RENAME_NOREPLACE), Err(Errno::EEXIST));
        assert_eq!(world.rename("/a", "/c", RENAME_NOREPLACE), Ok(()));
        assert_eq!(
            world.rename("/c", "/d", RENAME_NOREPLACE | RENAME_EXCHANGE),
            Err(Errno::EINVAL)
        );
        assert_eq!(world.rename("/c", "/d", RENAME_WHITEOUT), Err(Errno::EINVAL));
        assert_eq!(world.rename("/c", "/", RENAME_NOREPLACE), Err(Errno::EEXIST));
        assert_eq!(world.rename("/c", "/", 0), Err(Errno::EBUSY));
        assert_eq!(world.rename("/.", "/x", 0), Err(Errno::EBUSY));
        assert_eq!(
            world.rename("/c", &format!("/{}", "n".repeat(256)), 0),
            Err(Errno::ENAMETOOLONG)
        );
        // What is replaced is gone, but for who has it open.
        let fd = world.open("/b", O_RDONLY).unwrap();
        world.rename("/c", "/b", 0).unwrap();
        assert_eq!(
            (world.read("/b").unwrap(), fstat(&world.caller(), fd).unwrap().nlink),
            (vec![b'a'], 0)
        );
    });
}

type Change = fn(&World) -> Result<(), Errno>;

/// Each allocation of each change fails once: the change is refused as a whole.
#[test]
fn want_of_memory_leaves_directories_as_they_were() {
    let changes: [(u32, Change); 8] = [
        (3, |world| world.mkdir("/d/new")),
        (3, |world| world.write("/d/new", b"x")),
        (3, |world| world.symlink("target", "/d/new")),
        (2, |world| world.link("/d/f", "/d/new")),
        (2, |world| world.rename("/d/f", "/e/f", 0)),
        (2, |world| world.rename("/d/f", "/e", RENAME_EXCHANGE)),
        (0, |world| world.unlink("/d/f")),
        (2, |world| world.chdir("/link/../link")),
    ];
    for (least, change) in changes {
        let mut failures = 0;
        for space in 0..12 {
            in_world("", |world, _| {
                world.mkdir("/d").unwrap();
                world.mkdir("/e").unwrap();
                world.symlink("d", "/link").unwrap();
                for name in ["f", "g", "h", "i"] {
                    world.write(&format!("/d/{name}"), b"").unwrap();
                }
                let tree = |of: &World| (of.list("/d").unwrap(), of.list("/e").unwrap());
                let before = tree(world);
                let free = || statfs(&world.caller(), b"/").unwrap().ffree;
                let inodes = free();
                set_failslab(Some(FailSlab { interval: 1, probability: 100, space, times: 1 }));
                let result = change(world);
                failures += set_failslab(None);
                if let Err(why) = result {
                    assert_eq!(why, Errno::ENOMEM);
                    // A file that was made before its bytes had no memory is there.
                    if world.stat("/d/new").is_err() {
                        assert_eq!((tree(world), free()), (before, inodes));
                        assert_eq!(change(world), Ok(()));
                    }
                }
                world.chdir("/").unwrap();
            });
        }
        assert!(failures >= least, "{failures} allocations failed");
    }
}
