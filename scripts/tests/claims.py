#!/usr/bin/env python3
"""Checks that each test that README.md and docs/ name is there.

    scripts/tests/claims.py          exits with 1 and a line for each name that no test has
    scripts/tests/claims.py --list   the names, and how many there are
    scripts/tests/claims.py --tests KIND   the tests of a kind as this check knows them
    scripts/tests/claims.py --samples   checks the check: on names of which it is known

A name is a word of code that begins with a kind of test, as `board::left`, or what stands
behind `scripts/test` in code. It names the tests that scripts/test would run: with a kind, those
whose names begin with it; without, those whose names hold it. Tests of the kernel are read
from tests/, those of the host, of Miri, loom and dtmap from src/ and examples/, and the names of
the other kinds are those that scripts/test --list prints.
"""

import functools
import pathlib
import re
import subprocess
import sys

BUILT = ("host", "miri", "kernel", "loom", "dtmap")
LISTED = ("house", "proc", "view", "trace", "numa", "boot", "board", "monitor", "fault", "gdb", "dtb", "diff", "bench")
NAME = re.compile(rf"(?<![\w:])(?:{'|'.join(BUILT + LISTED)})::[\w:-]*")
CODE = re.compile(r"^```.*?^```|`[^`\n]+`|^    .*$", re.M | re.S)
# A word for scripts/test: what has a kind is a name by itself.
WORD = re.compile(r"^`scripts/test (\w[\w-]*(?:::[\w:-]+)?)`$")


def rust_tests(path, text):
    """The tests of a file of src: its module's path, those of modules inside, and the names."""
    modules, test = [], False
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        while modules and line.strip() and modules[-1][0] >= indent and not line.strip().startswith(("#", "//")):
            modules.pop()
        if match := re.match(r"\s*(?:pub(?:\([^)]*\))? )?mod (\w+) \{", line):
            modules.append((indent, match[1]))
        elif re.match(r"\s*#\[test\]", line):
            test = True
        elif test and (match := re.match(r"\s*(?:unsafe )?fn (\w+)", line)):
            yield "::".join([*path, *(name for _, name in modules), match[1]])
            test = False


def tests_of_src(top):
    for file in sorted(pathlib.Path(top).rglob("*.rs")):
        path = [part for part in file.relative_to(top).with_suffix("").parts if part not in ("mod", "lib", "main")]
        yield from rust_tests(path, file.read_text(encoding="utf-8"))


def image_tests(text):
    """The functions in `kernel_tests!` and `module_tests!`, and those that `tests!` lists."""
    for block in re.findall(r"^(?:harness::)?(?:kernel|module)_tests! \{$(.*?)^\}$", text, re.M | re.S):
        yield from re.findall(r"^    fn (\w+)\(\)", block, re.M)
    for block in re.findall(r"\btests!\[(.*?)\]", text, re.S):
        yield from re.findall(r"\w+", block)


@functools.cache
def tests(kind):
    """The names of all tests of a kind."""
    scripts = pathlib.Path("scripts/test").read_text(encoding="utf-8")
    if kind in ("host", "miri"):
        return [f"{kind}::{name}" for name in tests_of_src("src")]
    if kind == "kernel":
        # An image with many tests has modules in a folder of its name.
        images = {file.stem: [file, *sorted(file.with_suffix("").glob("*.rs"))] for file in pathlib.Path("tests").glob("*.rs")}
        texts = [(image, file.read_text(encoding="utf-8")) for image, files in sorted(images.items()) for file in files]
        return [f"kernel::{image}::{name}" for image, text in texts for name in image_tests(text)]
    if kind == "loom":
        models = re.search(r"const MODELS[^=]*= \[(.*?)\];", pathlib.Path("examples/loom/main.rs").read_text(), re.S)[1]
        return [f"loom::{name}" for name in re.findall(r'"(\w+)"', models)]
    if kind == "dtmap":
        names = [f"dtmap::{name}" for name in tests_of_src("examples/dtmap")]
        return names + re.findall(r"^\s*check (dtmap::[\w-]+)", scripts, re.M)
    listed = subprocess.run(["scripts/test", "--list", f"{kind}::"], stdout=subprocess.PIPE, check=True, text=True)
    return listed.stdout.split()


