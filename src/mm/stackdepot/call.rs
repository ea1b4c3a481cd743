//! Names of return addresses.

use crate::sync::Once;
use core::fmt;

/// Writes the name of an instruction.
pub type Symbolizer = fn(usize, &mut fmt::Formatter<'_>) -> fmt::Result;

static SYMBOLIZER: Once<Symbolizer> = Once::new();

/// Lets `symbolizer` name instructions in reports. The first one counts.
pub fn set_symbolizer(symbolizer: Symbolizer) {
    SYMBOLIZER.call_once(|| symbolizer);
}

/// A return address, as the place of the call.
#[derive(Clone, Copy)]
pub struct Call(pub usize);

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The call is the instruction before the return address.
        let call = self.0.wrapping_sub(4);
        match SYMBOLIZER.get() {
            Some(symbolizer) => symbolizer(call, f),
            None => write!(f, "{call:#x}"),
        }
    }
}
