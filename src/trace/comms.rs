//! Names of the tasks that wrote records, for print (Linux: saved_cmdlines of
//! kernel/trace/trace_sched_switch.c).
//!
//! A record holds a pid alone, and its task may have ended when it is read. Names are kept for
//! [`SAVED_CMDLINES`] tasks on each CPU: in sets by their pids, so that pids that follow each other
//! don't push each other out.

use crate::mm::alloc::{AllocError, KVec};
use crate::mm::gfp::Gfp;
use crate::sched::Comm;

/// Names that a CPU keeps (Linux: SAVED_CMDLINES_DEFAULT).
pub(super) const SAVED_CMDLINES: usize = 128;
/// Names of a set.
const WAYS: usize = 4;
const SETS: usize = SAVED_CMDLINES / WAYS;

/// Names by pids; a pid of 0 is an entry that is free.
#[derive(Debug)]
pub(super) struct Comms {
    entries: KVec<(u32, Comm)>,
    /// The entry of a set that goes next.
    oldest: [u8; SETS],
}

impl Comms {
    /// Creates a table without names. Process context.
    ///
    /// # Errors
    /// Memory is short.
    pub fn new(gfp: Gfp) -> Result<Self, AllocError> {
        let entries = KVec::from_elem((0, Comm::new_const()), SAVED_CMDLINES, gfp)?;
        Ok(Self { entries, oldest: [0; SETS] })
    }

    /// Notes the name of a task; the oldest of its set makes room.
    pub fn note(&mut self, pid: u32, comm: &Comm) {
        let set = pid as usize % SETS;
        let entries = &mut self.entries[set * WAYS..][..WAYS];
        let known = entries.iter_mut().find(|(other, _)| *other == pid);
        match known {
            Some((_, known)) if known == comm => {}
            Some((_, known)) => *known = *comm,
            None => {
                let oldest = &mut self.oldest[set];
                entries[usize::from(*oldest)] = (pid, *comm);
                *oldest = (*oldest + 1) % WAYS as u8;
            }
        }
    }

    /// Returns the name of a task that wrote, if it is kept.
    pub fn find(&self, pid: u32) -> Option<&str> {
        let set = pid as usize % SETS;
        let mut entries = self.entries[set * WAYS..][..WAYS].iter();
        entries.find(|(other, _)| *other == pid).map(|(_, comm)| comm.as_str())
    }

    /// Iterates over the pids and names that are kept.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        let entries = self.entries.iter().filter(|(pid, _)| *pid != 0);
        entries.map(|(pid, comm)| (*pid, comm.as_str()))
    }
}
