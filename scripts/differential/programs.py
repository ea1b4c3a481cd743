"""Programs for C libraries (tests/programs/libc), which must print what they print on Linux."""

import difflib

from .machines import PROGRAMS, ROOT, command

FOLDER = ROOT / "tests/programs/libc"
NAMES = ("stdio", "malloc", "stack", "arrays")
KINDS = ("musl", "glibc", "dynamic")
LIBRARIES = {"lib/ld-linux-aarch64.so.1": "ld-linux-aarch64.so.1", "lib/libc.so.6": "libc.so.6"}
SYSROOT = "/usr/aarch64-linux-gnu/lib"


def files():
    """The programs, with what the dynamic ones load, by their paths on the machine."""
    found = {}
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        for kind in KINDS:
            to = PROGRAMS / f"{name}.{kind}"
            command(ROOT / "scripts/user-cc", kind, "-Wextra", "-Werror", "-s", "-o", to, FOLDER / f"{name}.c")
            found[to.name] = to.read_bytes()
    for path, library in LIBRARIES.items():
        with open(f"{SYSROOT}/{library}", "rb") as file:
            found[path] = file.read()
    return found


def lines():
    """The list that runs all of them, in an order that expected() knows; the last has arguments."""
    return [f"/{name}.{kind}" for name in NAMES for kind in KINDS] + ["/stdio.musl a 7"]


def expected():
    texts = {name: (FOLDER / f"{name}.expected").read_text() for name in NAMES}
    text = "".join(texts[name] for name in NAMES for _ in KINDS)
    return text + texts["stdio"].replace("1 arguments, last none", "3 arguments, last 7") + "== status 007\n"


def difference(text):
    """Lines that show where the output of all of them is not what it should be; none if it is."""
    found = text.replace("\r", "").partition("== done")[0]
    return list(difflib.unified_diff(expected().splitlines(), found.splitlines(), "expected", "printed", lineterm=""))
