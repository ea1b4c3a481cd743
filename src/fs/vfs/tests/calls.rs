//! Descriptors, positions, lists of directories, limits.

use super::*;

#[test]
fn descriptors_are_the_lowest_that_are_free() {
    in_world("", |world, _| {
        let caller = world.caller();
        let fds: Vec<_> = (0..200).map(|_| world.open("/", O_RDONLY).unwrap()).collect();
        assert!(fds.iter().copied().eq(0..200));
        world.close(3);
        world.close(1);
        assert_eq!((dup(&caller, 0), world.open("/", O_CLOEXEC)), (Ok(1), Ok(3)));
        assert_eq!(close(&caller, 500), Err(Errno::EBADF));
        assert_eq!(close(&caller, -1), Err(Errno::EBADF));
        assert_eq!(dup3(&caller, 0, 0, 0), Err(Errno::EINVAL));
        assert_eq!(dup3(&caller, 0, 1024, 0), Err(Errno::EBADF));
        assert_eq!(dup3(&caller, 999, 7, 0), Err(Errno::EBADF));
        assert_eq!(dup3(&caller, 0, 900, O_CLOEXEC), Ok(900));
        let getfd = |fd| fcntl(&caller, fd, F_GETFD, 0);
        assert_eq!((getfd(900), getfd(1), getfd(3)), (Ok(1), Ok(0), Ok(1)));
        assert_eq!(fcntl(&caller, 5, F_DUPFD, 198), Ok(200));
        assert_eq!(fcntl(&caller, 5, F_DUPFD_CLOEXEC, 1000), Ok(1000));
        assert_eq!(fcntl(&caller, 5, F_DUPFD, 1024), Err(Errno::EINVAL));
        assert_eq!(fcntl(&caller, 5, 9999, 0), Err(Errno::EINVAL));
        fcntl(&caller, 4, F_SETFD, 1).unwrap();
        world.files.close_on_exec();
        for (fd, open) in
            [(0, true), (3, false), (4, false), (5, true), (900, false), (1000, false)]
        {
            assert_eq!(world.files.get(fd).is_ok(), open, "{fd}");
        }
        let limits = FileLimits { nofile: 5, ..LIMITS };
        let few = Caller { limits, ..caller };
        assert_eq!((dup(&few, 0), dup(&few, 0), dup(&few, 0)), (Ok(3), Ok(4), Err(Errno::EMFILE)));
        // Without a descriptor nothing is created.
        let created = openat(&few, AT_FDCWD, b"/new", O_CREAT, 0);
        assert_eq!((created, world.stat("/new").err()), (Err(Errno::EMFILE), Some(Errno::ENOENT)));
        world.files.close_range(0, u32::MAX - 1, false);
        assert_eq!(world.files.next_open(0), None);
    });
}

