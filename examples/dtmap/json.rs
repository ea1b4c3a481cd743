//! Serialisation of values: nothing is gathered first, so that no tree, however large its lists,
//! makes this program take memory.

use granule::firmware::fdt::{Reg, Regs, Strings, Text};
use serde_core::{Serialize, Serializer};
use std::fmt;

/// Defines a type whose values are written as JSON objects, key by key.
macro_rules! object {
    ($name:ident($value:ident: $of:ty) { $($key:literal: $entry:expr,)* }) => {
        /// Written as a JSON object.
        pub struct $name<'a>(pub $of);

        impl serde_core::Serialize for $name<'_> {
            fn serialize<S: serde_core::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                use serde_core::ser::SerializeMap;
                let $value = &self.0;
                let mut map = to.serialize_map(None)?;
                $(map.serialize_entry($key, &$entry)?;)*
                map.end()
            }
        }
    };
}
pub(crate) use object;

/// A number as a hexadecimal string.
pub struct Hex(pub u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// Items of an iterator as an array. The iterator is created anew each time the array is
/// written.
pub struct List<F>(pub F);

impl<I: IntoIterator<Item: Serialize>, F: Fn() -> I> Serialize for List<F> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq((self.0)())
    }
}

/// Value that is written as it is displayed.
pub struct Shown<T>(pub T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

/// Text from the tree as it is; JSON escapes what could drive a terminal, but for the
/// control characters past ASCII. They, and what is not UTF-8, become U+FFFD.
pub struct Plain<'a>(pub Text<'a>);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for chunk in self.0.bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                let drives = c.is_control() && !c.is_ascii() || c == '\u{7f}';
                f.write_char(if drives { char::REPLACEMENT_CHARACTER } else { c })?;
            }
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// `strings`, or null where the property is absent.
pub fn strings<'a>(there: bool, strings: Strings<'a>) -> Option<impl Serialize + use<'a>> {
    there.then_some(List(move || strings.map(Plain)))
}

/// Address and size.
pub fn pair(reg: Reg) -> (Hex, Hex) {
    (Hex(reg.base.get()), Hex(reg.size))
}

/// Pairs of address and size, or null.
pub fn regs<'a>(regs: Option<Regs<'a>>) -> Option<impl Serialize + use<'a>> {
    regs.map(|regs| List(move || regs.map(pair)))
}
