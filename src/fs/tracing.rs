//! /sys/kernel/tracing (Linux: kernel/trace/trace.c, kernel/trace/trace_events.c).

use super::FsError;
use super::tree::{File, Node};
use crate::arch::CpuId;
use crate::percpu::{Names, nr_cpu_ids};
use crate::trace::{
    self, EVENTS, Format, HEADER_EVENT, HeaderPage, Rings, SavedCmdlines, Stats, Trace, TraceError,
};
use core::fmt;

impl From<TraceError> for FsError {
    fn from(why: TraceError) -> Self {
        match why {
            TraceError::NoMemory => Self::OutOfMemory,
            TraceError::Invalid => Self::InvalidArgument,
            TraceError::Busy => Self::Busy,
        }
    }
}

/// The files of an event, by its place in [`EVENTS`].
const EVENT: &[File] = &[
    File::new("enable", |n, out| writeln!(out, "{}", u8::from(is_on(n)))).with_store_of(
        |n, text| {
            let set = trace::enabled();
            let set = if switch(text)? { set | 1 << n } else { set & !(1 << n) };
            Ok(trace::set_events(set)?)
        },
    ),
    File::new("format", |n, out| write!(out, "{}", Format(n))),
    File::new("id", |n, out| writeln!(out, "{}", trace::event_id(n))),
];

/// The files of a CPU.
const CPU: &[File] = &[
    File::new("stats", |n, out| {
        let Some(cpu) = CpuId::new(n) else { return Ok(()) };
        write!(out, "{}", Stats(&Rings::take(), cpu))
    }),
    File::private("trace", |n, out| write!(out, "{}", Trace::new(&Rings::take(), CpuId::new(n)))),
];

/// A directory for each event of a system.
macro_rules! system {
    ($name:literal) => {
        Node::Dir(
            $name,
            &[
                Node::File(
                    File::new("enable", |_, out| enable(out, $name))
                        .with_store(|text| set_system($name, text)),
                ),
                Node::Each {
                    count: || EVENTS.len(),
                    name: |n| EVENTS.get(n).filter(|of| of.system == $name).map(|of| of.name),
                    files: EVENT,
                },
            ],
        )
    };
}

pub(super) const FILES: &[Node] = &[
    Node::File(File::new("available_events", |_, out| events(out, |_| true))),
    Node::File(File::new("buffer_size_kb", buffer_size).with_store(|text| {
        let kb = text.parse().map_err(|_| FsError::InvalidArgument)?;
        Ok(trace::set_buffer_size_kb(kb)?)
    })),
    Node::Dir(
        "events",
        &[
            system!("cma"),
            system!("compaction"),
            Node::File(
                File::new("enable", |_, out| enable(out, ""))
                    .with_store(|text| set_system("", text)),
            ),
            system!("exceptions"),
            Node::File(File::new("header_event", |_, out| out.write_str(HEADER_EVENT))),
            Node::File(File::new("header_page", |_, out| write!(out, "{HeaderPage}"))),
            system!("kmem"),
            system!("vmalloc"),
            system!("vmscan"),
        ],
    ),
    Node::File(File::new("free_buffer", |_, _| Ok(())).with_store(|_| Ok(trace::free_buffers()?))),
    Node::Dir("per_cpu", &[Node::Each { count: nr_cpu_ids, name: cpu_name, files: CPU }]),
    Node::File(File::new("saved_cmdlines", |_, out| {
        write!(out, "{}", SavedCmdlines(&Rings::take()))
    })),
    Node::File(
        File::new("set_event", |_, out| events(out, is_on))
            .with_store(|text| Ok(trace::set_event_names(text)?)),
    ),
    Node::File(
        File::private("trace", |_, out| write!(out, "{}", Trace::new(&Rings::take(), None)))
            .with_store(|_| {
                trace::clear();
                Ok(())
            }),
    ),
    Node::File(
        File::new("tracing_on", |_, out| writeln!(out, "{}", u8::from(trace::is_recording())))
            .with_store(|text| {
                trace::set_recording(switch(text)?);
                Ok(())
            }),
    ),
];

fn is_on(n: usize) -> bool {
    trace::enabled() >> n & 1 != 0
}

/// 0 or 1.
fn switch(text: &str) -> Result<bool, FsError> {
    match text {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(FsError::InvalidArgument),
    }
}

/// The events of a system, or all for `""`, a bit for each.
fn set_of(system: &str) -> u32 {
    let of = EVENTS.iter().enumerate().filter(|(_, of)| system.is_empty() || of.system == system);
    of.fold(0, |set, (n, _)| set | 1 << n)
}

/// Returns whether the events of a system are on: `0`, `1`, or `X` for some of them.
fn enable(out: &mut dyn fmt::Write, system: &str) -> fmt::Result {
    let all = set_of(system);
    let on = trace::enabled() & all;
    writeln!(
        out,
        "{}",
        if on == 0 {
            '0'
        } else if on == all {
            '1'
        } else {
            'X'
        }
    )
}

fn set_system(system: &str, text: &str) -> Result<(), FsError> {
    let (set, of) = (trace::enabled(), set_of(system));
    Ok(trace::set_events(if switch(text)? { set | of } else { set & !of })?)
}

/// A line for each event that `is` of interest.
fn events(out: &mut dyn fmt::Write, is: fn(usize) -> bool) -> fmt::Result {
    let of_interest = EVENTS.iter().enumerate().filter(|&(n, _)| is(n));
    of_interest.into_iter().try_for_each(|(_, of)| writeln!(out, "{}:{}", of.system, of.name))
}

fn buffer_size(_: usize, out: &mut dyn fmt::Write) -> fmt::Result {
    match trace::buffer_size_kb() {
        (kb, true) => writeln!(out, "{kb}"),
        (kb, false) => writeln!(out, "0 (expanded: {kb})"),
    }
}

fn cpu_name(n: usize) -> Option<&'static str> {
    static NAMES: Names<6> = Names::new("cpu");
    NAMES.get(n)
}
