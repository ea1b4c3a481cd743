//! /proc and /sys as file systems, and files of processes that a test makes up.

use super::*;
use crate::arch::uaccess::KernelSink;
use crate::fs::mounts::{do_mount, mount_defaults, umount};
use crate::fs::vfs::tests::{World, in_world};
use crate::fs::vfs::{FdTable, Link, lseek, read, write};
use core::fmt;
use linux_raw_sys::general::*;
use std::format;
use std::string::String;
use std::vec::Vec;

std::thread_local! {
    static FILES: std::cell::RefCell<Option<KArc<FdTable>>> = const { std::cell::RefCell::new(None) };
}

/// Processes 1, 5 and 300; 5 runs.
struct Three;

fn path_of(pid: u32) -> Result<Path, Errno> {
    let root = crate::fs::vfs::mount::root()?;
    if pid == 5 { Ok(root) } else { Err(Errno::ENOENT) }
}

impl ProcPid for Three {
    fn lookup(&self, pid: u32) -> bool {
        [1, 5, 300].contains(&pid)
    }
    fn pids_from(&self, pid: u32) -> Option<u32> {
        [1, 5, 300].into_iter().find(|&there| there >= pid)
    }
    fn current_pid(&self) -> Option<u32> {
        Some(5)
    }
    fn files_of(&self, pid: u32) -> Option<KArc<FdTable>> {
        FILES.with_borrow(|files| files.clone()).filter(|_| pid == 5)
    }
    fn files(&self) -> &'static [PidFile] {
        const FILES: &[PidFile] = &[
            PidFile { name: "cmdline", mode: 0o444, kind: PidKind::Text(cmdline) },
            PidFile { name: "oom_score_adj", mode: 0o644, kind: PidKind::Store(cmdline, store) },
            PidFile { name: "changing", mode: 0o444, kind: PidKind::Text(changing) },
            PidFile { name: "root", mode: 0o777, kind: PidKind::Link(path_of) },
        ];
        FILES
    }
}

fn cmdline(pid: u32, out: &mut dyn fmt::Write) -> Result<(), Errno> {
    write!(out, "program {pid}").map_err(|_| Errno::EIO)
}

/// A text that is another one each time.
fn changing(_: u32, out: &mut dyn fmt::Write) -> Result<(), Errno> {
    std::thread_local! {
        static TIMES: std::cell::Cell<u8> = const { std::cell::Cell::new(0) };
    }
    TIMES.set(TIMES.get() + 1);
    write!(out, "{0}{0}{0}", TIMES.get()).map_err(|_| Errno::EIO)
}

fn store(_: u32, text: &str) -> Result<(), Errno> {
    text.parse::<i16>().map(drop).map_err(|_| Errno::EINVAL)
}

fn with_mounts(f: impl FnOnce(&World)) {
    in_world("mode=755", |world, _| {
        mount_defaults(&world.caller()).unwrap();
        register_proc_pid(&Three);
        f(world);
        FILES.take();
    });
}

#[test]
fn constant_files_are_read_through_the_mounts() {
    with_mounts(|world| {
        for path in ["/proc/iomem", "/proc/sys/kernel/pid_max", "/sys/devices/system/node/online"] {
            let mut text = String::new();
            crate::fs::read(path, &mut text).unwrap();
            assert_eq!(String::from_utf8(world.read(path).unwrap()).unwrap(), text, "{path}");
        }
        // Every file of the tree is found and listed, and opens.
        let mut paths = Vec::new();
        crate::fs::for_each_file(&mut |path| paths.push(String::from(path)));
        for path in &paths {
            let stat = world.stat(path).unwrap();
            assert_eq!(stat.owner.file_type(), FileType::Regular, "{path}");
            let (dir, name) = path.rsplit_once('/').unwrap();
            assert!(world.list(dir).unwrap().iter().any(|(there, _)| there == name), "{path}");
            let fd = world.open(path, O_PATH).unwrap();
            world.close(fd);
        }
        let stat = |path: &str| world.stat(path).unwrap();
        assert_eq!(stat("/proc/slabinfo").owner.mode, S_IFREG | 0o400);
        assert_ne!(stat("/proc/sys").id, stat("/proc/sys/kernel").id);
        assert_eq!(stat("/proc/sys/..").id, stat("/proc").id);
        world.write("/proc/sys/kernel/pid_max", b"4000\n").unwrap();
        assert_eq!(world.read("/proc/sys/kernel/pid_max").unwrap(), b"4000\n");
        assert_eq!(world.write("/proc/sys/kernel/pid_max", b"no"), Err(Errno::EINVAL));
        assert_eq!(world.write("/proc/new", b""), Err(Errno::EACCES));
        assert_eq!(world.mkdir("/proc/new"), Err(Errno::EPERM));
        assert_eq!(world.unlink("/proc/meminfo"), Err(Errno::EPERM));
        assert_eq!(world.rmdir("/proc/sys"), Err(Errno::EPERM));
        assert_eq!(world.rename("/proc/meminfo", "/proc/x", 0), Err(Errno::EPERM));
        assert_eq!(world.stat("/proc/none").err(), Some(Errno::ENOENT));
        assert_eq!(world.stat("/proc/meminfo/x").err(), Some(Errno::ENOTDIR));
    });
}

