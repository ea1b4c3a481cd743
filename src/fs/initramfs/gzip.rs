//! gzip (RFC 1952), decompressed into a window of 32 KiB by `miniz_oxide`.
#![deny(unsafe_code)]

use super::UnpackError;
use crate::errno::Errno;
use crate::mm::alloc::{AllocError, KBox, KVec};
use crate::mm::gfp::Gfp;
use crate::sched::cond_resched;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress as inflate};

/// The first bytes of a member, the compression method deflate included.
pub(super) const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
/// Bytes that a match may lie back, all of which are kept.
const WINDOW: usize = 32 << 10;
/// Bytes that are read at a time.
const PIECE: usize = 16 << 10;

/// Flags of a header.
const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

/// Checksums of the 16 values of four bits.
const CRC: [u32; 16] = {
    let mut table = [0; 16];
    let mut n = 0;
    while n < 16 {
        let (mut crc, mut bit) = (n as u32, 0);
        while bit < 4 {
            crc = crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
};

/// CRC-32 (RFC 1952, section 8) of `bytes` behind those of `crc`.
fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!crc, |crc, &byte| {
        let crc = crc ^ u32::from(byte);
        let crc = crc >> 4 ^ CRC[crc as usize & 15];
        crc >> 4 ^ CRC[crc as usize & 15]
    })
}

/// Number of bytes of a member's header.
fn header(data: &[u8]) -> Result<usize, UnpackError> {
    let flags = *data.get(3).ok_or(UnpackError::Truncated)?;
    if flags & RESERVED != 0 {
        return Err(UnpackError::Damaged);
    }
    let mut at = 10;
    if flags & FEXTRA != 0 {
        let len = data.get(at..at + 2).ok_or(UnpackError::Truncated)?;
        at += 2 + usize::from(u16::from_le_bytes([len[0], len[1]]));
    }
    for flag in [FNAME, FCOMMENT] {
        if flags & flag != 0 {
            let text = data.get(at..).ok_or(UnpackError::Truncated)?;
            at += text.iter().position(|&byte| byte == 0).ok_or(UnpackError::Truncated)? + 1;
        }
    }
    if flags & FHCRC != 0 {
        at += 2;
    }
    if at > data.len() { Err(UnpackError::Truncated) } else { Ok(at) }
}

/// Creates the state of a decompression. The value of 11 KiB passes over the stack, which is why
/// nothing else is called here.
#[inline(never)]
fn decompressor() -> Result<KBox<DecompressorOxide>, AllocError> {
    let room = KBox::<DecompressorOxide>::new_uninit(Gfp::GFP_KERNEL)?;
    Ok(KBox::write(room, DecompressorOxide::new()))
}

/// Decompresses the member that `data` begins with, and calls `out` with its bytes piece by
/// piece. Returns the number of bytes of the member. Process context.
///
/// # Errors
/// `Truncated` or `Damaged`, want of memory, and those of `out`.
pub(super) fn decompress(
    data: &[u8],
    out: &mut dyn FnMut(&[u8]) -> Result<(), UnpackError>,
) -> Result<usize, UnpackError> {
    const OOM: UnpackError = UnpackError::Write(Errno::ENOMEM);
    let mut state = decompressor().map_err(|_| OOM)?;
    let mut window = KVec::from_elem(0, WINDOW, Gfp::GFP_KERNEL).map_err(|_| OOM)?;
    let (mut at, mut to) = (header(data)?, 0);
    let (mut crc, mut len) = (0, 0_u32);
    loop {
        let piece = &data[at..data.len().min(at + PIECE)];
        let is_last = at + piece.len() == data.len();
        let flags = if is_last { 0 } else { TINFL_FLAG_HAS_MORE_INPUT };
        let (status, used, made) = inflate(&mut state, piece, window.as_mut_slice(), to, flags);
        at += used;
        let bytes = &window[to..to + made];
        crc = crc32(crc, bytes);
        len = len.wrapping_add(made as u32);
        out(bytes)?;
        to = (to + made) % WINDOW;
        match status {
            TINFLStatus::Done => break,
            TINFLStatus::HasMoreOutput => {}
            TINFLStatus::NeedsMoreInput if !is_last => {}
            TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => {
                return Err(UnpackError::Truncated);
            }
            _ => return Err(UnpackError::Damaged),
        }
        cond_resched();
    }
    let trailer = data.get(at..at + 8).ok_or(UnpackError::Truncated)?;
    let word =
        |n: usize| u32::from_le_bytes([trailer[n], trailer[n + 1], trailer[n + 2], trailer[n + 3]]);
    if (word(0), word(4)) == (crc, len) { Ok(at + 8) } else { Err(UnpackError::Damaged) }
}
