//! Structures, permissions, devices, CPUs side by side.

use super::*;
use crate::fs::devtmpfs;

#[test]
fn structures_have_what_stat_tells() {
    in_world("", |world, _| {
        world.write("/f", &[1; 5000]).unwrap();
        world.link("/f", "/g").unwrap();
        let kstat = world.stat("/f").unwrap();
        let bytes = kstat.to_stat();
        let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
        let mode = core::mem::offset_of!(linux_raw_sys::general::stat, st_mode);
        let mode = u32::from_ne_bytes(bytes[mode..mode + 4].try_into().unwrap());
        assert_eq!(
            (mode, word(core::mem::offset_of!(linux_raw_sys::general::stat, st_size))),
            (S_IFREG | 0o644, 5000)
        );
        assert_eq!(word(core::mem::offset_of!(linux_raw_sys::general::stat, st_ino)), kstat.id.ino);
        assert_eq!(word(core::mem::offset_of!(linux_raw_sys::general::stat, st_blocks)), 16);
        let bytes = kstat.to_statx();
        let at = core::mem::offset_of!(linux_raw_sys::general::statx, stx_nlink);
        assert_eq!(u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap()), 2);
        let bytes = statfs(&world.caller(), b"/").unwrap().to_statfs();
        assert_eq!(u64::from_ne_bytes(bytes[..8].try_into().unwrap()), u64::from(TMPFS_MAGIC));
        for (major_of, minor_of) in [(1, 3), (4095, 1 << 19), (8, 256)] {
            let dev = makedev(major_of, minor_of);
            assert_eq!((major(dev), minor(dev)), (major_of, minor_of));
        }
        assert_eq!(makedev(8, 1), 0x801);
    });
}

