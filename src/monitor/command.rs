//! Commands of the monitor and their arguments, from text to values.
//!
//! Nothing of the machine is looked at: a number that is no frame's, or an address where
//! nothing is mapped, is well-formed here.
#![deny(unsafe_code)]

use crate::addr::{Order, Pfn, VirtAddr};
use crate::firmware::cmdline::parse_size;
use crate::mm::gfp::Gfp;
use bitflags::Flags;
use core::fmt;

/// Argument of a command, for completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Argument {
    /// Something that has no list.
    Any,
    /// A path of `fs`.
    Path,
    /// Choice of words.
    Word(&'static [&'static str]),
    /// GFP flags, joined by `|`.
    Gfp,
    /// A benchmark.
    Bench,
    /// A fault.
    Fault,
    /// A slab cache.
    Cache,
    /// A command.
    Command,
}

/// A command that there is.
pub struct Entry {
    /// Name of the command.
    pub name: &'static str,
    /// Arguments, as `help` shows them.
    pub arguments: &'static str,
    /// Description of the command.
    pub what: &'static str,
    /// Arguments that are completed, in order.
    pub completes: &'static [Argument],
}

macro_rules! commands {
    ($($name:literal $arguments:literal $what:literal [$($completes:expr),*];)*) => {
        /// The commands, in the order of `help`.
        pub const COMMANDS: &[Entry] = &[$(Entry {
            name: $name,
            arguments: $arguments,
            what: $what,
            completes: &[$($completes),*],
        }),*];
    };
}

commands! {
    "help" "[COMMAND]" "this list, or how to call one of it" [Argument::Command];
    "cat" "PATH" "a file of /proc or /sys" [Argument::Path];
    "ls" "[PATH]" "what a directory holds" [Argument::Path];
    "echo" "TEXT > PATH" "has a file act on a text" [Argument::Any, Argument::Word(&[">"]), Argument::Path];
    "watch" "SECONDS COMMAND..." "a command again and again, until a key" [Argument::Any, Argument::Command, Argument::Path];
    "top" "" "slab caches by size, until a key" [];
    "slab" "[CACHE]" "the figures of one slab cache, or of all" [Argument::Cache];
    "pt" "VA" "the page-table walk of an address" [];
    "page" "PFN" "a frame's descriptor" [];
    "maps" "" "the kernel's address space" [];
    "ps" "" "the tasks: state, CPU, nice value, time" [];
    "run" "PROGRAM [ARGUMENT...]" "a program of the root file system" [];
    "alloc" "[pages ORDER [GFP] | kmalloc SIZE [GFP]]" "allocates; the number is for free" [Argument::Word(&["kmalloc", "pages"]), Argument::Any, Argument::Gfp];
    "vmalloc" "SIZE" "allocates an area" [];
    "cma" "[alloc PAGES]" "allocates contiguous pages, or lists the areas" [Argument::Word(&["alloc"])];
    "held" "" "what was allocated and not freed" [];
    "free" "NUMBER | all" "frees it" [Argument::Word(&["all"])];
    "fragment" "[free]" "ages memory until it is fragmented, or lets that go" [Argument::Word(&["free"])];
    "compact" "" "compacts all zones" [];
    "stress" "COUNT [SEED]" "random allocations of all kinds, then every check" [];
    "bench" "[NAME]" "what an operation takes" [Argument::Bench];
    "date" "" "the realtime clock, and how long the machine is up" [];
    "dmesg" "" "the log" [];
    "fault" "[NAME]" "breaks a rule of memory, which ends the kernel" [Argument::Fault];
    "reboot" "" "resets the machine" [];
    "poweroff" "" "switches the machine off" [];
}

/// The command called `name`.
pub fn find(name: &str) -> Option<&'static Entry> {
    COMMANDS.iter().find(|entry| entry.name == name)
}

