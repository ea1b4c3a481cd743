//! The program that the command line of the kernel asks for, in place of an init of its own (Linux:
//! init/main.c, kernel_init).
//!
//! | word | meaning |
//! | --- | --- |
//! | `granule.exec` | runs the command of `/.granule/argv` with the environment of `/.granule/envp`: strings that end with a zero each; the kernel exits with its status, 128 and the number of a signal that ended it |
//! | `granule.run_list=/FILE` | runs each line of a file, words between single spaces, and prints `== status N` where it isn't 0 |
#![deny(unsafe_code)]

use super::process::signal::Exit;
use super::process::{Child, Command, spawn};
use crate::errno::Errno;
use crate::fs::vfs::{self, Caller, Cred, FdTable, FileLimits, FsContext};
use crate::kprintln;
use crate::mm::alloc::{KVVec, KVec};
use crate::mm::gfp::Gfp;
use linux_raw_sys::general::{AT_FDCWD, O_RDONLY};

/// Status of a shell for a command that isn't found, and for one that can't be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// The environment of programs for which nobody gives one (Linux: envp_init).
const ENVP: [&[u8]; 2] = [b"HOME=/", b"TERM=linux"];

/// Reads a whole file. Process context.
///
/// # Errors
/// Those of the file; ENOMEM.
pub fn read_file(path: &[u8]) -> Result<KVVec<u8>, Errno> {
    let (files, fs) = (FdTable::new(), FsContext::new()?);
    let limits = FileLimits { nofile: 1, fsize: u64::MAX };
    let caller = Caller { files: &files, fs: &fs, cred: &Cred::ROOT, limits };
    let file = vfs::open_file(&caller, AT_FDCWD, path, O_RDONLY, 0)?;
    let mut bytes = KVVec::new();
    loop {
        let mut part = [0; 512];
        let n = vfs::kernel_read(&file, bytes.len() as u64, &mut part)?;
        if n == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&part[..n], Gfp::GFP_KERNEL)?;
    }
}

/// Strings that end with `end` each.
fn split(bytes: &[u8], end: u8) -> Result<KVec<&[u8]>, Errno> {
    let bytes = bytes.strip_suffix(&[end]).unwrap_or(bytes);
    let mut strings = KVec::new();
    if !bytes.is_empty() {
        for string in bytes.split(|&byte| byte == end) {
            strings.push(string, Gfp::GFP_KERNEL)?;
        }
    }
    Ok(strings)
}

/// Starts a program with these words. Process context.
///
/// # Errors
/// Those of [`spawn`]; ENOENT without words.
pub fn start(argv: &[&[u8]], envp: Option<&[&[u8]]>) -> Result<Child, Errno> {
    let path = argv.first().ok_or(Errno::ENOENT)?;
    spawn(&Command { path, argv, envp: envp.unwrap_or(&ENVP) })
}

/// Runs a program with these words to its end; its status as a shell has it.
fn run_words(argv: &[&[u8]], envp: Option<&[&[u8]]>) -> u8 {
    match start(argv, envp) {
        Ok(child) => {
            let exit = child.wait();
            if let Exit::Signal(_) = exit {
                log::info!("{}: {exit}", argv[0].escape_ascii());
            }
            exit.shell_status()
        }
        Err(errno) => {
            let path = argv.first().copied().unwrap_or(b"");
            log::error!("{}: cannot be run: {errno:?}", path.escape_ascii());
            if errno == Errno::ENOENT { NOT_FOUND } else { NOT_EXECUTABLE }
        }
    }
}

/// Runs the command of `/.granule/argv`; its status. Process context.
#[must_use]
pub fn exec() -> u8 {
    let run = || {
        let argv = read_file(b"/.granule/argv")?;
        let envp = match read_file(b"/.granule/envp") {
            Err(Errno::ENOENT) => None,
            result => Some(result?),
        };
        let envp = envp.as_ref().map(|envp| split(envp, 0)).transpose()?;
        let envp = envp.as_deref().filter(|envp| !envp.is_empty());
        Ok(run_words(&split(&argv, 0)?, envp))
    };
    run().unwrap_or_else(|errno: Errno| {
        log::error!("/.granule/argv: {errno:?}");
        NOT_EXECUTABLE
    })
}

/// Runs each line of a file; 0 if the file could be read. Process context.
#[must_use]
pub fn run_list(path: &[u8]) -> u8 {
    let run = || {
        let text = read_file(path)?;
        for line in split(&text, b'\n')?.iter().filter(|line| !line.is_empty()) {
            let status = run_words(&split(line, b' ')?, Some(&[]));
            if status != 0 {
                kprintln!("== status {status}");
            }
        }
        kprintln!("== done");
        Ok(0)
    };
    run().unwrap_or_else(|errno: Errno| {
        log::error!("{}: {errno:?}", path.escape_ascii());
        NOT_EXECUTABLE
    })
}
