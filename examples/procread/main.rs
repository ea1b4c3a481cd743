//! Reader of /proc files by a third-party library, procfs-core.
//!
//!   procread DIRECTORY
//!
//! Prints what it found in `meminfo`, `vmstat`, `iomem` and `cmdline` there: a line for each
//! figure, the file's name, the figure's name and the figure; sizes in bytes.

use procfs_core::{FromRead, Iomem, KernelCmdline, Meminfo, ProcResult, VmStat};
use std::path::Path;
use std::process::ExitCode;

fn print(directory: &Path) -> ProcResult<()> {
    let meminfo = Meminfo::from_file(directory.join("meminfo"))?;
    for (name, bytes) in [
        ("MemTotal", Some(meminfo.mem_total)),
        ("MemFree", Some(meminfo.mem_free)),
        ("MemAvailable", meminfo.mem_available),
        ("Buffers", Some(meminfo.buffers)),
        ("Cached", Some(meminfo.cached)),
        ("SwapTotal", Some(meminfo.swap_total)),
        ("Slab", Some(meminfo.slab)),
        ("SReclaimable", meminfo.s_reclaimable),
        ("SUnreclaim", meminfo.s_unreclaim),
        ("PageTables", meminfo.page_tables),
        ("KernelStack", meminfo.kernel_stack),
        ("VmallocTotal", Some(meminfo.vmalloc_total)),
        ("VmallocUsed", Some(meminfo.vmalloc_used)),
        ("CommitLimit", meminfo.commit_limit),
        ("HardwareCorrupted", meminfo.hardware_corrupted),
        ("CmaTotal", meminfo.cma_total),
        ("CmaFree", meminfo.cma_free),
    ] {
        if let Some(bytes) = bytes {
            println!("meminfo {name} {bytes}");
        }
    }
    let VmStat(mut vmstat) = VmStat::from_file(directory.join("vmstat"))?;
    let mut names: Vec<_> = vmstat.drain().collect();
    names.sort();
    for (name, figure) in names {
        println!("vmstat {name} {figure}");
    }
    for (depth, map) in Iomem::from_file(directory.join("iomem"))?.0 {
        println!("iomem {depth} {:#x} {:#x} {}", map.address.0, map.address.1, map.name);
    }
    for word in KernelCmdline::from_file(directory.join("cmdline"))?.0 {
        println!("cmdline {word}");
    }
    Ok(())
}

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: procread DIRECTORY");
        return ExitCode::from(2);
    };
    match print(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
