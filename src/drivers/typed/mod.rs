//! Input that was typed and not read yet.
#![deny(unsafe_code)]

use arrayvec::ArrayVec;

#[cfg(test)]
mod tests;

/// Number of bytes that can be stored.
const ROOM: usize = 1024;
/// Byte that a terminal sends for Ctrl-C.
const ETX: u8 = 0x03;

/// A queue of bytes, and whether Ctrl-C is among them.
pub(super) struct Typed {
    bytes: ArrayVec<u8, ROOM>,
    /// Number of `bytes` that were read.
    read: usize,
    lost: u32,
}

impl Typed {
    pub const fn new() -> Self {
        Self { bytes: ArrayVec::new_const(), read: 0, lost: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.read == self.bytes.len()
    }

    /// Returns whether the next byte has no room.
    pub fn is_full(&self) -> bool {
        self.bytes.len() - self.read == ROOM
    }

    /// Adds a byte; one without room is lost.
    pub fn push(&mut self, byte: u8) {
        if self.bytes.is_full() {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        if self.bytes.try_push(byte).is_err() {
            self.lose();
        }
    }

    /// Takes the oldest byte.
    pub fn pop(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.read)?;
        self.read += 1;
        if self.is_empty() {
            self.bytes.clear();
            self.read = 0;
        }
        Some(byte)
    }

    /// Returns whether Ctrl-C was typed; if so it and the bytes before it are discarded.
    pub fn interrupted(&mut self) -> bool {
        let waiting = self.bytes.get(self.read..).unwrap_or(&[]);
        let Some(at) = waiting.iter().rposition(|&byte| byte == ETX) else { return false };
        self.bytes.drain(..self.read + at + 1);
        self.read = 0;
        true
    }

    /// Bytes were lost.
    pub fn lose(&mut self) {
        self.lost = self.lost.saturating_add(1);
    }

    /// Returns how often bytes were lost since the last call.
    pub fn take_lost(&mut self) -> u32 {
        core::mem::take(&mut self.lost)
    }
}
