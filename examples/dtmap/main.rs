//! `scripts/dtmap`: what the kernel reads from a device tree, and what it makes of it.
//!
//! The same code as the kernel's reads the tree and fills memblock; this program adds
//! the printing alone. `usage.txt` tells what is printed.

mod facts;
mod json;
mod map;
#[cfg(test)]
mod tests;

use facts::{Choice, Memory, PowerStates, Processors, Reserved};
use granule::addr::{PhysAddr, PhysRange};
use granule::firmware::cmdline::{CommandLine, parse_size};
use granule::firmware::fdt::{MAX_SIZE, Text, Tree};
use granule::mm::memblock::scan::ScanError;
use json::{List, Plain, object, pair};
use map::{Map, Memblocks, Places, Zones};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::process::ExitCode;

/// The most bytes that are printed of one tree: a few times what the largest that is
/// taken can have facts.
const MAX_OUTPUT: usize = 64 << 20;

/// Reason why there is no answer.
#[derive(Debug)]
enum Failure {
    /// The arguments make no sense.
    Usage(String),
    /// Error message of one line.
    Error(String),
    /// Standard output was closed by its reader.
    Closed,
}

/// Request by the arguments.
struct Request {
    file: OsString,
    append: Option<String>,
    image: PhysRange,
    dtb_at: Option<PhysAddr>,
}

object! { Report(it: (Tree<'a>, &'a Map)) {
    "model": it.0.model().map(Plain),
    "compatible": facts::root_compatible(&it.0),
    "root_address_cells": it.0.root().cells().address,
    "root_size_cells": it.0.root().cells().size,
    "root_cells_explicit": it.0.root().has("#address-cells") && it.0.root().has("#size-cells"),
    "memory": List(|| it.0.memory().map(Memory)),
    "ram": facts::ram(&it.0),
    "memory_nodes_without_device_type": facts::without_device_type(&it.0),
    "memreserve": List(|| it.0.reservations().map(pair)),
    "reserved_memory": it.0.reserved_memory().map(Reserved),
    "chosen": it.0.chosen().map(Choice),
    "cpus": it.0.cpus().map(Processors),
    "psci": PowerStates(&it.0),
    "numa_distance": it.0.numa_distances().is_some()
        .then_some(List(|| it.0.numa_distances().into_iter().flatten())),
    "memblock": Memblocks(it.1),
    "zones": Zones(it.1),
} }

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    let (mut out, mut err) = (BufWriter::new(io::stdout().lock()), io::stderr().lock());
    ExitCode::from(run(arguments, &mut out, &mut err))
}

/// The program: prints, and gives the exit code.
fn run(arguments: impl Iterator<Item = OsString>, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let done = match request(arguments) {
        Ok(Some(request)) => {
            let blob = read(&request.file);
            blob.and_then(|blob| describe(&blob, &request, out, err))
        }
        Ok(None) => written(out.write_all(include_bytes!("usage.txt")).and_then(|()| out.flush())),
        Err(failure) => Err(failure),
    };
    // Where nobody reads what goes wrong, the exit code is left.
    let (code, _) = match done {
        Ok(()) => (0, Ok(())),
        Err(Failure::Closed) => (1, Ok(())),
        Err(Failure::Error(line)) => (1, writeln!(err, "error: {line}")),
        Err(Failure::Usage(line)) => {
            (2, writeln!(err, "error: {line}; scripts/dtmap --help tells the usage"))
        }
    };
    code
}

/// Parses the arguments; `None` for help.
fn request(mut arguments: impl Iterator<Item = OsString>) -> Result<Option<Request>, Failure> {
    let nothing = PhysRange::new(PhysAddr::new(0), PhysAddr::new(0));
    let (mut file, mut append, mut image, mut dtb_at) = (None, None, nothing, None);
    let mut options = true;
    while let Some(argument) = arguments.next() {
        let option = argument.to_str().filter(|text| options && text.starts_with('-'));
        let mut value = |what: &str| -> Result<String, Failure> {
            let value = arguments.next().ok_or_else(|| usage(&argument, "wants", what))?;
            value.into_string().map_err(|_| usage(&argument, "wants text:", what))
        };
        match option {
            Some("-h" | "--help") => return Ok(None),
            Some("--") => options = false,
            Some("--append") => append = Some(value("a kernel command line")?),
            Some("--image") => {
                let what = "BASE,SIZE, such as 0x40200000,2M";
                let (text, mut range) = (value(what)?, None);
                if let Some((base, size)) = text.split_once(',')
                    && let (Some(base), Some(size)) = (parse_size(base), parse_size(size))
                {
                    let whole = base.checked_add(size).is_some();
                    range = whole.then_some(PhysRange::from_size(PhysAddr::new(base), size));
                }
                image = range.ok_or_else(|| usage(&argument, "wants", what))?;
            }
            Some("--dtb-at") => {
                let what = "an address, such as 0x48000000";
                let at = parse_size(&value(what)?);
                dtb_at = Some(PhysAddr::new(at.ok_or_else(|| usage(&argument, "wants", what))?));
            }
            Some(_) => return Err(usage(&argument, "is no option", "")),
            None if file.is_some() => return Err(usage(&argument, "is one file too many", "")),
            None => file = Some(argument),
        }
    }
    let file = file.ok_or_else(|| Failure::Usage("no file is named".into()))?;
    Ok(Some(Request { file, append, image, dtb_at }))
}