#[test]
fn permissions_are_those_of_the_mode() {
    in_world("mode=755", |root, _| {
        root.mkdir("/open").unwrap();
        fchmodat(&root.caller(), AT_FDCWD, b"/open", 0o1777, 0).unwrap();
        root.write("/mine", b"x").unwrap();
        fchmodat(&root.caller(), AT_FDCWD, b"/mine", 0o640, 0).unwrap();
        let cred = Cred { uid: 7, gid: 8, caps: Capabilities::NONE };
        let user = Caller { cred: &cred, ..root.caller() };
        let open = |path: &[u8], flags| openat(&user, AT_FDCWD, path, flags, 0o666);
        assert_eq!(open(b"/mine", O_RDONLY), Err(Errno::EACCES));
        assert_eq!(open(b"/new", O_CREAT), Err(Errno::EACCES));
        fchownat(&root.caller(), AT_FDCWD, b"/mine", u32::MAX, 8, 0).unwrap();
        assert!(open(b"/mine", O_RDONLY).is_ok());
        assert_eq!(open(b"/mine", O_RDWR), Err(Errno::EACCES));
        // Root may write what nobody may, and execute only what somebody may.
        let access =
            |caller: &Caller<'_>, mode| faccessat(caller, caller.cred, AT_FDCWD, b"/mine", mode, 0);
        assert_eq!(access(&root.caller(), 2), Ok(()));
        assert_eq!(access(&root.caller(), 1), Err(Errno::EACCES));
        assert_eq!((access(&user, 4), access(&user, 2)), (Ok(()), Err(Errno::EACCES)));
        assert_eq!(access(&user, 8), Err(Errno::EINVAL));
        // In a sticky directory each takes away what is theirs.
        root.write("/open/root", b"").unwrap();
        open(b"/open/user", O_CREAT | O_WRONLY).unwrap();
        assert_eq!(unlinkat(&user, AT_FDCWD, b"/open/root", 0), Err(Errno::EPERM));
        let renamed = renameat2(&user, AT_FDCWD, b"/open/user", AT_FDCWD, b"/open/root", 0);
        assert_eq!(renamed, Err(Errno::EPERM));
        assert_eq!(unlinkat(&user, AT_FDCWD, b"/open/user", 0), Ok(()));
        assert_eq!(fchmodat(&user, AT_FDCWD, b"/mine", 0o777, 0), Err(Errno::EPERM));
        assert_eq!(fchownat(&user, AT_FDCWD, b"/mine", 7, 8, 0), Err(Errno::EPERM));
        assert_eq!(mknodat(&user, AT_FDCWD, b"/open/dev", S_IFCHR, 0x103), Err(Errno::EPERM));
        let utimes = |times| utimensat(&user, AT_FDCWD, Some(b"/mine"), times, 0);
        let time = NewTime { sec: 5, nsec: 6 };
        assert_eq!(
            (utimes(None), utimes(Some([time; 2]))),
            (Err(Errno::EACCES), Err(Errno::EPERM))
        );
        let utimes = |times| utimensat(&root.caller(), AT_FDCWD, Some(b"/mine"), Some(times), 0);
        assert_eq!(utimes([time, NewTime { sec: 0, nsec: UTIME_OMIT.into() }]), Ok(()));
        assert_eq!(root.stat("/mine").unwrap().atime, Timespec { sec: 5, nsec: 6 });
        assert_eq!(utimes([NewTime { sec: 0, nsec: 1_000_000_000 }; 2]), Err(Errno::EINVAL));
        // A directory that can't be searched hides what is in it.
        root.mkdir("/dir").unwrap();
        root.write("/dir/f", b"").unwrap();
        fchmodat(&root.caller(), AT_FDCWD, b"/dir", 0o600, 0).unwrap();
        for path in [b"/dir/f".as_slice(), b"/dir/.", b"/dir/none"] {
            assert_eq!(fstatat(&user, AT_FDCWD, path, 0).err(), Some(Errno::EACCES));
        }
        // A set-id bit goes with a write of somebody else, and with a new owner.
        fchmodat(&root.caller(), AT_FDCWD, b"/mine", 0o6777, 0).unwrap();
        let fd = open(b"/mine", O_WRONLY).unwrap() as i32;
        assert_eq!(write(&user, fd, &mut b"y".as_slice()), Ok(1));
        assert_eq!(root.stat("/mine").unwrap().owner.mode & 0o7777, 0o777);
        assert_eq!(root.fs.set_umask(0o077), 0o022);
        root.write("/private", b"").unwrap();
        assert_eq!(root.stat("/private").unwrap().owner.mode, S_IFREG | 0o600);
    });
}

