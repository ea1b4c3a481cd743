//! Strings of arguments and environment, and their limits (Linux: fs/exec.c, struct linux_binprm).

use super::script::Line;
use crate::addr::PAGE_SIZE;
use crate::errno::Errno;
use crate::mm::alloc::{AllocError, KVVec};
use crate::mm::gfp::Gfp;

/// Bytes that one string may have, with the zero at its end.
pub const MAX_ARG_STRLEN: usize = 32 * PAGE_SIZE;
/// Bytes that all strings may have however small the stack is.
const ARG_MAX: u64 = 131_072;
/// The usual size of a stack (Linux: _STK_LIM).
const STK_LIM: u64 = 8 << 20;

/// The name of a program's file, its arguments and its environment. Strings lie one behind the other,
/// each with a zero at its end.
#[derive(Debug)]
pub struct Args {
    filename: KVVec<u8>,
    argv: KVVec<u8>,
    envp: KVVec<u8>,
    argc: usize,
    envc: usize,
    /// Bytes that strings may have in all.
    limit: u64,
}

fn enomem(_: AllocError) -> Errno {
    Errno::ENOMEM
}

/// Bytes that strings may have, beside the pointers to them (Linux: bprm_stack_limits).
fn stack_limit(argc: usize, envc: usize, rlimit_stack: u64) -> Result<u64, Errno> {
    let limit = (STK_LIM / 4 * 3).min(rlimit_stack / 4).max(ARG_MAX);
    let pointers = argc.max(1).checked_add(envc).and_then(|n| n.checked_mul(8));
    let pointers = pointers.ok_or(Errno::E2BIG)? as u64;
    if limit <= pointers {
        return Err(Errno::E2BIG);
    }
    Ok(limit - pointers)
}

impl Args {
    /// Copies the strings, which have no zeros. A program without arguments gets an empty one.
    /// `rlimit_stack` is the limit of the stack in bytes. Process context.
    ///
    /// # Errors
    /// E2BIG: a string or all of them are too long · ENOMEM.
    pub fn new(
        filename: &[u8],
        argv: &[&[u8]],
        envp: &[&[u8]],
        rlimit_stack: u64,
    ) -> Result<Self, Errno> {
        let limit = stack_limit(argv.len(), envp.len(), rlimit_stack)?;
        // A program without arguments gets an empty one.
        let argv = if argv.is_empty() { &[&b""[..]][..] } else { argv };
        let filename = &[filename][..];
        let mut len = 0;
        for string in [filename, envp, argv].into_iter().flatten() {
            if string.len() >= MAX_ARG_STRLEN {
                return Err(Errno::E2BIG);
            }
            len += string.len() + 1;
            check(len, limit)?;
        }
        Ok(Self {
            filename: join(filename)?,
            argv: join(argv)?,
            envp: join(envp)?,
            argc: argv.len(),
            envc: envp.len(),
            limit,
        })
    }

    /// Number of bytes of all strings.
    fn len(&self) -> usize {
        self.filename.len() + self.argv.len() + self.envp.len()
    }

    /// Puts a script's interpreter, its argument and the script's name in the place of the first
    /// argument (Linux: load_script).
    ///
    /// # Errors
    /// As for [`Args::new`]; the strings may be changed then.
    pub fn run_script(&mut self, line: &Line<'_>, script: &[u8]) -> Result<(), Errno> {
        let first = self.argv.iter().position(|&byte| byte == 0).map_or(0, |n| n + 1);
        let strings = [Some(line.interpreter), line.argument, Some(script)];
        let mut argv = KVVec::new();
        for string in strings.iter().flatten() {
            push(&mut argv, string)?;
        }
        argv.extend_from_slice(&self.argv[first..], Gfp::GFP_KERNEL).map_err(enomem)?;
        self.argv = argv;
        self.argc += strings.iter().flatten().count() - 1;
        check(self.len(), self.limit)
    }

    /// The name of the file, with the zero at its end.
    #[must_use]
    pub fn filename(&self) -> &[u8] {
        &self.filename
    }

    /// The arguments.
    #[must_use]
    pub fn argv(&self) -> &[u8] {
        &self.argv
    }

    /// The environment.
    #[must_use]
    pub fn envp(&self) -> &[u8] {
        &self.envp
    }

    /// Number of arguments.
    #[must_use]
    pub fn argc(&self) -> usize {
        self.argc
    }

    /// Number of strings of the environment.
    #[must_use]
    pub fn envc(&self) -> usize {
        self.envc
    }
}

fn check(len: usize, limit: u64) -> Result<(), Errno> {
    if len as u64 > limit { Err(Errno::E2BIG) } else { Ok(()) }
}

/// The strings, one behind the other.
fn join(strings: &[&[u8]]) -> Result<KVVec<u8>, Errno> {
    let len = strings.iter().map(|string| string.len() + 1).sum();
    let mut joined = KVVec::with_capacity(len, Gfp::GFP_KERNEL).map_err(enomem)?;
    strings.iter().try_for_each(|string| push(&mut joined, string))?;
    Ok(joined)
}

/// Adds a string and its zero.
fn push(to: &mut KVVec<u8>, string: &[u8]) -> Result<(), Errno> {
    to.extend_from_slice(string, Gfp::GFP_KERNEL).map_err(enomem)?;
    to.push(0, Gfp::GFP_KERNEL).map_err(enomem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_all_strings() {
        // A quarter of the stack, but at least 128 KiB and at most 6 MiB, without the pointers.
        for (stack, limit) in [
            (0, 131_072),
            (512 << 10, 131_072),
            (1 << 20, 262_144),
            (8 << 20, 2 << 20),
            (24 << 20, 6 << 20),
            (u64::MAX, 6 << 20),
        ] {
            assert_eq!(stack_limit(1, 0, stack), Ok(limit - 8));
            assert_eq!(stack_limit(0, 0, stack), Ok(limit - 8));
            assert_eq!(stack_limit(2, 3, stack), Ok(limit - 40));
        }
        assert_eq!(stack_limit(10_000, 6_383, 0), Ok(8));
        assert_eq!(stack_limit(10_000, 6_384, 0), Err(Errno::E2BIG));
        assert_eq!(stack_limit(usize::MAX, 1, 0), Err(Errno::E2BIG));
        assert_eq!(stack_limit(1 << 61, 0, 0), Err(Errno::E2BIG));
    }
}
