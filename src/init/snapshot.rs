//! `granule.snapshot=PATH`: memory's state as a file of the host.

use crate::drivers::semihosting::HostFile;
use crate::firmware::cmdline::CommandLine;
use crate::fs;
use log::{error, info};

/// Writes the state of memory to the file that the command line names, if it names one. Returns
/// false if it was asked for and could not be written.
#[must_use]
pub fn asked_for(line: &CommandLine<'_>) -> bool {
    let Some(path) = line.granule("snapshot") else { return true };
    let Some(mut file) = HostFile::create(path) else {
        error!("granule.snapshot={path:?}: no such file can be made, or no host is there");
        return false;
    };
    let written = fs::read("/sys/kernel/debug/memory_snapshot", &mut file);
    if written.is_err() || !file.finish() {
        error!("granule.snapshot={path:?}: the host does not take all of it");
        return false;
    }
    info!("memory's state is in {path}");
    true
}
