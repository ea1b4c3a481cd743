//! Numbers that are read and written.

use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::fs::{FsError, list, read, write};
use crate::mm::mm_struct::vm_commit_limit;
use std::string::{String, ToString};
use std::vec::Vec;

fn text(path: &str) -> String {
    let mut text = String::new();
    read(path, &mut text).unwrap();
    text
}

#[test]
fn the_limit_of_pids_is_set_as_linux_has_it() {
    Machine::run(&[PhysRange::from_size(PhysAddr::new(0x4000_0000), 1 << 24)], |_| {
        const PATH: &str = "/proc/sys/kernel/pid_max";
        let mut names = Vec::new();
        list("/proc/sys/kernel", &mut |entry| names.push(entry.name.to_string())).unwrap();
        assert_eq!(names, ["osrelease", "ostype", "pid_max", "randomize_va_space", "version"]);
        assert_eq!(text(PATH), "32768\n");
        for (written, holds) in [
            ("400\n", "400"),
            ("0x1000", "4096"),
            ("0700", "448"),
            (" 301 ", "301"),
            ("32768", "32768"),
        ] {
            assert_eq!(write(PATH, written), Ok(()), "{written}");
            assert_eq!(text(PATH), holds.to_string() + "\n");
        }
        for wrong in ["300", "32769", "0", "-1", "+400", "", "x", "0x", "0x+400", "400 500"] {
            assert_eq!(write(PATH, wrong), Err(FsError::InvalidArgument), "{wrong}");
        }
        assert_eq!(text(PATH), "32768\n");
    });
}

#[test]
fn limits_of_address_spaces_are_set() {
    Machine::run(&[PhysRange::from_size(PhysAddr::new(0x4000_0000), 1 << 24)], |_| {
        let at = |name: &str| "/proc/sys/vm/".to_string() + name;
        for (name, first, written) in [
            ("max_map_count", "65530", "100"),
            ("mmap_min_addr", "32768", "65536"),
            ("legacy_va_layout", "0", "1"),
            ("overcommit_memory", "0", "2"),
            ("overcommit_ratio", "50", "80"),
            ("overcommit_kbytes", "0", "4096"),
            ("admin_reserve_kbytes", "0", "512"),
            ("user_reserve_kbytes", "0", "256"),
        ] {
            assert_eq!(text(&at(name)), first.to_string() + "\n", "{name}");
            assert_eq!(write(&at(name), written), Ok(()), "{name}");
            assert_eq!(text(&at(name)), written.to_string() + "\n", "{name}");
            for wrong in ["", "x", "-1", "4294967296"] {
                assert_eq!(write(&at(name), wrong), Err(FsError::InvalidArgument), "{name}");
            }
            assert_eq!(text(&at(name)), written.to_string() + "\n", "{name}");
        }
        // Of ratio and KiB, what was set last counts.
        assert_eq!(text(&at("overcommit_ratio")), "0\n");
        assert_eq!(vm_commit_limit(), 1024);
        write(&at("overcommit_ratio"), "80").unwrap();
        assert_eq!(text(&at("overcommit_kbytes")), "0\n");
        assert_eq!(write(&at("overcommit_memory"), "3"), Err(FsError::InvalidArgument));
        assert_eq!(write(&at("max_map_count"), "2147483648"), Err(FsError::InvalidArgument));
        // Of a page that is begun, all.
        write(&at("mmap_min_addr"), "4097").unwrap();
        assert_eq!(text(&at("mmap_min_addr")), "8192\n");
    });
}

#[test]
fn how_much_is_random_is_set() {
    Machine::run(&[PhysRange::from_size(PhysAddr::new(0x4000_0000), 1 << 24)], |_| {
        const PATH: &str = "/proc/sys/kernel/randomize_va_space";
        assert_eq!(text(PATH), "2\n");
        assert_eq!((write(PATH, "0"), text(PATH)), (Ok(()), "0\n".to_string()));
        assert_eq!(write(PATH, "3"), Err(FsError::InvalidArgument));
        assert_eq!(text(PATH), "0\n");
    });
}
