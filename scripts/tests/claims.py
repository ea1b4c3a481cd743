#!/usr/bin/env python3
"""Checks that each test that README.md and docs/ name is there.

    scripts/tests/claims.py          exits with 1 and a line for each name that no test has
    scripts/tests/claims.py --list   the names, and how many there are
    scripts/tests/claims.py --samples   checks the check: on names of which it is known

A name is a word of code that begins with a kind of test, as `board::left`. Tests of the kernel are
looked for in tests/, those of the host and of Miri in src/, the others in scripts/, where their
names may end with a variable.
"""

import pathlib
import re
import sys

KINDS = "house|host|miri|loom|kernel|proc|view|trace|numa|boot|board|monitor|fault|gdb|dtb|dtmap|bench"
NAME = re.compile(rf"(?<![\w:])(?:{KINDS})::[\w:-]*")
CODE = re.compile(r"`[^`\n]*`|^    .*$|^```.*?^```", re.M | re.S)
FUNCTION = re.compile(r"\bfn\s+(\w+)|\b(\w+)\s*\(\) \{")


def functions(files):
    return {name for file in files for pair in FUNCTION.findall(file.read_text()) for name in pair if name}


def texts(top):
    return [path for path in sorted(pathlib.Path(top).rglob("*")) if path.is_file()]


def in_image(rest):
    """The name of a kernel test: an image of tests/, and the beginning of a function."""
    image, _, function = rest.partition("::")
    files = sorted(pathlib.Path("tests").glob(f"{image}*.rs"))
    return any(name.startswith(function) for name in functions(files))


def in_library(rest):
    """The path of a module or a test of the library, whose last part may be cut."""
    *rooms, last = rest.split("::")
    place = pathlib.Path("src", *rooms)
    inside = texts(place) if place.is_dir() else []
    # A module may be a file, or declared in the file that its path leads to.
    while not inside and place != pathlib.Path("src"):
        inside = [file for file in (place.with_suffix(".rs"), place / "mod.rs") if file.is_file()]
        place = place.parent
        inside += [file for file in texts(place) if not inside and place != pathlib.Path("src")]
    paths = {str(path.relative_to("src")).removesuffix(".rs").replace("/", "::") for path in texts("src")}
    return any(path.startswith(rest) for path in paths) or any(name.startswith(last) for name in functions(inside))


def in_scripts(name, scripts):
    """A name in the text of scripts/, or the beginning of one; or one that is made of a variable."""
    kind, _, rest = name.partition("::")
    if name in scripts or not rest:
        return True
    made = re.findall(rf"{kind}::([\w:-]*)\$", scripts)
    if any(rest.startswith(before) or before.startswith(rest) for before in made if before):
        return True
    # After the kind alone: a word of its own somewhere, as of a list that is read.
    return "" in made and re.search(rf"(?<![\w-]){re.escape(rest.split('::')[-1])}", scripts) is not None


def is_there(name, scripts):
    kind, _, rest = name.partition("::")
    if not rest:
        return True
    if kind == "kernel":
        return in_image(rest)
    return in_library(rest) if kind in ("host", "miri") else in_scripts(name, scripts)


SAMPLES = """kernel::vmalloc::an_area kernel::debug_ host::mm::vmalloc host::mm::slab::tests::cach board::left-gicv2
boot::console-in house::compile_fail monitor::files fault::null"""
NO_SAMPLES = """kernel::vmalloc::nonsense kernel::nope host::mm::nope host::mm::slab::testz_ boot::nonesuch board::clockwork
house::nix loom::nix bench::nix fault::nix monitor::nix"""


def main():
    scripts = "\n".join(path.read_text(errors="replace") for path in texts("scripts") if path.name != "claims.py")
    if "--samples" in sys.argv:
        wrong = [name for name in SAMPLES.split() if not is_there(name, scripts)]
        wrong += [name for name in NO_SAMPLES.split() if is_there(name, scripts)]
        sys.exit(f"wrong verdicts: {wrong}" if wrong else 0)
    names = set()
    for file in [pathlib.Path("README.md"), *sorted(pathlib.Path("docs").rglob("*.md"))]:
        for code in CODE.findall(file.read_text()):
            names |= {(str(file), name) for name in NAME.findall(code)}
    bad = [f"{file}: {name} is no test" for file, name in sorted(names) if not is_there(name, scripts)]
    if "--list" in sys.argv:
        print(*sorted(f"{file}: {name}" for file, name in names), sep="\n")
    print(*bad, f"{len(names)} names", sep="\n")
    # The docs have more than that: fewer would say that nothing is looked at.
    sys.exit(1 if bad or len(names) < 100 else 0)


main()
