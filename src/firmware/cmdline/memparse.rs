//! Numbers and sizes.

/// A number at the start of the text, decimal, octal (`0`) or hexadecimal (`0x`), and
/// what follows it; `None` where there is none, or it exceeds 64 bits.
pub(super) fn number(text: &str) -> Option<(u64, &str)> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match hex {
        Some(digits) => (digits, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    let length = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(length);
    Some((u64::from_str_radix(digits, radix).ok()?, rest))
}

/// A size at the start of the text, with a suffix K, M, G, T, P or E (powers of 1024)
/// or none, and what follows it; `None` where there is none, or it exceeds 64 bits
/// (Linux: memparse, which wraps).
#[must_use]
pub fn memparse(text: &str) -> Option<(u64, &str)> {
    let (number, rest) = number(text)?;
    let shift = match rest.bytes().next().map(|byte| byte.to_ascii_uppercase()) {
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        Some(b'T') => 40,
        Some(b'P') => 50,
        Some(b'E') => 60,
        _ => return Some((number, rest)),
    };
    let size = number.checked_mul(1 << shift)?;
    Some((size, rest.get(1..).unwrap_or("")))
}

/// A whole text that is a size.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    match memparse(text)? {
        (size, "") => Some(size),
        _ => None,
    }
}
