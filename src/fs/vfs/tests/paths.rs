//! The way along paths: what each kind of path leads to, or which error.

use super::*;

#[test]
fn paths_lead_where_linux_has_them_lead() {
    in_world("", |world, _| {
        world.mkdir("/d").unwrap();
        world.mkdir("/d/e").unwrap();
        world.write("/d/f", b"file").unwrap();
        for (target, link) in [
            ("d", "/link"),
            ("d/f", "/file"),
            ("/d/e", "/d/abs"),
            ("../f", "/d/e/up"),
            ("none", "/dangling"),
            ("loop", "/loop"),
            ("two", "/one"),
            ("one", "/two"),
            ("d/", "/slash"),
            ("/", "/root"),
            ("d/f/", "/notdir"),
        ] {
            world.symlink(target, link).unwrap();
        }
        let long = "n".repeat(256);
        let path = |of: usize| "/".repeat(of - 1) + "d";
        let dir = world.stat("/d").unwrap().id.ino;
        let e = world.stat("/d/e").unwrap().id.ino;
        let file = world.stat("/d/f").unwrap().id.ino;
        let top = world.stat("/").unwrap().id.ino;
        for (path, expected) in [
            ("/d", Ok(dir)),
            ("d", Ok(dir)),
            ("//d//.//", Ok(dir)),
            ("/..", Ok(top)),
            ("/../../d/../d/e/..", Ok(dir)),
            ("/d/f", Ok(file)),
            ("/d/f/", Err(Errno::ENOTDIR)),
            ("/d/f/.", Err(Errno::ENOTDIR)),
            ("/d/f/..", Err(Errno::ENOTDIR)),
            ("/d/none", Err(Errno::ENOENT)),
            ("/d/none/x", Err(Errno::ENOENT)),
            ("", Err(Errno::ENOENT)),
            ("/link", Ok(dir)),
            ("/link/f", Ok(file)),
            ("/link/..", Ok(top)),
            ("/file", Ok(file)),
            ("/file/", Err(Errno::ENOTDIR)),
            ("/d/abs/up", Ok(file)),
            ("/d/e/up", Ok(file)),
            ("/dangling", Err(Errno::ENOENT)),
            ("/loop", Err(Errno::ELOOP)),
            ("/loop/x", Err(Errno::ELOOP)),
            ("/one", Err(Errno::ELOOP)),
            ("/slash", Ok(dir)),
            ("/root/root/link/../root/d/e", Ok(e)),
            ("/notdir", Err(Errno::ENOTDIR)),
            (&format!("/{long}"), Err(Errno::ENAMETOOLONG)),
            (&format!("/none/{long}"), Err(Errno::ENOENT)),
            (&path(4095), Ok(dir)),
            (&path(4096), Err(Errno::ENAMETOOLONG)),
        ] {
            assert_eq!(world.stat(path).map(|stat| stat.id.ino), expected, "{path:.40}");
        }
        for (path, expected) in [
            ("/link", FileType::Symlink),
            ("/link/", FileType::Directory),
            ("/dangling", FileType::Symlink),
            ("/link/.", FileType::Directory),
            ("/d/e/up", FileType::Symlink),
        ] {
            assert_eq!(world.lstat(path).unwrap().owner.file_type(), expected, "{path}");
        }
        assert_eq!(world.lstat("/dangling/").err(), Some(Errno::ENOENT));
        assert_eq!(world.lstat("/file/").err(), Some(Errno::ENOTDIR));
        assert_eq!(world.readlink("/d/abs").unwrap(), b"/d/e");
        assert_eq!(world.readlink("/d"), Err(Errno::EINVAL));
        // A file as the place that a path is counted from.
        let caller = world.caller();
        let fd = world.open("/d/f", O_RDONLY).unwrap();
        let at = |path: &[u8], flags| fstatat(&caller, fd, path, flags).map(|stat| stat.id.ino);
        assert_eq!((at(b"x", 0), at(b"", 0)), (Err(Errno::ENOTDIR), Err(Errno::ENOENT)));
        assert_eq!((at(b"", AT_EMPTY_PATH), at(b"/d", 0)), (Ok(file), Ok(dir)));
        assert_eq!(at(b"", 0x8000_0000), Err(Errno::EINVAL));
        assert_eq!(fstatat(&caller, 77, b"x", 0).err(), Some(Errno::EBADF));
        assert_eq!(fstatat(&caller, 77, b"/d", 0).map(|stat| stat.id.ino), Ok(dir));
    });
}

