//! Signals, as far as they end a process: their numbers, default actions, and what made them. Actions
//! are stored; handlers are not called yet (Linux: kernel/signal.c).

use core::fmt;
use linux_raw_sys::general as abi;

/// Number of signals.
pub const NSIG: usize = 64;

/// A signal, 1 to [`NSIG`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Signal(u8);

macro_rules! signals {
    ($($name:ident)+) => {
        impl Signal {
            $(
                #[doc = stringify!($name)]
                pub const $name: Self = Self(abi::$name as u8);
            )+

            /// The name without `SIG`; `None` for signals without one.
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
signals! {
    SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE
    SIGALRM SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ
    SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPWR SIGSYS
}

/// Action where a process has asked for none (signal(7)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefaultAction {
    /// The process ends.
    Terminate,
    /// The process ends; Linux may write its memory to a file, which isn't done here.
    Core,
    /// Nothing.
    Ignore,
    /// The process stops.
    Stop,
}

impl Signal {
    /// The signal of this number.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if 1 <= number && number <= NSIG as u32 { Some(Self(number as u8)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The action where a process has asked for none.
    #[must_use]
    pub const fn default_action(self) -> DefaultAction {
        match self {
            Self::SIGQUIT
            | Self::SIGILL
            | Self::SIGTRAP
            | Self::SIGABRT
            | Self::SIGBUS
            | Self::SIGFPE
            | Self::SIGSEGV
            | Self::SIGXCPU
            | Self::SIGXFSZ
            | Self::SIGSYS => DefaultAction::Core,
            Self::SIGCHLD | Self::SIGCONT | Self::SIGURG | Self::SIGWINCH => DefaultAction::Ignore,
            Self::SIGSTOP | Self::SIGTSTP | Self::SIGTTIN | Self::SIGTTOU => DefaultAction::Stop,
            _ => DefaultAction::Terminate,
        }
    }
}

/// Signal that an instruction caused (Linux: siginfo_t of a forced signal).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The signal.
    pub signal: Signal,
    /// si_code: the reason.
    pub code: u32,
    /// si_addr: the instruction or the access.
    pub addr: u64,
}

/// End of a process, as wait4(2) reports it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It has called exit, with this code.
    Code(u8),
    /// A signal has ended it; `true` for those that Linux may dump core for, though none is dumped.
    Signal(Signal),
}

impl Exit {
    /// The status of wait4(2).
    #[must_use]
    pub const fn wait_status(self) -> i32 {
        match self {
            Self::Code(code) => (code as i32) << 8,
            Self::Signal(signal) => signal.get() as i32,
        }
    }

    /// Returns the end of this wait status.
    #[must_use]
    pub const fn of_wait_status(status: i32) -> Self {
        match Signal::new((status & 0x7f) as u32) {
            Some(signal) => Self::Signal(signal),
            None => Self::Code((status >> 8) as u8),
        }
    }

    /// The status as a shell has it: 128 and the number of the signal.
    #[must_use]
    pub const fn shell_status(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal.get(),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => match signal.name() {
                Some(name) => write!(f, "ended by {name}"),
                None => write!(f, "ended by signal {}", signal.get()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn ends_are_those_of_wait() {
        for (end, status, shell) in [
            (Exit::Code(0), 0, 0),
            (Exit::Code(7), 0x700, 7),
            (Exit::Code(255), 0xff00, 255),
            (Exit::Signal(Signal::SIGSEGV), 11, 139),
            (Exit::Signal(Signal::SIGKILL), 9, 137),
            (Exit::Signal(Signal::new(64).unwrap()), 64, 192),
        ] {
            assert_eq!((end.wait_status(), end.shell_status()), (status, shell));
            assert_eq!(Exit::of_wait_status(status), end);
        }
        assert_eq!(format!("{}", Exit::Signal(Signal::SIGBUS)), "ended by SIGBUS");
        assert_eq!((Signal::new(0), Signal::new(65)), (None, None));
    }

    #[test]
    fn default_actions() {
        use DefaultAction::*;
        for (signal, action) in [
            (Signal::SIGABRT, Core),
            (Signal::SIGTERM, Terminate),
            (Signal::SIGCHLD, Ignore),
            (Signal::SIGTSTP, Stop),
            (Signal::new(34).unwrap(), Terminate),
        ] {
            assert_eq!(signal.default_action(), action, "{signal:?}");
        }
    }
}
