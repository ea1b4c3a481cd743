"""Runs programs on Debian's Linux and on Granule, in QEMU."""

import hashlib
import lzma
import os
import subprocess
import tempfile
from pathlib import Path

from .cases import Wrong, split_output

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "target/programs"
CACHE = ROOT / "target/diff"
# Without what Granule has not, and what changes addresses from one boot to the next.
COMMAND_LINE = (
    "console=ttyAMA0 panic=-1 loglevel=3 norandmaps transparent_hugepage=never lsm= nokaslr mitigations=off"
    " audit=0 cgroup_disable=memory psi=0"
)
# Seconds for a boot, and for one program: generous, as a machine may be slow.
BOOT_LIMIT, PROGRAM_LIMIT = 300, 3


def command(*words, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, errors="replace", **options)
    if done.returncode != 0:
        raise Wrong(f"{' '.join(map(str, words))} ends with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def build_programs():
    command(ROOT / "tests/programs/build", PROGRAMS)


def initramfs(folder, files):
    """A cpio archive of files, {path: bytes}, as a path."""
    root = Path(folder) / "root"
    root.mkdir()
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
        (root / path).chmod(0o755)
    archive = Path(folder) / "initramfs.cpio"
    with open(archive, "wb") as out:
        subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"],
            cwd=root,
            # Folders come before what is in them.
            input="".join(f"{path.relative_to(root)}\n" for path in sorted(root.rglob("*"))).encode(),
            stdout=out,
            check=True,
        )
    return archive


def memcalls():
    return {"memcalls": (PROGRAMS / "memcalls").read_bytes()}


def lines_of(cases):
    return [f"/memcalls {case}" for case in cases]


class Linux:
    """Debian's kernel; what it has printed is kept, as long as programs and kernel are the same."""

    name = "Linux"

    def __init__(self, use_cache=True):
        self.image = Path(command(ROOT / "scripts/setup", "--linux-user").strip())
        self.use_cache = use_cache
        build_programs()

    def version(self):
        return self.image.name.removeprefix("vmlinuz-")

    def text(self, files, lines):
        """What the programs of the lines print, one after the other; files, {path: bytes}, are there."""
        runner = (PROGRAMS / "runner").read_bytes()
        files = {**files, "init": runner, "list": "".join(f"{line}\n" for line in lines).encode()}
        digest = hashlib.sha256(repr((sorted(files.items()), self.version(), COMMAND_LINE)).encode()).hexdigest()
        kept = CACHE / f"linux-{digest[:32]}.xz"
        if self.use_cache and kept.exists():
            return lzma.decompress(kept.read_bytes()).decode()
        with tempfile.TemporaryDirectory() as folder:
            text = self.boot(folder, initramfs(folder, files), len(lines))
        CACHE.mkdir(parents=True, exist_ok=True)
        new = kept.with_suffix(f".{os.getpid()}")
        new.write_bytes(lzma.compress(text.encode(), preset=1))
        new.rename(kept)
        return text

    def boot(self, folder, archive, programs):
        serial, out = Path(folder) / "serial", Path(folder) / "out"
        emulator = [
            *("qemu-system-aarch64", "-M", "virt,gic-version=3", "-cpu", "cortex-a72", "-m", "1G", "-smp", "1"),
            *("-display", "none", "-nodefaults", "-monitor", "none", "-no-reboot", "-serial", f"file:{serial}"),
            *("-device", "virtio-serial-pci", "-chardev", f"file,id=out,path={out}"),
            *("-device", "virtserialport,chardev=out,name=out"),
            *("-kernel", self.image, "-initrd", archive, "-append", COMMAND_LINE),
        ]
        try:
            command(*emulator, timeout=BOOT_LIMIT + PROGRAM_LIMIT * programs)
        except subprocess.TimeoutExpired:
            raise Wrong(f"Linux did not end in time; the last it said: {tail(out)}") from None
        text = out.read_text(errors="replace")
        if not text.endswith("== done\n"):
            raise Wrong(f"Linux did not get to the end: {tail(serial)} {tail(out)}")
        return text

    def run(self, cases):
        return split_output(self.text(memcalls(), lines_of(cases)), cases)


def tail(path):
    return path.read_text(errors="replace")[-500:] if path.exists() else ""


class Granule:
    """Granule, built from this tree."""

    name = "Granule"

    def __init__(self):
        self.kernel = command(ROOT / "scripts/build", "--bin", "granule").split()[0]
        build_programs()

    def text(self, files, lines):
        files = {**files, "list": "".join(f"{line}\n" for line in lines).encode()}
        limit = BOOT_LIMIT + PROGRAM_LIMIT * len(lines)
        with tempfile.TemporaryDirectory() as folder:
            words = ["--mem", "1G", "--smp", "1", "--no-monitor", "--initrd", initramfs(folder, files), "--timeout", limit]
            words += ["--append", "norandmaps", "--append", "granule.run_list=/list"]
            runner = [ROOT / "scripts/qemu-runner", self.kernel, *words]
            done = subprocess.run([str(word) for word in runner], capture_output=True, text=True, errors="replace")
        if "\n== done\n" not in done.stdout.replace("\r", ""):
            raise Wrong(f"Granule did not get to the end ({done.returncode}): {done.stdout[-2000:]} {done.stderr[-500:]}")
        return done.stdout

    def run(self, cases):
        return split_output(self.text(memcalls(), lines_of(cases)), cases)