#[test]
fn forty_links_are_followed_and_no_more() {
    in_world("", |world, _| {
        world.write("/l0", b"end").unwrap();
        for n in 1..=41 {
            world.symlink(&format!("l{}", n - 1), &format!("/l{n}")).unwrap();
        }
        assert_eq!(world.read("/l40").unwrap(), b"end");
        assert_eq!(world.read("/l41"), Err(Errno::ELOOP));
        // Those in the middle of a path count too.
        world.symlink(".", "/dot").unwrap();
        let path = |n: usize| "/dot".repeat(n) + "/l0";
        assert_eq!(world.read(&path(40)).unwrap(), b"end");
        assert_eq!(world.read(&path(41)), Err(Errno::ELOOP));
    });
}

#[test]
fn flags_of_open_say_what_may_be_opened() {
    in_world("", |world, _| {
        world.mkdir("/d").unwrap();
        world.write("/f", b"contents").unwrap();
        world.symlink("f", "/link").unwrap();
        world.symlink("d", "/dlink").unwrap();
        world.symlink("new", "/dangling").unwrap();
        for (path, flags, expected) in [
            ("/f", O_DIRECTORY, Err(Errno::ENOTDIR)),
            ("/d", O_DIRECTORY, Ok(())),
            ("/d", O_WRONLY, Err(Errno::EISDIR)),
            ("/d", O_RDWR, Err(Errno::EISDIR)),
            ("/d", O_CREAT, Err(Errno::EISDIR)),
            ("/d", O_TRUNC, Err(Errno::EISDIR)),
            ("/d/", O_RDONLY, Ok(())),
            ("/f/", O_RDONLY, Err(Errno::ENOTDIR)),
            ("/f/", O_CREAT, Err(Errno::EISDIR)),
            ("/none/", O_CREAT, Err(Errno::EISDIR)),
            ("/none/x", O_CREAT, Err(Errno::ENOENT)),
            ("/f", O_CREAT | O_EXCL, Err(Errno::EEXIST)),
            ("/link", O_CREAT | O_EXCL, Err(Errno::EEXIST)),
            ("/dangling", O_CREAT | O_EXCL, Err(Errno::EEXIST)),
            ("/d", O_CREAT | O_EXCL, Err(Errno::EEXIST)),
            ("/", O_CREAT, Err(Errno::EISDIR)),
            (".", O_CREAT, Err(Errno::EISDIR)),
            ("/link", O_NOFOLLOW, Err(Errno::ELOOP)),
            ("/link", O_NOFOLLOW | O_PATH, Ok(())),
            ("/dlink", O_NOFOLLOW | O_DIRECTORY, Err(Errno::ENOTDIR)),
            ("/dlink/", O_NOFOLLOW, Ok(())),
            ("/dlink/", O_NOFOLLOW | O_DIRECTORY, Ok(())),
            ("/f", O_CREAT | O_DIRECTORY, Err(Errno::EINVAL)),
            ("/f", O_PATH | O_DIRECTORY, Err(Errno::ENOTDIR)),
            ("/f", O_PATH | O_CREAT | O_TRUNC, Ok(())),
            ("/none", O_PATH | O_CREAT, Err(Errno::ENOENT)),
            ("/d", O_TMPFILE, Err(Errno::EINVAL)),
            ("/f", O_TMPFILE | O_RDWR, Err(Errno::ENOTDIR)),
            ("/d", O_TMPFILE | O_RDWR, Ok(())),
            ("/f", 3, Ok(())),
            ("", O_RDONLY, Err(Errno::ENOENT)),
        ] {
            let opened = world.open(path, flags);
            assert_eq!(opened.map(|fd| world.close(fd)), expected, "{path} {flags:#o}");
        }
        assert_eq!(world.read("/f").unwrap(), b"contents", "nothing was cut off");
        let fd = world.open("/dangling", O_CREAT | O_WRONLY).unwrap();
        world.close(fd);
        assert!(world.lstat("/new").unwrap().owner.file_type() == FileType::Regular);
        world.close(world.open("/link", O_TRUNC | O_WRONLY).unwrap());
        assert_eq!(world.stat("/f").unwrap().size, 0);
        // Neither reading nor writing.
        let fd = world.open("/f", 3).unwrap();
        let mut bytes = [0; 4];
        let result = read(&world.caller(), fd, &mut KernelSink::new(&mut bytes));
        assert_eq!(result, Err(Errno::EBADF));
        assert_eq!(write(&world.caller(), fd, &mut b"x".as_slice()), Err(Errno::EBADF));
    });
}

