//! Error numbers of system calls (Linux: include/uapi/asm-generic/errno.h), from `linux-raw-sys`.
#![deny(unsafe_code)]

use core::fmt;
use core::num::NonZeroU16;
use linux_raw_sys::errno;

/// Error of a system call: a number from 1 to 4095, which programs see negated.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Errno(NonZeroU16);

macro_rules! numbers {
    ($($name:ident)+) => {
        impl Errno {
            $(
                #[doc = concat!("Linux: ", stringify!($name))]
                pub const $name: Self = Self::of(errno::$name);
            )+

            /// Returns the number's name, `None` of one that has none here.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)+
                    _ => None,
                }
            }
        }
    };
}

numbers! {
    E2BIG EACCES EAGAIN EBADF EBUSY ECHILD EDOM EEXIST EFAULT EFBIG EINTR EINVAL EIO EISDIR ELIBBAD
    ELOOP EMFILE EMLINK ENAMETOOLONG ENFILE ENODATA ENODEV ENOENT ENOEXEC ENOMEM ENOSPC ENOSYS
    ENOTBLK ENOTDIR ENOTEMPTY ENOTTY ENXIO EOPNOTSUPP EOVERFLOW EPERM EPIPE ERANGE EROFS ESPIPE
    ESRCH ETIMEDOUT ETXTBSY EXDEV
}

impl Errno {
    const fn of(number: u32) -> Self {
        assert!(0 < number && number < 4096);
        match NonZeroU16::new(number as u16) {
            Some(number) => Self(number),
            None => unreachable!(),
        }
    }

    /// Returns the number, from 1 to 4095.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// Returns the value that a system call has in x0 for this error.
    #[must_use]
    pub const fn to_syscall(self) -> u64 {
        (self.0.get() as u64).wrapping_neg()
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Errno;
    use std::format;

    #[test]
    fn numbers_are_those_of_linux() {
        assert_eq!((Errno::EPERM.get(), Errno::ENOSYS.get(), Errno::ELOOP.get()), (1, 38, 40));
        assert_eq!(Errno::ENOMEM.to_syscall() as i64, -12);
        assert_eq!(format!("{:?} {:?}", Errno::EFAULT, Errno::EOVERFLOW), "EFAULT EOVERFLOW");
    }
}
