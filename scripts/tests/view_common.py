"""What the checks of scripts/tests/view share."""

import json
import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent


class Wrong(Exception):
    """What is not as it should be."""


def same(found, expected, what):
    if found != expected:
        raise Wrong(f"{what}: {found!r}, and it should be {expected!r}")
    same.compared += 1


same.compared = 0


def near(found, expected, what, slack):
    if abs(found - expected) > slack:
        raise Wrong(f"{what}: {found}, and it should be about {expected}")
    same.compared += 1


def load(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def memview(inputs, out):
    """Makes a page; the exit code, and what was said."""
    run = subprocess.run([SCRIPTS / "memview", *inputs, out], capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr
