//! /proc/sys (Linux: kernel/sysctl.c).

use super::FsError;
use super::tree::{File, Node};
use crate::mm::util;
use crate::sched;
use crate::utsname;

mod vm;

#[cfg(test)]
mod tests;

pub(super) use vm::VM;

/// /proc/sys/kernel.
pub(super) const KERNEL: &[Node] = &[
    Node::File(File::new("osrelease", |_, out| writeln!(out, "{}", utsname::RELEASE))),
    Node::File(File::new("ostype", |_, out| writeln!(out, "{}", utsname::SYSNAME))),
    Node::File(File::new("pid_max", |_, out| writeln!(out, "{}", sched::pid_max())).with_store(
        |text| {
            let max = number(text).ok_or(FsError::InvalidArgument)?;
            sched::set_pid_max(max).map_err(|_| FsError::InvalidArgument)
        },
    )),
    Node::File(
        File::new("randomize_va_space", |_, out| writeln!(out, "{}", util::randomize_va_space()))
            .with_store(|text| match number(text) {
                Some(level) if level <= 2 => {
                    util::set_randomize_va_space(level);
                    Ok(())
                }
                _ => Err(FsError::InvalidArgument),
            }),
    ),
    Node::File(File::new("version", |_, out| writeln!(out, "{}", utsname::VERSION))),
];

/// Reads a number as files of /proc/sys take it: decimal, with `0x` hexadecimal, with `0` octal
/// (Linux: proc_dointvec).
fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Some(hex), _) => (hex, 16),
        (_, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (text, 10),
    };
    // Of signs, `from_str_radix` takes a plus.
    let is_number = digits.starts_with(|c: char| c.is_digit(radix));
    is_number.then(|| u32::from_str_radix(digits, radix).ok())?
}
