//! Numbers that are read and written.

use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use crate::fs::{FsError, list, read, write};
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
        assert_eq!(names, ["osrelease", "ostype", "pid_max", "version"]);
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