#[test]
fn devices_are_there_and_do_what_they_do() {
    in_world("", |world, _| {
        let caller = world.caller();
        world.mkdir("/dev").unwrap();
        let dev = path_at(&caller, AT_FDCWD, b"/dev", true, false).unwrap();
        mount::attach(&devtmpfs::new_mount().unwrap(), Some(&dev)).unwrap();
        drop(dev);
        let mut bytes = [1; 10];
        let open = |name: &str| world.open(&format!("/dev/{name}"), O_RDWR).unwrap();
        let (null, zero, full) = (open("null"), open("zero"), open("full"));
        assert_eq!(read(&caller, null, &mut KernelSink::new(&mut bytes)), Ok(0));
        assert_eq!(write(&caller, null, &mut [0; 500].as_slice()), Ok(500));
        assert_eq!(read(&caller, zero, &mut KernelSink::new(&mut bytes)), Ok(10));
        assert_eq!(bytes, [0; 10]);
        assert_eq!(read(&caller, full, &mut KernelSink::new(&mut bytes)), Ok(10));
        assert_eq!(write(&caller, full, &mut b"x".as_slice()), Err(Errno::ENOSPC));
        assert_eq!(ioctl(&caller, null, 0x5401, None), Err(Errno::ENOTTY));
        assert_eq!(fallocate(&caller, null, 0, 0, 1), Err(Errno::ENODEV));
        let stat = world.stat("/dev/null").unwrap();
        assert_eq!((stat.owner.mode, stat.rdev), (S_IFCHR | 0o666, makedev(1, 3)));
        let zero = world.files.get(zero).unwrap();
        assert!(matches!(OpenFile::mmap(&zero, false, true, 4096), Ok(MmapKind::Anonymous)));
        assert!(matches!(OpenFile::mmap(&zero, true, true, 4096), Ok(MmapKind::File(_))));
        drop(zero);
        let null = world.files.get(null).unwrap();
        assert_eq!(OpenFile::mmap(&null, false, true, 4096).err(), Some(Errno::ENODEV));
        mknodat(&caller, AT_FDCWD, b"/none", S_IFCHR, makedev(99, 9)).unwrap();
        mknodat(&caller, AT_FDCWD, b"/fifo", S_IFIFO, 0).unwrap();
        mknodat(&caller, AT_FDCWD, b"/null", S_IFCHR, makedev(1, 3)).unwrap();
        assert_eq!(world.open("/none", O_RDONLY), Err(Errno::ENXIO));
        assert_eq!(world.open("/fifo", O_RDONLY), Err(Errno::ENXIO));
        assert!(world.open("/null", O_WRONLY).is_ok());
        // In the mount, its `..` leads out of it, and it can't be taken away.
        assert_eq!(world.rmdir("/dev"), Err(Errno::EBUSY));
        assert_eq!(world.rename("/dev", "/d", 0), Err(Errno::EBUSY));
        assert_eq!(world.link("/dev/null", "/other"), Err(Errno::EXDEV));
        assert_eq!(world.rename("/dev/null", "/other", 0), Err(Errno::EXDEV));
        world.chdir("/dev").unwrap();
        assert_eq!(
            (world.getcwd().unwrap().as_str(), world.stat("../none").is_ok()),
            ("/dev", true)
        );
        assert_ne!(world.stat("/dev").unwrap().id.dev, world.stat("/").unwrap().id.dev);
        let mut text = String::new();
        mount::show_mounts(&mut text).unwrap();
        assert_eq!(
            text,
            "tmpfs / tmpfs rw,relatime 0 0\ndevtmpfs /dev devtmpfs rw,relatime,mode=755 0 0\n"
        );
        world.chdir("/").unwrap();
    });
}

/// Two CPUs make, move and remove the same names.
#[test]
fn cpus_change_directories_at_once() {
    in_world("", |world, machine| {
        world.mkdir("/a").unwrap();
        world.mkdir("/b").unwrap();
        machine.on_cpus(2, |cpu| {
            let mut random = crate::prandom::Random::new(cpu as u64 + 1);
            for _ in 0..400 {
                let mut name = || {
                    let dir = if random.below(2) == 0 { "a" } else { "b" };
                    format!("/{dir}/{}", random.below(4))
                };
                let (one, two) = (name(), name());
                let result = match random.below(6) {
                    0 => world.write(&one, b"x"),
                    1 => world.unlink(&one),
                    2 => world.mkdir(&one),
                    3 => world.rmdir(&one),
                    4 => world.link(&one, &two),
                    _ => world.rename(&one, &two, 0),
                };
                if let Err(why) = result {
                    let expected = [
                        Errno::ENOENT,
                        Errno::EEXIST,
                        Errno::EISDIR,
                        Errno::ENOTDIR,
                        Errno::EPERM,
                        Errno::EINVAL,
                        Errno::ENOTEMPTY,
                    ];
                    assert!(expected.contains(&why), "{why:?}");
                }
            }
        });
        // Names and counts agree.
        for dir in ["/a", "/b"] {
            let names = world.list(dir).unwrap();
            let dirs = names.iter().filter(|(_, kind)| *kind == DT_DIR as u8).count();
            let stat = world.stat(dir).unwrap();
            assert_eq!((stat.nlink as usize, stat.size), (2 + dirs, 20 * (2 + names.len() as u64)));
            for (name, kind) in names {
                let path = format!("{dir}/{name}");
                match kind == DT_DIR as u8 {
                    true => world.rmdir(&path).unwrap(),
                    false => world.unlink(&path).unwrap(),
                }
            }
        }
        let statfs = statfs(&world.caller(), b"/").unwrap();
        assert_eq!(statfs.files - statfs.ffree, 3);
    });
}