/// A command with its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command<'a> {
    /// `help`
    Help(Option<&'static str>),
    /// `cat`
    Cat(&'a str),
    /// `ls`
    Ls(&'a str),
    /// `echo`: the text, and the file, or none for the console.
    Echo(&'a str, Option<&'a str>),
    /// `watch`: seconds, and a command as text.
    Watch(u32, &'a str),
    /// `top`
    Top,
    /// `slab`
    Slab(Option<&'a str>),
    /// `pt`
    Pt(VirtAddr),
    /// `page`
    Page(Pfn),
    /// `maps`
    Maps,
    /// `ps`
    Ps,
    /// `run`: a program and its arguments.
    Run(&'a str),
    /// `alloc pages`
    AllocPages(Order, Gfp),
    /// `alloc kmalloc`
    AllocKmalloc(usize, Gfp),
    /// `vmalloc`
    Vmalloc(usize),
    /// `cma alloc`: pages.
    CmaAlloc(u32),
    /// `cma`
    Cma,
    /// `held`, and `alloc` alone
    Held,
    /// `free`: a number, or all.
    Free(Option<usize>),
    /// `fragment`: whether to make it, and not to let it go.
    Fragment(bool),
    /// `compact`
    Compact,
    /// `stress`: operations, and a seed.
    Stress(u32, u64),
    /// `bench`
    Bench(Option<&'a str>),
    /// `date`
    Date,
    /// `dmesg`
    Dmesg,
    /// `fault`
    Fault(Option<&'a str>),
    /// `reboot`
    Reboot,
    /// `poweroff`
    Poweroff,
}

/// Reason why a line is no command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong<'a> {
    /// There is no such command.
    Unknown(&'a str),
    /// Something is missing, or too much.
    Usage(&'static str),
    /// An argument is none: what was expected, and what stands there.
    Argument(&'static str, &'static str, &'a str),
}

impl fmt::Display for Wrong<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::Unknown(name) => return write!(f, "{name}: no such command; try help"),
            Self::Usage(name) => name,
            Self::Argument(name, expected, found) => {
                writeln!(f, "{name}: {found:?} is not {expected}")?;
                name
            }
        };
        let arguments = find(name).map_or("", |entry| entry.arguments);
        write!(f, "usage: {name} {arguments}")
    }
}

/// A number, decimal or `0x` hexadecimal.
pub fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => parse_hex(digits),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}

fn parse_hex(digits: &str) -> Option<u64> {
    // from_str_radix takes a sign, too.
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if are_digits { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// An address: hexadecimal, with `0x` or without.
pub fn parse_address(text: &str) -> Option<VirtAddr> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    Some(VirtAddr::new(usize::try_from(parse_hex(digits)?).ok()?))
}

/// GFP flags by their names, joined by `|`, `+` or `,`.
pub fn parse_gfp(text: &str) -> Option<Gfp> {
    text.split(['|', '+', ','])
        .try_fold(Gfp::empty(), |gfp, name| Some(gfp | Gfp::from_name(name)?))
}

/// GFP flags by the name of most of them and those of the rest, as [`parse_gfp`] reads them.
pub struct GfpNames(pub Gfp);

impl fmt::Display for GfpNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets = Gfp::FLAGS.iter().filter(|flag| flag.name().starts_with("GFP_"));
        let most = sets
            .filter(|flag| self.0.contains(*flag.value()))
            .max_by_key(|flag| flag.value().bits().count_ones());
        let rest = self.0 - most.map_or(Gfp::empty(), |flag| *flag.value());
        let names = most.map(|flag| flag.name()).into_iter();
        for (n, name) in names.chain(rest.iter_names().map(|(name, _)| name)).enumerate() {
            write!(f, "{}{name}", if n == 0 { "" } else { "|" })?;
        }
        if self.0.is_empty() { f.write_str("0") } else { Ok(()) }
    }
}

/// Parses a line; `None` for a blank one.
///
/// # Errors
/// [`Wrong`].
pub fn parse(line: &str) -> Result<Option<Command<'_>>, Wrong<'_>> {
    let line = line.trim();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    if name.is_empty() {
        return Ok(None);
    }
    let entry = find(name).ok_or(Wrong::Unknown(name))?;
    Arguments { name: entry.name, rest: rest.trim() }.command().map(Some)
}

/// Words after a command's name.
struct Arguments<'a> {
    name: &'static str,
    rest: &'a str,
}

impl<'a> Arguments<'a> {
    /// The next word.
    fn next(&mut self) -> Option<&'a str> {
        let (word, rest) = self.rest.split_once(char::is_whitespace).unwrap_or((self.rest, ""));
        self.rest = rest.trim_start();
        (!word.is_empty()).then_some(word)
    }

    /// The next word as what `parse` makes of it.
    fn parsed<T>(
        &mut self,
        expected: &'static str,
        parse: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, Wrong<'a>> {
        let word = self.next().ok_or(Wrong::Usage(self.name))?;
        parse(word).ok_or(Wrong::Argument(self.name, expected, word))
    }

    fn gfp(&mut self) -> Result<Gfp, Wrong<'a>> {
        if self.rest.is_empty() {
            return Ok(Gfp::GFP_KERNEL);
        }
        // A prompt that waits for ever for memory could not be left.
        let gfp = self.parsed("GFP flags such as GFP_KERNEL|__GFP_ZERO", parse_gfp)?;
        if gfp.contains(Gfp::__GFP_NOFAIL) {
            return Err(Wrong::Argument(self.name, "allowed here", "__GFP_NOFAIL"));
        }
        Ok(gfp)
    }

    fn size(&mut self) -> Result<usize, Wrong<'a>> {
        self.parsed("a size such as 100, 0x40 or 1M", |word| {
            usize::try_from(parse_size(word)?).ok()
        })
    }

    fn number<T: TryFrom<u64>>(&mut self, expected: &'static str) -> Result<T, Wrong<'a>> {
        self.parsed(expected, |word| T::try_from(parse_number(word)?).ok())
    }

    fn command(mut self) -> Result<Command<'a>, Wrong<'a>> {
        let name = self.name;
        let command = match name {
            "help" => Command::Help(match self.next() {
                Some(word) => Some(find(word).ok_or(Wrong::Unknown(word))?.name),
                None => None,
            }),
            "cat" => Command::Cat(self.next().ok_or(Wrong::Usage(name))?),
            "ls" => Command::Ls(self.next().unwrap_or("/")),
            "echo" => return self.echo(),
            "watch" => {
                let seconds = self.number("a number of seconds")?;
                if self.rest.is_empty() {
                    return Err(Wrong::Usage(name));
                }
                return Ok(Command::Watch(seconds, self.rest));
            }
            "top" => Command::Top,
            "slab" => Command::Slab(self.next()),
            "pt" => {
                Command::Pt(self.parsed("an address such as 0xffff800000000000", parse_address)?)
            }
            "page" => Command::Page(Pfn::new(self.number("a frame's number below 2^32")?)),
            "maps" => Command::Maps,
            "ps" => Command::Ps,
            "run" => {
                if self.rest.is_empty() {
                    return Err(Wrong::Usage(name));
                }
                return Ok(Command::Run(self.rest));
            }
            "alloc" => match self.next() {
                None => Command::Held,
                Some("pages") => {
                    let order = |word| Order::new(u8::try_from(parse_number(word)?).ok()?);
                    let order = self.parsed("an order from 0 to 10", order)?;
                    Command::AllocPages(order, self.gfp()?)
                }
                Some("kmalloc") => {
                    let size = self.size()?;
                    Command::AllocKmalloc(size, self.gfp()?)
                }
                Some(_) => return Err(Wrong::Usage(name)),
            },
            "vmalloc" => Command::Vmalloc(self.size()?),
            "cma" => match self.next() {
                None => Command::Cma,
                Some("alloc") => Command::CmaAlloc(self.number("a number of pages")?),
                Some(_) => return Err(Wrong::Usage(name)),
            },
            "held" => Command::Held,
            "free" => match self.rest {
                "all" => return Ok(Command::Free(None)),
                _ => Command::Free(Some(self.number("a number that held lists")?)),
            },
            "fragment" => match self.next() {
                None => Command::Fragment(true),
                Some("free") => Command::Fragment(false),
                Some(_) => return Err(Wrong::Usage(name)),
            },
            "compact" => Command::Compact,
            "stress" => {
                let count = self.number("a number below 2^32")?;
                let seed = if self.rest.is_empty() { Ok(1) } else { self.number("a number") };
                Command::Stress(count, seed?)
            }
            "bench" => Command::Bench(self.next()),
            "date" => Command::Date,
            "dmesg" => Command::Dmesg,
            "fault" => Command::Fault(self.next()),
            "reboot" => Command::Reboot,
            "poweroff" => Command::Poweroff,
            _ => return Err(Wrong::Unknown(name)),
        };
        if self.rest.is_empty() { Ok(command) } else { Err(Wrong::Usage(name)) }
    }

    /// The text is all before the last ` > `, or all.
    fn echo(self) -> Result<Command<'a>, Wrong<'a>> {
        let Some(at) = self.rest.rfind('>') else { return Ok(Command::Echo(self.rest, None)) };
        // A file takes one text after the other: `>>` is the same to it.
        let (text, path) = (self.rest[..at].trim_end_matches('>'), self.rest[at + 1..].trim());
        if path.is_empty() || path.contains(char::is_whitespace) {
            return Err(Wrong::Usage(self.name));
        }
        Ok(Command::Echo(text.trim(), Some(path)))
    }
}
