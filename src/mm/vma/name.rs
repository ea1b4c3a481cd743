//! Names of anonymous areas by prctl(PR_SET_VMA_ANON_NAME) (Linux: struct anon_vma_name).

use arrayvec::ArrayString;

/// Bytes of a name at most (Linux: ANON_VMA_NAME_MAX_LEN, less the NUL).
pub const ANON_NAME_MAX: usize = 79;

/// Name of an anonymous area.
#[derive(PartialEq, Eq, Debug)]
pub struct AnonName(ArrayString<ANON_NAME_MAX>);

impl AnonName {
    /// The name with these bytes. `None` if there are too many, or one that Linux does not permit: an
    /// unprintable one, a backslash, a backquote, a dollar sign or a bracket (Linux:
    /// is_valid_name_char).
    #[must_use]
    pub fn new(name: &[u8]) -> Option<Self> {
        let is_valid = |&byte: &u8| matches!(byte, 0x20..=0x7e) && !b"\\`$[]".contains(&byte);
        let name =
            core::str::from_utf8(name).ok().filter(|name| name.bytes().all(|b| is_valid(&b)))?;
        ArrayString::from(name).ok().map(Self)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::AnonName;

    #[test]
    fn names_are_printable() {
        assert_eq!(AnonName::new(b"libc malloc").expect("a name").as_str(), "libc malloc");
        for bad in [&b"a\\"[..], b"a`", b"$a", b"[a", b"a]", b"a\n", b"\x7f", &[0x80], &[b'a'; 80]]
        {
            assert_eq!(AnonName::new(bad), None, "{bad:?}");
        }
        assert!(AnonName::new(&[b'a'; 79]).is_some());
    }
}
