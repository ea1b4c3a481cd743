//! `/proc/stat`, `/proc/loadavg`, `/proc/uptime` and `/proc/version` (Linux: fs/proc/stat.c,
//! loadavg.c, uptime.c, version.c).

use crate::arch::CpuId;
use crate::percpu::nr_cpu_ids;
use crate::sched::{CpuTime, cpu_time, loadavg, sched_stat, task_counts};
use crate::time::{NSEC_PER_SEC, getboottime64, ktime_get};
use crate::utsname;
use core::fmt;

/// Times are printed in this many a second (Linux: USER_HZ).
const USER_HZ: u64 = 100;

fn cpus() -> impl Iterator<Item = (usize, CpuTime)> {
    (0..nr_cpu_ids()).filter_map(|n| Some((n, cpu_time(CpuId::new(n)?)?)))
}

/// The times of a line that begins with `cpu`. What nobody counts here is 0: waits for devices,
/// interrupts, and guests.
struct Times(CpuTime);

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CpuTime { user, nice, system, idle } = self.0;
        let [user, nice, system, idle] =
            [user, nice, system, idle].map(|ns| ns / (NSEC_PER_SEC / USER_HZ));
        writeln!(f, " {user} {nice} {system} {idle} 0 0 0 0 0 0")
    }
}

/// Writes `/proc/stat`.
pub(super) fn stat(out: &mut dyn fmt::Write) -> fmt::Result {
    let all = cpus().fold(CpuTime::default(), |sum, (_, time)| CpuTime {
        user: sum.user + time.user,
        nice: sum.nice + time.nice,
        system: sum.system + time.system,
        idle: sum.idle + time.idle,
    });
    write!(out, "cpu {}", Times(all))?;
    for (n, time) in cpus() {
        write!(out, "cpu{n}{}", Times(time))?;
    }
    let (stat, tasks) = (sched_stat(), task_counts());
    writeln!(out, "ctxt {}", stat.switches)?;
    writeln!(out, "btime {}", getboottime64() / NSEC_PER_SEC)?;
    writeln!(out, "processes {}", tasks.ever)?;
    writeln!(out, "procs_running {}", stat.running)?;
    writeln!(out, "procs_blocked 0")
}

/// Writes `/proc/loadavg`.
pub(super) fn load(out: &mut dyn fmt::Write) -> fmt::Result {
    let tasks = task_counts();
    writeln!(out, "{} {}/{} {}", loadavg(), sched_stat().running, tasks.now, tasks.last_pid)
}

/// Writes `/proc/uptime`: the time since the boot, and that of all CPUs without a task, in seconds.
pub(super) fn uptime(out: &mut dyn fmt::Write) -> fmt::Result {
    let idle = cpus().map(|(_, time)| time.idle).sum();
    let [up, idle] = [ktime_get(), idle].map(|ns| ns / (NSEC_PER_SEC / 100));
    writeln!(out, "{}.{:02} {}.{:02}", up / 100, up % 100, idle / 100, idle % 100)
}

/// Writes `/proc/version`.
pub(super) fn version(out: &mut dyn fmt::Write) -> fmt::Result {
    writeln!(out, "{} version {} {}", utsname::SYSNAME, utsname::RELEASE, utsname::VERSION)
}
