//! `/dev/console` and `/dev/tty`: the console's UART as a terminal (Linux: drivers/tty/tty_io.c).
#![deny(unsafe_code)]

use super::line::{Line, TERMIOS};
use crate::addr::UserAddr;
use crate::arch::irq::with_masked;
use crate::arch::uaccess::{IoSink, IoSource, UserPtr};
use crate::drivers::console;
use crate::errno::Errno;
use crate::fs::vfs::{FileOps, OpenFile, Whence};
use crate::sched::{fatal_signal_pending, msleep};
use crate::sync::{Rank, SpinLock};
use linux_raw_sys::general::{O_NONBLOCK, winsize};
use linux_raw_sys::ioctl::{TCGETS, TCSETS, TCSETSF, TCSETSW, TIOCGWINSZ};

/// Milliseconds between looks at the console, for who waits for a line.
const POLL_MS: u64 = 10;

static LINE: SpinLock<Line> = SpinLock::new(Rank::Vfs, Line::new());

/// The terminal.
pub(super) struct Console;

/// Takes what was typed meanwhile. Returns true if a read need not wait.
fn poll() -> bool {
    with_masked(|irq| {
        let mut line = LINE.lock(irq);
        while let Some(byte) = console::read() {
            line.input(byte, console::write);
        }
        line.is_ready()
    })
}

impl FileOps for Console {
    fn read(&self, file: &OpenFile, _: &mut u64, sink: &mut dyn IoSink) -> Result<usize, Errno> {
        if sink.remaining() == 0 || !console::has_input() {
            return Ok(0);
        }
        while !poll() {
            if file.flags() & O_NONBLOCK != 0 {
                return Err(Errno::EAGAIN);
            }
            if fatal_signal_pending() {
                return Err(Errno::EINTR);
            }
            msleep(POLL_MS);
        }
        let bytes = with_masked(|irq| LINE.lock(irq).read::<512>(sink.remaining()));
        let put = sink.put(&bytes);
        if put < bytes.len() && put == 0 { Err(Errno::EFAULT) } else { Ok(put) }
    }

    fn write(
        &self,
        _: &OpenFile,
        _: &mut u64,
        source: &mut dyn IoSource,
        _: u64,
    ) -> Result<usize, Errno> {
        let (mut done, mut bytes) = (0, [0; 256]);
        while source.remaining() > 0 {
            let taken = source.take(&mut bytes);
            console::write(&bytes[..taken]);
            done += taken;
            if taken == 0 {
                return if done == 0 { Err(Errno::EFAULT) } else { Ok(done) };
            }
        }
        Ok(done)
    }

    fn llseek(&self, _: &OpenFile, _: u64, _: i64, _: Whence) -> Result<u64, Errno> {
        Err(Errno::ESPIPE)
    }

    fn ioctl(&self, _: &OpenFile, command: u32, arg: Option<UserAddr>) -> Result<u64, Errno> {
        match command {
            TCGETS => {
                let termios = with_masked(|irq| LINE.lock(irq).termios);
                UserPtr::<[u8; TERMIOS]>::new(arg.ok_or(Errno::EFAULT)?).put(termios)?;
                Ok(0)
            }
            TCSETS | TCSETSW | TCSETSF => {
                let termios = UserPtr::<[u8; TERMIOS]>::new(arg.ok_or(Errno::EFAULT)?).get()?;
                with_masked(|irq| LINE.lock(irq).termios = termios);
                Ok(0)
            }
            // A serial line doesn't know how large the terminal at its end is.
            TIOCGWINSZ => {
                let none = [0; size_of::<winsize>()];
                UserPtr::<[u8; size_of::<winsize>()]>::new(arg.ok_or(Errno::EFAULT)?).put(none)?;
                Ok(0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    fn is_stream(&self) -> bool {
        true
    }
}