#[test]
fn a_text_that_is_read_in_pieces_belongs_together() {
    with_mounts(|world| {
        let caller = world.caller();
        let whole = world.read("/proc/zoneinfo").unwrap();
        let fd = world.open("/proc/zoneinfo", O_RDONLY).unwrap();
        let (mut bytes, mut all) = ([0; 7], Vec::new());
        loop {
            let mut sink = KernelSink::new(&mut bytes);
            let len = read(&caller, fd, &mut sink).unwrap();
            if len == 0 {
                break;
            }
            all.extend_from_slice(&bytes[..len]);
        }
        assert_eq!(all.len(), whole.len());
        let other = world.open("/proc/1/changing", O_RDONLY).unwrap();
        let one = || {
            let mut byte = [0; 1];
            read(&caller, other, &mut KernelSink::new(&mut byte)).map(|len| (len, byte[0]))
        };
        assert_eq!(
            [one(), one(), one(), one()],
            [Ok((1, b'1')), Ok((1, b'1')), Ok((1, b'1')), Ok((0, 0))]
        );
        assert_eq!(lseek(&caller, fd, 0, SEEK_SET), Ok(0));
        assert_eq!(read(&caller, fd, &mut KernelSink::new(&mut bytes)), Ok(7));
        assert_eq!(bytes, whole[..7]);
        let text = world.read("/proc/mounts").unwrap();
        let text = String::from_utf8(text).unwrap();
        for line in [
            "tmpfs / tmpfs rw,",
            "proc /proc proc rw,",
            "sysfs /sys sysfs rw,",
            "tmpfs /dev/shm tmpfs",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(world.read("/proc/filesystems").unwrap().starts_with(b"nodev\tsysfs\n"));
    });
}

#[test]
fn processes_have_directories() {
    with_mounts(|world| {
        let files = KArc::new(FdTable::new(), Gfp::GFP_KERNEL).unwrap();
        let own = World { files: FdTable::new(), fs: world.fs.copy(), cred: world.cred };
        own.write("/f", b"contents").unwrap();
        let fd = own.open("/f", O_RDWR).unwrap();
        files.install(own.files.get(fd).unwrap(), false, 3, 100).unwrap();
        own.close(fd);
        FILES.set(Some(files.clone()));
        assert_eq!(world.read("/proc/300/cmdline").unwrap(), b"program 300");
        assert_eq!(world.read("/proc/self/cmdline").unwrap(), b"program 5");
        assert_eq!(world.readlink("/proc/self").unwrap(), b"5");
        assert_eq!(world.readlink("/proc/thread-self").unwrap(), b"5/task/5");
        assert_eq!(world.read("/proc/thread-self/cmdline").unwrap(), b"program 5");
        for path in
            ["/proc/2", "/proc/05", "/proc/+5", "/proc/-1", "/proc/5/none", "/proc/5/task/1"]
        {
            assert_eq!(world.stat(path).err(), Some(Errno::ENOENT), "{path}");
        }
        let names: Vec<_> =
            world.list("/proc").unwrap().into_iter().map(|(name, _)| name).collect();
        for name in ["1", "5", "300", "self", "meminfo", "mounts", "sys"] {
            assert_eq!(names.iter().filter(|&there| there == name).count(), 1, "{name}");
        }
        let names: Vec<_> =
            world.list("/proc/5").unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["fd", "mounts", "task", "cmdline", "oom_score_adj", "changing", "root"]);
        assert_eq!(world.list("/proc/5/task").unwrap(), [("5".into(), DT_DIR as u8)]);
        world.write("/proc/5/oom_score_adj", b"-17\n").unwrap();
        assert_eq!(world.write("/proc/5/oom_score_adj", b"x"), Err(Errno::EINVAL));
        assert_eq!(world.write("/proc/5/cmdline", b"x"), Err(Errno::EACCES));
        // Links to places: they lead there without a path, and show one.
        assert_eq!(world.list("/proc/5/fd").unwrap(), [("3".into(), DT_LNK as u8)]);
        assert_eq!(world.readlink("/proc/5/fd/3").unwrap(), b"/f");
        assert_eq!(world.read("/proc/self/fd/3").unwrap(), b"contents");
        world.unlink("/f").unwrap();
        assert_eq!(world.readlink("/proc/5/fd/3").unwrap(), b"/f (deleted)");
        assert_eq!(world.read("/proc/self/fd/3").unwrap(), b"contents");
        assert_eq!(world.stat("/proc/5/fd/4").err(), Some(Errno::ENOENT));
        assert_eq!(world.stat("/proc/5/root/proc/5/root").unwrap().id, world.stat("/").unwrap().id);
        assert_eq!(world.stat("/proc/1/root").err(), Some(Errno::ENOENT));
        let link = world.lstat("/proc/5/root").unwrap();
        assert_eq!(link.owner.file_type(), FileType::Symlink);
        let node = Node::Pid(pid::Node::Fd(5, 3));
        let Node::Pid(place) = node else { unreachable!() };
        assert!(matches!(place.get_link(), Ok(Link::Jump(_))));
        drop(files);
    });
}

