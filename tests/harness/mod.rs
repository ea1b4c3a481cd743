//! The harness of the kernel tests: an image of its own, booted like the kernel.
//!
//! It prints one line per test, `test NAME ... ok` or `... FAILED`, and its exit code is
//! not 0 if one failed. A panic or a fault ends the image: `scripts/test` counts the test
//! that was running as failed, and boots again for those after it.
//!
//! | word of the command line | what it does |
//! | --- | --- |
//! | `granule.list` | names the tests, runs none |
//! | `granule.test=WORD` | runs those whose name holds the word, or begins with it if it begins with `kernel::` |
//! | `granule.test_after=NAME` | runs those after this one |
//!
//! A test gives back what it takes: pages that are in use afterwards and were not before
//! fail it.

mod random;

#[allow(unused_imports, reason = "not every image draws numbers")]
pub use random::Random;

use granule::firmware::cmdline::CommandLine;
use granule::firmware::fdt::Tree;
use granule::init::Boot;
use granule::kprintln;
use granule::mm::validate;
use granule::mm::{debug, init_mm, page_alloc, slab, thread_stack, vmalloc};
use granule::sync::Once;

static TREE: Once<Tree<'static>> = Once::new();

/// The device tree that the machine booted with.
#[allow(dead_code, reason = "not every image reads it")]
pub fn tree() -> Tree<'static> {
    *TREE.get().expect("set before the tests run")
}

/// Test of an image.
pub struct Test {
    /// `kernel::IMAGE::FUNCTION`.
    pub name: &'static str,
    /// Panics if something is wrong.
    pub run: fn(),
}

/// Declares the tests of an image, and its main function.
#[macro_export]
macro_rules! kernel_tests {
    ($($tests:tt)*) => {
        $crate::module_tests! { $($tests)* }
        $crate::run_tests! { TESTS }
    };
}

/// Declares the tests of a module of an image, as its `TESTS`.
#[macro_export]
macro_rules! module_tests {
    ($($(#[$meta:meta])* fn $name:ident() $body:block)*) => {
        $($(#[$meta])* fn $name() $body)*

        /// The tests above.
        pub const TESTS: &[$crate::harness::Test] = &[$($crate::harness::Test {
            name: concat!("kernel::", env!("CARGO_CRATE_NAME"), "::", stringify!($name)),
            run: $name,
        }),*];
    };
}

/// Declares the main function of an image whose tests are those of some modules.
#[macro_export]
macro_rules! test_modules {
    ($($module:ident),*) => {
        $crate::run_tests! { $($module::TESTS),* }
    };
}

/// Declares the main function of an image with these lists of tests.
#[macro_export]
macro_rules! run_tests {
    ($($tests:path),*) => {
        fn main(boot: &granule::init::Boot) -> u8 {
            $crate::harness::run(boot, &[$($tests),*])
        }
        granule::kernel_main!(main);
    };
}

static COMMAND_LINE: Once<CommandLine<'static>> = Once::new();

/// Value of `granule.NAME=` on the command line.
#[allow(dead_code, reason = "not every image is told something")]
pub fn word(name: &str) -> Option<&'static str> {
    COMMAND_LINE.get()?.granule(name)
}

/// Runs the tests that the command line selects; the exit code.
pub fn run(boot: &Boot, lists: &[&[Test]]) -> u8 {
    let tests = || lists.iter().copied().flatten();
    TREE.call_once(|| boot.tree);
    COMMAND_LINE.call_once(|| boot.cmdline);
    if boot.cmdline.granule("list").is_some() {
        for test in tests() {
            kprintln!("{}: test", test.name);
        }
        return 0;
    }
    let word = boot.cmdline.granule("test").unwrap_or("");
    let after = boot.cmdline.granule("test_after");
    let selected = |test: &&Test| {
        if word.starts_with("kernel::") {
            test.name.starts_with(word)
        } else {
            test.name.contains(word)
        }
    };
    let skipped = after.map_or(0, |name| {
        tests().position(|test| test.name == name).map_or(usize::MAX, |at| at + 1)
    });
    let mut failed = 0;
    for test in tests().skip(skipped).filter(selected) {
        let passed = leaves_nothing(test);
        kprintln!("test {} ... {}", test.name, if passed { "ok" } else { "FAILED" });
        failed += u8::from(!passed);
    }
    failed.min(1)
}

/// Runs a test; whether as many pages are in use afterwards as before, and the allocators
/// are sound.
fn leaves_nothing(test: &Test) -> bool {
    let before = settled_pages();
    (test.run)();
    let after = settled_pages();
    if let Err(invalid) = validate::validate() {
        kprintln!("{}: {invalid}", test.name);
        return false;
    }
    slab::validate();
    vmalloc::validate();
    if before != after {
        kprintln!("{}: leaks: {before} pages were in use, now {after} are", test.name);
    }
    before == after
}

/// Number of pages in use once all caches were shrunk. Page tables are left out, since those
/// that a split of the linear map took stay, and so is the tools' own memory.
pub fn settled_pages() -> u32 {
    thread_stack::free_vm_stack_cache(usize::MAX);
    vmalloc::shrink();
    slab::shrink_all();
    page_alloc::drain_all_pages();
    let tables = init_mm::nr_table_pages() as u32;
    // The nodes of the tree of areas are others after a peak, and may lie in more pages.
    let records = vmalloc::vmalloc_stat().records as u32;
    page_alloc::nr_used_pages().wrapping_sub(tables + records + debug::metadata_pages())
}