fn usage(argument: &OsStr, defect: &str, what: &str) -> Failure {
    let line = format!("{} {defect} {what}", Text::new(argument.as_encoded_bytes()));
    Failure::Usage(line.trim_end().into())
}

/// Reads a file that is no larger than a tree can be.
fn read(file: &OsStr) -> Result<Vec<u8>, Failure> {
    let mut blob = Vec::new();
    let bytes =
        File::open(file).and_then(|file| file.take(MAX_SIZE as u64 + 1).read_to_end(&mut blob));
    let defect = match bytes {
        Err(error) => error.to_string(),
        Ok(0) => "the file is empty".into(),
        Ok(bytes) if bytes > MAX_SIZE => {
            format!(
                "the file is larger than {MAX_SIZE:#x} bytes, the most that a device tree may have"
            )
        }
        Ok(_) => return Ok(blob),
    };
    Err(Failure::Error(format!("{}: {defect}", Text::new(file.as_encoded_bytes()))))
}

/// Prints the object of a tree.
fn describe(
    blob: &[u8],
    request: &Request,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Failure> {
    let name = Text::new(request.file.as_encoded_bytes());
    let failed = |defect: &dyn std::fmt::Display| Failure::Error(format!("{name}: {defect}"));
    let tree = Tree::new(blob).map_err(|error| failed(&error))?;
    let given = tree.bootargs().map_or(&b""[..], Text::bytes);
    let line = request.append.as_ref().map_or(given, |line| line.as_bytes());
    let line = CommandLine::from_bytes(line);
    let size = tree.total_size() as u64;
    let nowhere = PhysRange::new(PhysAddr::new(0), PhysAddr::new(0));
    let dtb = request.dtb_at.map_or(nowhere, |at| PhysRange::from_size(at, size));
    let map = Map::new(tree, line, &Places { image: request.image, dtb });
    let map = map.map_err(|error| failed(&error))?;
    if let Some(refusal @ ScanError::NoRam) = &map.refusal
        && !is_for_the_boot_loader(&tree)
    {
        return Err(failed(refusal));
    }

    // Nothing is printed of a tree that would fill a disk: names may be long, and occur
    // in many paths.
    let report = Report((tree, &map));
    if serde_json::to_writer_pretty(Counter(MAX_OUTPUT), &report).is_err() {
        return Err(failed(&format_args!("its facts take more than {MAX_OUTPUT:#x} bytes")));
    }
    for warning in &map.warnings {
        let _ = writeln!(err, "warning: {name}: {warning}");
    }
    if map.more_warnings > 0 {
        let _ = writeln!(err, "warning: {name}: ... and {} more warnings", map.more_warnings);
    }
    if let Some(refusal) = &map.refusal {
        let _ = writeln!(err, "warning: {name}: the kernel would not boot: {refusal}");
    }
    let printed = serde_json::to_writer_pretty(&mut *out, &report).map_err(io::Error::from);
    written(printed.and_then(|()| writeln!(out)).and_then(|()| out.flush()))
}

/// Returns true if a tree without RAM is a board's as it is shipped, which the boot loader
/// completes: it names no RAM at all, or with sizes of zero, and it is not an emulator's, whose
/// trees are complete, but has devices on a bus of the chip (Devicetree Specification 0.4, 4.5).
fn is_for_the_boot_loader(tree: &Tree<'_>) -> bool {
    let is_filled_in = tree.memory().any(|entry| entry.reg.size > 0);
    let is_emulated = tree.root().is_compatible("linux,dummy-virt");
    !is_filled_in && !is_emulated && tree.walk().any(|node| node.is_compatible("simple-bus"))
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Closed,
        _ => Failure::Error(format!("standard output: {error}")),
    })
}

/// Takes so many bytes, and keeps none.
struct Counter(usize);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