#[test]
fn file_systems_are_mounted_by_name() {
    with_mounts(|world| {
        let caller = world.caller();
        world.mkdir("/mnt").unwrap();
        let mount = |kind: &str, flags, options: &str| {
            do_mount(&caller, b"my disk", b"/mnt", kind.as_bytes(), flags, options.as_bytes())
        };
        assert_eq!(mount("ext4", 0, ""), Err(Errno::ENODEV));
        assert_eq!(mount("tmpfs", 0, "size=x"), Err(Errno::EINVAL));
        assert_eq!(mount("tmpfs", MS_BIND, ""), Err(Errno::EINVAL));
        let missing = do_mount(&caller, b"", b"/none", b"tmpfs", 0, b"");
        assert_eq!(missing, Err(Errno::ENOENT));
        mount("tmpfs", 0, "size=1m").unwrap();
        world.write("/mnt/f", b"1").unwrap();
        // One over the other hides it.
        mount("tmpfs", MS_RDONLY | MS_NOEXEC | MS_NOSUID | MS_NODEV, "").unwrap();
        assert_eq!(world.write("/mnt/g", b""), Err(Errno::EROFS));
        assert_eq!(world.mkdir("/mnt/g"), Err(Errno::EROFS));
        assert_eq!(world.stat("/mnt/f").err(), Some(Errno::ENOENT));
        let text = String::from_utf8(world.read("/proc/self/mounts").unwrap()).unwrap();
        assert!(text.contains("my\\040disk /mnt tmpfs rw,relatime,size=1024k 0 0\n"), "{text}");
        assert!(text.contains("/mnt tmpfs ro,nosuid,nodev,noexec,relatime 0 0\n"), "{text}");
        umount(&caller, b"/mnt", 0).unwrap();
        assert_eq!(world.read("/mnt/f").unwrap(), b"1");
        let fd = world.open("/mnt/f", O_RDWR).unwrap();
        assert_eq!(umount(&caller, b"/mnt", 0), Err(Errno::EBUSY));
        assert_eq!(umount(&caller, b"/mnt/f", 0), Err(Errno::EINVAL));
        assert_eq!(umount(&caller, b"/dev", 0), Err(Errno::EBUSY));
        umount(&caller, b"/mnt", MNT_DETACH).unwrap();
        assert_eq!(world.stat("/mnt/f").err(), Some(Errno::ENOENT));
        assert_eq!(write(&caller, fd, &mut b"still".as_slice()), Ok(5));
        assert_eq!(umount(&caller, b"/mnt", 0), Err(Errno::EINVAL));
        assert_eq!(umount(&caller, b"/", 0), Err(Errno::EINVAL));
        world.close(fd);
        let path = format!("/mnt{}", "/x".repeat(2));
        assert_eq!(world.stat(&path).err(), Some(Errno::ENOENT));
    });
}
