//! Reader of /proc files by a third-party library, procfs-core.
//!
//!   procread DIRECTORY
//!
//! Prints what it found in `meminfo`, `vmstat`, `iomem`, `cmdline`, `stat`, `loadavg` and `uptime`
//! there: a line for each figure, the file's name, the figure's name and the figure; sizes in bytes,
//! times in hundredths of a second.

use procfs_core::{
    CpuTime, ExplicitSystemInfo, FromRead, FromReadSI, Iomem, KernelCmdline, KernelStats,
    LoadAverage, Meminfo, ProcResult, Uptime, VmStat,
};
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
    let info = ExplicitSystemInfo {
        boot_time_secs: 0,
        ticks_per_second: 100,
        page_size: 4096,
        is_little_endian: true,
    };
    let stat = KernelStats::from_file(directory.join("stat"), &info)?;
    let print_cpu = |name: &str, cpu: &CpuTime| {
        let CpuTime { user, nice, system, idle, .. } = cpu;
        println!("stat {name} {}", user + nice + system + idle);
    };
    print_cpu("total", &stat.total);
    for (n, cpu) in stat.cpu_time.iter().enumerate() {
        print_cpu(&format!("cpu{n}"), cpu);
    }
    println!("stat ctxt {}", stat.ctxt);
    println!("stat btime {}", stat.btime);
    println!("stat processes {}", stat.processes);
    println!("stat procs_running {}", stat.procs_running.unwrap_or(0));
    let load = LoadAverage::from_file(directory.join("loadavg"))?;
    println!("loadavg one {}", (load.one * 100.0).round());
    println!("loadavg running {}", load.cur);
    println!("loadavg tasks {}", load.max);
    println!("loadavg last_pid {}", load.latest_pid);
    let uptime = Uptime::from_file(directory.join("uptime"))?;
    println!("uptime up {}", (uptime.uptime * 100.0).round());
    println!("uptime idle {}", (uptime.idle * 100.0).round());
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
