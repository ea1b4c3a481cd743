//! Users: programs at EL0, and what the kernel does for them.
//!
//! | room | what it is (Linux) |
//! | --- | --- |
//! | [`exec`] | from an executable file to an address space and a first stack (fs/exec.c, fs/binfmt_elf.c, fs/binfmt_script.c) |

pub mod exec;
