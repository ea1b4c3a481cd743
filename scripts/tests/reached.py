#!/usr/bin/env python3
"""Finds tests and code that nothing runs: a function of a shell script that no script calls, and a
Rust file that is no module of its parent.

  scripts/tests/reached.py             looks at scripts/, .ci/ and src/; exits with 1 if it finds some
  scripts/tests/reached.py --samples   shows that it finds what it should
"""

import re
import sys
import tempfile
from pathlib import Path

FUNCTION = re.compile(r"^\s*([A-Za-z_]\w*)\(\) *\{", re.MULTILINE)
COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
SHELL = "#!/usr/bin/env bash"


def uncalled(root):
    """Shell functions whose name occurs nowhere but where they are defined."""
    texts = {}
    for folder in ("scripts", ".ci", "benches"):
        for file in sorted((root / folder).rglob("*")):
            if file.is_file() and file.read_bytes().startswith(SHELL.encode()):
                texts[file] = COMMENT.sub("", file.read_text())
    all_texts = "\n".join(texts.values())
    for file, text in texts.items():
        for name in sorted(set(FUNCTION.findall(text))):
            defined = len(re.findall(rf"^\s*{name}\(\) *\{{", all_texts, re.MULTILINE))
            if len(re.findall(rf"(?<![\w-]){name}(?![\w-])", all_texts)) <= defined:
                yield f"{file.relative_to(root)}: nothing calls {name}"


def undeclared(root):
    """Rust files that are no module: rustc never reads them, nor the tests in them."""
    for file in sorted((root / "src").rglob("*.rs")):
        place, name = file.parent, file.stem
        if name in ("lib", "main") and place == root / "src" or place == root / "src" / "bin":
            continue
        if name == "mod":
            name, place = place.name, place.parent
        parents = [place / "mod.rs", place / "lib.rs", place.with_suffix(".rs")]
        # A module may lie elsewhere: `#[path = "…"]`, or a macro that includes the file.
        declared = re.compile(rf"\bmod {name};|\"[^\"]*\b{re.escape(file.name)}\"")
        texts = [parent.read_text() for parent in parents if parent.exists()]
        if not any(declared.search(text) for text in texts):
            yield f"{file.relative_to(root)}: no module of its parent"


def found(root):
    return [*uncalled(root), *undeclared(root)]


def samples():
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder in ("scripts", ".ci", "benches", "src/mm/tests"):
            (root / folder).mkdir(parents=True)
        (root / "scripts/test").write_text(
            f"{SHELL}\nused() {{\n    true\n}}\n# lost\nlost() {{\n    false\n}}\nused\n"
        )
        (root / "src/lib.rs").write_text("mod mm;\n")
        (root / "src/mm/mod.rs").write_text("mod page;\n#[cfg(test)]\nmod tests;\n")
        (root / "src/mm/page.rs").write_text("")
        (root / "src/mm/tests/mod.rs").write_text("mod model;\n")
        (root / "src/mm/tests/model.rs").write_text("")
        (root / "src/mm/tests/numa.rs").write_text("#[test]\nfn is_never_run() {}\n")
        expected = ["scripts/test: nothing calls lost", "src/mm/tests/numa.rs: no module of its parent"]
        if found(root) != expected:
            print(f"found {found(root)}")
            return 1
    print(f"{len(expected)} samples")
    return 0


def main():
    if sys.argv[1:] == ["--samples"]:
        return samples()
    if sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        return 2
    lines = found(Path(__file__).resolve().parent.parent.parent)
    print("\n".join(lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