def is_there(name):
    kind, colons, _ = name.partition("::")
    if colons and kind in BUILT + LISTED:
        return any(test.startswith(name) for test in tests(kind))
    return any(name in test for kind in BUILT + LISTED for test in tests(kind))


def names_of(text):
    """The names of tests in a text in Markdown."""
    for code in CODE.findall(text):
        yield from NAME.findall(code)
        # Capitals stand for a word of the reader's.
        if (match := WORD.match(code)) and not match[1].isupper() and ":" not in match[1]:
            yield match[1]


SAMPLES = """kernel::vmalloc::an_area kernel::debug_ kernel::rcu::each_cpu host::mm::vmalloc host::mm::slab::tests::cach miri::addr board::left-gicv2
boot::console-in boot::64M-cortex-a72 house::compile_fail_ monitor::files fault::null loom::spinlock dtmap::fuzz
dtmap::tests::every_fact proc::library view::huge trace::altered numa::4-zones gdb:: dtb::raw diff::self bench::cache nothing_is_lost boost"""
# Modules, functions that are no tests, names that only hold or begin a part of another, and words.
NO_SAMPLES = """kernel::vmalloc::nonsense kernel::nope kernel::smp::free_packed host::mm::nope host::mm::slab::testz_
host::mm::page::frame host::mm::slab::kmalloc miri::mm::nope boot::nonesuch boot::64M-cortex-a53 boot::at-0x4140 board::clockwork
board::gicv2-spi house::nix house::compile_fails loom::nix loom::spin_excludes dtmap::nix bench::nix fault::nix monitor::nix
monitor::filed proc::numactls proc::procpss view::nix trace::perfetta numa::5 gdb::nix dtb::nix diff::nix nothing_is_losd"""
TEXTS = (
    ("`scripts/test nothing_is_lost` and `boot::at`, `a boost::x`", ["nothing_is_lost", "boot::at"]),
    ("```\nscripts/test house::prose\n```\nloom::nix, `scripts/test WORD` and `scripts/test loom`", ["house::prose", "loom"]),
)
PLACES = (
    ("#[test]\nfn a() {\n}\nfn b() {}\nmod c {\n    #[test]\n    #[ignore]\n    fn d() {}\n}\n#[test]\nfn e() {}\n", ["x::a", "x::c::d", "x::e"]),
)


def samples():
    for text, expected in TEXTS:
        assert list(names_of(text)) == expected, list(names_of(text))
    for text, expected in PLACES:
        assert list(rust_tests(["x"], text)) == expected, list(rust_tests(["x"], text))
    wrong = [name for name in SAMPLES.split() if not is_there(name)]
    wrong += [name for name in NO_SAMPLES.split() if is_there(name)]
    kinds = {name.partition("::")[0] for name in NO_SAMPLES.split()}
    wrong += [f"{kind} has no sample" for kind in (*BUILT, *LISTED) if kind not in kinds]
    sys.exit(f"wrong verdicts: {wrong}" if wrong else 0)


def main(*options):
    if "--samples" in options:
        samples()
    if "--tests" in options:
        print(*tests(options[-1]), sep="\n")
        return
    names = set()
    for file in [pathlib.Path("README.md"), *sorted(pathlib.Path("docs").rglob("*.md"))]:
        names |= {(str(file), name) for name in names_of(file.read_text(encoding="utf-8"))}
    bad = [f"{file}: {name} is no test" for file, name in sorted(names) if not is_there(name)]
    if "--list" in options:
        print(*sorted(f"{file}: {name}" for file, name in names), sep="\n")
    print(*bad, f"{len(names)} names", sep="\n")
    # The docs have more than that: fewer would say that nothing is looked at.
    sys.exit(1 if bad or len(names) < 100 else 0)


main(*sys.argv[1:])
