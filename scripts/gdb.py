"""Granule's commands and pretty printers for gdb.

    (gdb) source scripts/gdb.py
    (gdb) help gr

scripts/gdb starts a machine and loads this; docs/debugging.md tells what is there.
"""

import os
import sys

# Loaded again, the modules are those of now.
for _name in [name for name in sys.modules if name.split(".")[0] == "granule_gdb"]:
    del sys.modules[_name]
_here = os.path.dirname(os.path.abspath(__file__))
if _here not in sys.path:
    sys.path.insert(0, _here)
sys.dont_write_bytecode = True

from granule_gdb import commands, printers  # noqa: E402

commands.register()
printers.register()