#[test]
fn two_descriptors_of_one_file_share_its_position() {
    in_world("", |world, _| {
        let caller = world.caller();
        let fd = world.open("/f", O_RDWR | O_CREAT).unwrap();
        let other = dup(&caller, fd).unwrap() as i32;
        let own = world.open("/f", O_RDWR | O_APPEND).unwrap();
        assert_eq!(write(&caller, fd, &mut b"hello".as_slice()), Ok(5));
        assert_eq!(lseek(&caller, other, 0, SEEK_CUR), Ok(5));
        assert_eq!(write(&caller, own, &mut b" world".as_slice()), Ok(6));
        assert_eq!(lseek(&caller, own, 0, SEEK_CUR), Ok(11));
        assert_eq!(lseek(&caller, other, -7, SEEK_END), Ok(4));
        let mut bytes = [0; 20];
        assert_eq!(read(&caller, fd, &mut KernelSink::new(&mut bytes)), Ok(7));
        assert_eq!(&bytes[..7], b"o world");
        assert_eq!(pread(&caller, fd, &mut KernelSink::new(&mut bytes[..3]), 1), Ok(3));
        assert_eq!((&bytes[..3], lseek(&caller, fd, 0, SEEK_CUR)), (b"ell".as_slice(), Ok(11)));
        assert_eq!(pwrite(&caller, other, &mut b"J".as_slice(), 0), Ok(1));
        assert_eq!(pwrite(&caller, other, &mut b"J".as_slice(), -1), Err(Errno::EINVAL));
        assert_eq!(lseek(&caller, fd, -1, SEEK_SET), Err(Errno::EINVAL));
        assert_eq!(lseek(&caller, fd, i64::MAX, SEEK_END), Err(Errno::EINVAL));
        assert_eq!(lseek(&caller, fd, 0, 9), Err(Errno::EINVAL));
        assert_eq!(lseek(&caller, fd, 3, SEEK_DATA), Ok(3));
        assert_eq!(lseek(&caller, fd, 3, SEEK_HOLE), Ok(11));
        assert_eq!(lseek(&caller, fd, 11, SEEK_DATA), Err(Errno::ENXIO));
        let only = world.open("/f", O_WRONLY).unwrap();
        assert_eq!(read(&caller, only, &mut KernelSink::new(&mut bytes)), Err(Errno::EBADF));
        let path = world.open("/f", O_PATH).unwrap();
        assert_eq!(read(&caller, path, &mut KernelSink::new(&mut bytes)), Err(Errno::EBADF));
        assert_eq!(lseek(&caller, path, 0, SEEK_SET), Err(Errno::EBADF));
        assert_eq!(fstat(&caller, path).unwrap().size, 11);
        assert_eq!(fcntl(&caller, own, F_GETFL, 0).unwrap() as u32 & O_APPEND, O_APPEND);
        fcntl(&caller, own, F_SETFL, 0).unwrap();
        assert_eq!(fcntl(&caller, own, F_GETFL, 0).unwrap() as u32 & (O_APPEND | 3), O_RDWR);
        let dir = world.open("/", O_RDONLY).unwrap();
        assert_eq!(read(&caller, dir, &mut KernelSink::new(&mut bytes)), Err(Errno::EISDIR));
        assert_eq!(ftruncate(&caller, fd, 4), Ok(()));
        assert_eq!(ftruncate(&caller, dir, 4), Err(Errno::EINVAL));
        assert_eq!(world.read("/f").unwrap(), b"Jell");
        assert_eq!(sendfile(&caller, fd, only, None, 3), Err(Errno::EBADF));
        let mut at = 1;
        world.write("/g", b"").unwrap();
        let out = world.open("/g", O_WRONLY).unwrap();
        assert_eq!(sendfile(&caller, out, fd, Some(&mut at), 100), Ok(3));
        assert_eq!((world.read("/g").unwrap().as_slice(), at), (b"ell".as_slice(), 4));
    });
}

/// The contents of a file without a name are there until it is closed.
#[test]
fn a_file_lives_until_it_is_closed() {
    in_world("", |world, _| {
        let caller = world.caller();
        let fd = world.open("/f", O_RDWR | O_CREAT).unwrap();
        write(&caller, fd, &mut [7; 10_000].as_slice()).unwrap();
        world.unlink("/f").unwrap();
        let stat = fstat(&caller, fd).unwrap();
        assert_eq!((stat.nlink, stat.size, stat.blocks), (0, 10_000, 24));
        let mut path = String::new();
        let file = world.files.get(fd).unwrap();
        crate::mm::filemap::MappedFile::fmt_path(&*file, &mut path).unwrap();
        assert_eq!(path, "/f (deleted)");
        let free = |of: &World| statfs(&of.caller(), b"/").unwrap().bfree;
        let before = free(world);
        drop(file);
        world.close(fd);
        assert_eq!(free(world), before + 3);
        // One that never had a name can get one.
        let fd = openat(&caller, AT_FDCWD, b"/", O_TMPFILE | O_RDWR, 0o600).unwrap() as i32;
        write(&caller, fd, &mut b"later".as_slice()).unwrap();
        linkat(&caller, fd, b"", AT_FDCWD, b"/named", AT_EMPTY_PATH).unwrap();
        assert_eq!(world.read("/named").unwrap(), b"later");
        let excl = O_TMPFILE | O_RDWR | O_EXCL;
        let fd = openat(&caller, AT_FDCWD, b"/", excl, 0o600).unwrap() as i32;
        let linked = linkat(&caller, fd, b"", AT_FDCWD, b"/other", AT_EMPTY_PATH);
        assert_eq!(linked, Err(Errno::ENOENT));
        assert_eq!(world.open("/", O_TMPFILE), Err(Errno::EINVAL));
    });
}

