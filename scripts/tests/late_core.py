"""Holds a core in front of its first Rust function until nobody waits for it any longer.

    late_core.py QEMU-RUNNER IMAGE SYMBOLS DIRECTORY

The boot must go on without the core; when it is let go it must park, and nothing else.
"""

import os
import pathlib
import re
import socket
import subprocess
import sys
import time

PARKS = ("secondary_start_kernel", "park", "claim")


class Stub:
    """QEMU's gdb stub (gdb: Remote Serial Protocol), a CPU a thread."""

    def __init__(self, qemu, path):
        while True:
            if qemu.poll() is not None:
                sys.exit("QEMU does not start")
            try:
                self.socket = socket.socket(socket.AF_UNIX)
                self.socket.connect(str(path))
                break
            except OSError:
                time.sleep(0.05)
        self.rest = b""

    def send(self, text):
        data = text.encode()
        self.socket.sendall(b"$" + data + b"#%02x" % (sum(data) & 0xFF))

    def receive(self):
        while True:
            found = re.search(rb"\$([^#]*)#..", self.rest)
            if found:
                self.rest = self.rest[found.end() :]
                self.socket.sendall(b"+")
                return found.group(1).decode()
            more = self.socket.recv(4096)
            if not more:
                sys.exit("QEMU has ended")
            self.rest += more

    def ask(self, text):
        self.send(text)
        return self.receive()

    def must(self, text):
        answer = self.ask(text)
        if answer != "OK":
            sys.exit(f"{text}: {answer}")

    def interrupt(self):
        self.socket.sendall(b"\x03")
        return self.receive()

    def pc(self, thread):
        self.must(f"Hg{thread:x}")
        # x0 to x30, sp, pc: eight bytes each, little endian.
        registers = bytes.fromhex(self.ask("g")[: 33 * 16])
        return int.from_bytes(registers[32 * 8 : 33 * 8], "little")


def main(runner, image, symbols, directory):
    names = []
    for line in pathlib.Path(symbols).read_text().splitlines():
        address, kind, name = line.split(" ", 2)
        if kind in "tT":
            names.append((int(address, 16), name))

    def address(name):
        return next(at for at, known in names if known == name)

    def function(pc):
        return max((at, name) for at, name in names if at <= pc)[1]

    directory = pathlib.Path(directory)
    path, log = directory / f"late.{os.getpid()}.gdb", directory / "late.log"
    with open(log, "wb") as out:
        qemu = subprocess.Popen(
            [runner, image, "--smp", "3", "--timeout", "300", "--", "-S"]
            + ["-chardev", f"socket,id=gdb0,path={path},server=on,wait=off", "-gdb", "chardev:gdb0"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        stub = Stub(qemu, path)
        start, end = address("secondary_start_kernel"), address("granule_main")
        stub.ask("?")
        stub.must(f"Z1,{start:x},4")
        stop = stub.ask("vCont;c")
        if "thread:02" not in stop:
            sys.exit(f"another core than the second stopped: {stop}")
        # The core stays where it is; the others go on, to the end of the boot.
        stub.must(f"z1,{start:x},4")
        stub.must(f"Z1,{end:x},4")
        stop = stub.ask("vCont;c:1;c:3")
        said = log.read_text(errors="replace")
        print(said)
        for text in ("core 0x1 did not start: it was sent off and never came up", "SMP: 2 CPUs up"):
            if text not in said:
                sys.exit(f"the log does not say '{text}'")
        # It comes now, alone.
        stub.send("vCont;c:2")
        time.sleep(3)
        stub.interrupt()
        where = function(stub.pc(2))
        print(f"the late core is in {where}")
        if not any(name in where for name in PARKS):
            sys.exit("it did not park")
        # All of them, to the end of the report.
        stub.must(f"z1,{end:x},4")
        stub.send("vCont;c")
        while "Warnings " not in (said := log.read_text(errors="replace")):
            if qemu.poll() is not None:
                sys.exit(f"{said}\nno report")
            time.sleep(0.2)
        print(said)
    finally:
        # `timeout`, which hands it on to QEMU.
        qemu.terminate()
        qemu.wait()


main(*sys.argv[1:])
