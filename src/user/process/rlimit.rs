//! Limits of a process (Linux: include/asm-generic/resource.h, kernel/sys.c).

use crate::errno::Errno;
use linux_raw_sys::general as abi;

/// No limit.
pub const RLIM_INFINITY: u64 = u64::MAX;

/// A limit: what counts, and what an unprivileged process may raise it to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rlimit {
    /// The soft limit.
    pub cur: u64,
    /// The hard limit.
    pub max: u64,
}

/// Kind of a limit, below [`RLIM_NLIMITS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resource(usize);

/// Number of kinds.
pub const RLIM_NLIMITS: usize = abi::RLIM_NLIMITS as usize;

impl Resource {
    /// RLIMIT_STACK
    pub const STACK: Self = Self(abi::RLIMIT_STACK as usize);
    /// RLIMIT_NOFILE
    pub const NOFILE: Self = Self(abi::RLIMIT_NOFILE as usize);
    /// RLIMIT_RSS
    pub const RSS: Self = Self(abi::RLIMIT_RSS as usize);
    /// RLIMIT_SIGPENDING
    pub const SIGPENDING: Self = Self(abi::RLIMIT_SIGPENDING as usize);
    /// RLIMIT_FSIZE
    pub const FSIZE: Self = Self(abi::RLIMIT_FSIZE as usize);
    /// RLIMIT_MEMLOCK
    pub const MEMLOCK: Self = Self(abi::RLIMIT_MEMLOCK as usize);
    /// RLIMIT_AS
    pub const AS: Self = Self(abi::RLIMIT_AS as usize);
    /// RLIMIT_DATA
    pub const DATA: Self = Self(abi::RLIMIT_DATA as usize);

    /// The kind of this number.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        let number = number as usize;
        if number < RLIM_NLIMITS { Some(Self(number)) } else { None }
    }
}

/// All limits of a process.
#[derive(Clone, Debug)]
pub struct Rlimits([Rlimit; RLIM_NLIMITS]);

/// Name and unit of each kind, as /proc/PID/limits has them.
const NAMES: [(&str, &str); RLIM_NLIMITS] = [
    ("Max cpu time", "seconds"),
    ("Max file size", "bytes"),
    ("Max data size", "bytes"),
    ("Max stack size", "bytes"),
    ("Max core file size", "bytes"),
    ("Max resident set", "bytes"),
    ("Max processes", "processes"),
    ("Max open files", "files"),
    ("Max locked memory", "bytes"),
    ("Max address space", "bytes"),
    ("Max file locks", "locks"),
    ("Max pending signals", "signals"),
    ("Max msgqueue size", "bytes"),
    ("Max nice priority", ""),
    ("Max realtime priority", ""),
    ("Max realtime timeout", "us"),
];

impl Rlimits {
    /// The limits of the first process, on a machine for so many threads (Linux: INIT_RLIMITS,
    /// fork_init).
    #[must_use]
    pub fn init(max_threads: u64) -> Self {
        let both = |n| Rlimit { cur: n, max: n };
        let mut limits = [both(RLIM_INFINITY); RLIM_NLIMITS];
        let mut set = |number: u32, limit| limits[number as usize] = limit;
        set(abi::RLIMIT_STACK, Rlimit { cur: 8 << 20, max: RLIM_INFINITY });
        set(abi::RLIMIT_CORE, Rlimit { cur: 0, max: RLIM_INFINITY });
        set(abi::RLIMIT_NPROC, both(max_threads / 2));
        set(abi::RLIMIT_NOFILE, Rlimit { cur: 1024, max: 4096 });
        set(abi::RLIMIT_MEMLOCK, both(8 << 20));
        set(abi::RLIMIT_SIGPENDING, both(max_threads / 2));
        set(abi::RLIMIT_MSGQUEUE, both(819_200));
        set(abi::RLIMIT_NICE, both(0));
        set(abi::RLIMIT_RTPRIO, both(0));
        Self(limits)
    }

    /// A limit.
    #[must_use]
    pub const fn get(&self, resource: Resource) -> Rlimit {
        self.0[resource.0]
    }

    /// Sets a limit, for a process with all rights (Linux: do_prlimit).
    ///
    /// # Errors
    /// EINVAL: the soft limit is above the hard one · EPERM: more open files than `nr_open`.
    pub fn set(&mut self, resource: Resource, limit: Rlimit, nr_open: u64) -> Result<(), Errno> {
        if limit.cur > limit.max {
            return Err(Errno::EINVAL);
        }
        if resource == Resource::NOFILE && limit.max > nr_open {
            return Err(Errno::EPERM);
        }
        self.0[resource.0] = limit;
        Ok(())
    }

    /// Writes the text of /proc/PID/limits.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn show(&self, to: &mut dyn core::fmt::Write) -> core::fmt::Result {
        writeln!(to, "{:<25} {:<20} {:<20} {:<10}", "Limit", "Soft Limit", "Hard Limit", "Units")?;
        for (limit, (name, unit)) in self.0.iter().zip(NAMES) {
            write!(to, "{name:<25}")?;
            for value in [limit.cur, limit.max] {
                match value {
                    RLIM_INFINITY => write!(to, " {:<20}", "unlimited")?,
                    value => write!(to, " {value:<20}")?,
                }
            }
            match unit {
                "" => writeln!(to)?,
                unit => writeln!(to, " {unit:<10}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn limits_of_the_first_process() {
        let mut limits = Rlimits::init(100);
        let mut text = String::new();
        limits.show(&mut text).unwrap();
        assert_eq!(text.lines().count(), 17);
        let line = |n| text.lines().nth(n).unwrap();
        assert!(line(0).starts_with("Limit                     Soft Limit           Hard Limit  "));
        let stack =
            "Max stack size            8388608              unlimited            bytes     ";
        assert_eq!(line(4), stack);
        assert_eq!(limits.get(Resource::NOFILE), Rlimit { cur: 1024, max: 4096 });
        assert_eq!(Resource::new(16), None);

        let over = Rlimit { cur: 2, max: 1 };
        assert_eq!(limits.set(Resource::STACK, over, 9), Err(Errno::EINVAL));
        let many = Rlimit { cur: 10, max: 10 };
        assert_eq!(limits.set(Resource::NOFILE, many, 9), Err(Errno::EPERM));
        assert_eq!(limits.set(Resource::NOFILE, many, 10), Ok(()));
        assert_eq!(limits.get(Resource::NOFILE), many);
    }
}
