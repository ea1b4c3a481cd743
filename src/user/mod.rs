//! Users: programs at EL0, and what the kernel does for them.
//!
//! | room | what it is (Linux) |
//! | --- | --- |
//! | [`exec`] | from an executable file to an address space and a first stack (fs/exec.c, fs/binfmt_elf.c, fs/binfmt_script.c) |
//! | `init` | the programs that the kernel's command line asks for (init/main.c) |
//! | `proc` | files of /proc/PID (fs/proc) |
//! | `syscall` | system calls |
//! | [`process`] | processes and their ends (kernel/fork.c, kernel/exit.c, kernel/signal.c) |
//! | `vdso` | a library in each program that reads the clock (arch/arm64/kernel/vdso) |

pub mod exec;
#[cfg(target_os = "none")]
pub mod init;
#[cfg(target_os = "none")]
pub mod proc;
pub mod process;
#[cfg(target_os = "none")]
pub mod syscall;
#[cfg(target_os = "none")]
pub mod vdso;