#[test]
fn working_directories_follow_their_names() {
    in_world("", |world, _| {
        world.mkdir("/a").unwrap();
        world.mkdir("/a/b").unwrap();
        world.mkdir("/a/b/c").unwrap();
        assert_eq!(world.getcwd().unwrap(), "/");
        world.chdir("a/b/c").unwrap();
        assert_eq!(world.getcwd().unwrap(), "/a/b/c");
        world.rename("/a/b", "/x", 0).unwrap();
        assert_eq!(world.getcwd().unwrap(), "/x/c");
        assert_eq!(world.stat("../..").unwrap().id, world.stat("/").unwrap().id);
        // Outside of the root, and no place at all.
        chroot(&world.caller(), b"/a").unwrap();
        assert_eq!(world.getcwd().unwrap(), "(unreachable)/x/c");
        assert_eq!(world.stat("/..").unwrap().id, world.stat("/").unwrap().id);
        chroot(&world.caller(), b"../../").unwrap();
        world.rmdir("/x/c").unwrap();
        assert_eq!(world.getcwd(), Err(Errno::ENOENT));
        assert_eq!(world.write("f", b""), Err(Errno::ENOENT));
        let fd = world.open(".", O_RDONLY).unwrap();
        let mut bytes = [0; 100];
        let result = getdents64(&world.caller(), fd, &mut KernelSink::new(&mut bytes));
        assert_eq!(result, Err(Errno::ENOENT));
        assert_eq!(world.stat("..").unwrap().id, world.stat("/x").unwrap().id);
        world.write("/f", b"").unwrap();
        assert_eq!(
            (world.chdir("/f"), world.chdir("/g")),
            (Err(Errno::ENOTDIR), Err(Errno::ENOENT))
        );
        let mut small = [0; 2];
        world.chdir("/x").unwrap();
        let result = getcwd(&world.caller(), &mut KernelSink::new(&mut small));
        assert_eq!(result, Err(Errno::ERANGE));
        let fd = world.open("/a", O_PATH).unwrap();
        fchdir(&world.caller(), fd).unwrap();
        assert_eq!(world.getcwd().unwrap(), "/a");
        world.chdir("/").unwrap();
    });
}

/// A deep tree goes away without recursion.
#[test]
fn deep_directories_end_with_their_file_system() {
    in_world("nr_inodes=0", |world, _| {
        for _ in 0..3000 {
            world.mkdir("d").unwrap();
            world.chdir("d").unwrap();
        }
        assert_eq!(world.getcwd(), Err(Errno::ENAMETOOLONG));
        world.chdir("/").unwrap();
    });
}
