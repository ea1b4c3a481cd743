//! The headers of an ELF file (Linux: fs/binfmt_elf.c, load_elf_phdrs).
//!
//! The crate `elf` takes them apart. Of `e_ident` Linux looks at the magic number alone, and takes
//! class, byte order and version for granted, so nothing else is looked at here.

use super::{ExecFile, read_exact};
use crate::addr::PAGE_SIZE;
use crate::errno::Errno;
use crate::mm::alloc::KVec;
use crate::mm::gfp::Gfp;
use elf::abi;
use elf::endian::LittleEndian;
use elf::file::{Class, FileHeader};
use elf::parse::ParseAt;

pub use elf::segment::ProgramHeader;

/// Bytes of the header of a file.
pub const EHDR_SIZE: usize = abi::EI_NIDENT + elf::file::ELF64_EHDR_TAILSIZE;
/// Bytes of the header of a program.
pub const PHDR_SIZE: usize = 56;
/// Bytes that the name of an interpreter may have, with the zero at its end (Linux: PATH_MAX).
const PATH_MAX: u64 = 4096;

/// Kind of a program's file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ElfType {
    /// A program at addresses of its own (ET_EXEC).
    Exec,
    /// A program or a library at any address (ET_DYN).
    Dyn,
}

/// Header of a file.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    header: FileHeader<LittleEndian>,
}

impl Header {
    /// Takes the header apart; `None` without the magic number, or for another machine.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (ident, tail) = bytes.split_at_checked(abi::EI_NIDENT)?;
        if !ident.starts_with(&abi::ELFMAGIC) {
            return None;
        }
        let header = FileHeader::parse_tail((LittleEndian, Class::ELF64, 0, 0), tail).ok()?;
        (header.e_machine == abi::EM_AARCH64).then_some(Self { header })
    }

    /// The kind of the file; `None` if it is none that can be loaded.
    #[must_use]
    pub fn elf_type(&self) -> Option<ElfType> {
        match self.header.e_type {
            abi::ET_EXEC => Some(ElfType::Exec),
            abi::ET_DYN => Some(ElfType::Dyn),
            _ => None,
        }
    }

    /// Address of the first instruction, as the file has it.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.header.e_entry
    }

    /// Offset of the program headers in the file.
    #[must_use]
    pub fn phoff(&self) -> u64 {
        self.header.e_phoff
    }

    /// Number of program headers.
    #[must_use]
    pub fn phnum(&self) -> u16 {
        self.header.e_phnum
    }
}

/// A file with its headers.
#[derive(Debug)]
pub struct Image {
    /// The header.
    pub header: Header,
    /// The program headers.
    pub segments: KVec<ProgramHeader>,
}

impl Image {
    /// Opens a program, of which `buf` is the start. Process context.
    ///
    /// # Errors
    /// ENOEXEC: it is no program for this machine, or its program headers are none.
    pub fn open_program(buf: &[u8], file: &dyn ExecFile) -> Result<(Self, ElfType), Errno> {
        let header = Header::parse(buf).ok_or(Errno::ENOEXEC)?;
        let kind = header.elf_type().ok_or(Errno::ENOEXEC)?;
        Ok((Self::read(header, file).ok_or(Errno::ENOEXEC)?, kind))
    }

    /// Opens the interpreter of a program. Its kind is looked at when it is loaded. Process context.
    ///
    /// # Errors
    /// ELIBBAD: as ENOEXEC of [`Image::open_program`] · EIO: it is too short for a header, and those
    /// of the file.
    pub fn open_interpreter(file: &dyn ExecFile) -> Result<Self, Errno> {
        let mut buf = [0; EHDR_SIZE];
        read_exact(file, 0, &mut buf)?;
        let header = Header::parse(&buf).ok_or(Errno::ELIBBAD)?;
        Self::read(header, file).ok_or(Errno::ELIBBAD)
    }

    /// Reads the program headers behind `header`. Process context.
    ///
    /// # Errors
    /// `None`: their size is another, there are none or more than a page of them, they can't be read,
    /// or memory is short. Linux has one error for all of these.
    fn read(header: Header, file: &dyn ExecFile) -> Option<Self> {
        if usize::from(header.header.e_phentsize) != PHDR_SIZE {
            return None;
        }
        let size = PHDR_SIZE * usize::from(header.phnum());
        if size == 0 || size > PAGE_SIZE {
            return None;
        }
        let mut bytes = KVec::from_elem(0, size, Gfp::GFP_KERNEL).ok()?;
        read_exact(file, header.phoff(), &mut bytes).ok()?;
        let mut segments =
            KVec::with_capacity(usize::from(header.phnum()), Gfp::GFP_KERNEL).ok()?;
        let mut offset = 0;
        while offset < size {
            let segment =
                ProgramHeader::parse_at(LittleEndian, Class::ELF64, &mut offset, &bytes).ok()?;
            segments.push_within_capacity(segment).ok()?;
        }
        Some(Self { header, segments })
    }

    /// The segments that are to be mapped.
    pub fn loads(&self) -> impl Iterator<Item = &ProgramHeader> {
        self.segments.iter().filter(|segment| segment.p_type == abi::PT_LOAD)
    }

    /// Reads the name of the interpreter, without the zero at its end; `None` if the file wants
    /// none. Process context.
    ///
    /// # Errors
    /// ENOEXEC: too long, too short, or without a zero at the end · ENOMEM · EIO: the file is too
    /// short, and those of the file.
    pub fn interpreter(&self, file: &dyn ExecFile) -> Result<Option<KVec<u8>>, Errno> {
        let Some(segment) = self.segments.iter().find(|s| s.p_type == abi::PT_INTERP) else {
            return Ok(None);
        };
        if !(2..=PATH_MAX).contains(&segment.p_filesz) {
            return Err(Errno::ENOEXEC);
        }
        let mut name = KVec::from_elem(0, segment.p_filesz as usize, Gfp::GFP_KERNEL)
            .map_err(|_| Errno::ENOMEM)?;
        read_exact(file, segment.p_offset, &mut name)?;
        if name.last() != Some(&0) {
            return Err(Errno::ENOEXEC);
        }
        let len = name.iter().position(|&byte| byte == 0).unwrap_or(0);
        name.truncate(len);
        Ok(Some(name))
    }

    /// Returns whether the stack is to be executable; `None` if the file doesn't say. The last header
    /// counts.
    #[must_use]
    pub fn executable_stack(&self) -> Option<bool> {
        let segment = self.segments.iter().rfind(|s| s.p_type == abi::PT_GNU_STACK)?;
        Some(segment.p_flags & abi::PF_X != 0)
    }
}