/// A reader of a directory sees each entry that stays once, whatever comes or goes.
#[test]
fn listings_go_on_where_they_stopped() {
    in_world("", |world, _| {
        world.mkdir("/d").unwrap();
        for n in 0..300 {
            world.write(&format!("/d/{n:03}"), b"").unwrap();
        }
        let fd = world.open("/d", O_RDONLY).unwrap();
        let mut seen = Vec::new();
        let mut round = 0;
        while let Some(entries) = world.getdents(fd, 400) {
            seen.extend(entries.into_iter().map(|(name, _)| name));
            // Every second one of those that stay away for good goes, and others come.
            for n in (round * 40..300).step_by(7).take(12).filter(|n| n % 2 == 1) {
                let _gone = world.unlink(&format!("/d/{n:03}"));
            }
            for n in 0..20 {
                world.write(&format!("/d/new{round}_{n}"), b"").unwrap();
            }
            round += 1;
            if round == 20 {
                break;
            }
        }
        while let Some(entries) = world.getdents(fd, 4000) {
            seen.extend(entries.into_iter().map(|(name, _)| name));
        }
        let here: Vec<_> = world.list("/d").unwrap().into_iter().map(|(name, _)| name).collect();
        for name in here.iter().filter(|name| !name.starts_with("new")) {
            assert_eq!(seen.iter().filter(|&there| there == name).count(), 1, "{name}");
        }
        let mut once = seen.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), seen.len(), "an entry was seen twice");
        lseek(&world.caller(), fd, 0, SEEK_SET).unwrap();
        assert_eq!(world.getdents(fd, 24).unwrap(), [(".".into(), DT_DIR as u8)]);
        let mut small = [0; 10];
        let result = getdents64(&world.caller(), fd, &mut KernelSink::new(&mut small));
        assert_eq!(result, Err(Errno::EINVAL));
    });
}

#[test]
fn limits_of_a_file_system_hold() {
    in_world("size=64k,nr_inodes=4,mode=755", |world, _| {
        let statfs = || statfs(&world.caller(), b"/").unwrap();
        assert_eq!((statfs().blocks, statfs().files, statfs().ffree), (16, 4, 3));
        world.mkdir("/d").unwrap();
        world.write("/f", b"x").unwrap();
        world.symlink("x", "/l").unwrap();
        assert_eq!(world.mkdir("/e"), Err(Errno::ENOSPC));
        assert_eq!(world.open("/e", O_CREAT), Err(Errno::ENOSPC));
        // A further name takes no inode.
        world.link("/f", "/d/f").unwrap();
        assert_eq!(world.stat("/f").unwrap().nlink, 2);
        let fd = world.open("/f", O_WRONLY).unwrap();
        let bytes = vec![1; 100_000];
        assert_eq!(write(&world.caller(), fd, &mut &*bytes), Ok(65_536));
        assert_eq!(write(&world.caller(), fd, &mut &*bytes), Err(Errno::ENOSPC));
        assert_eq!(statfs().bfree, 0);
        world.unlink("/f").unwrap();
        world.unlink("/l").unwrap();
        assert_eq!((statfs().ffree, statfs().bfree), (1, 0));
        world.unlink("/d/f").unwrap();
        world.close(fd);
        assert_eq!((statfs().ffree, statfs().bfree), (2, 16));
    });
    for bad in
        ["size=", "size=12q", "nr_inodes=-1", "mode=9", "what=1", "size", "size=99999999999999999t"]
    {
        in_world("", |_, _| assert_eq!(tmpfs::Options::parse(bad), Err(Errno::EINVAL), "{bad}"));
    }
}
