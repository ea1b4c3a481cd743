"""Runs programs on Debian's Linux and on Granule, in QEMU."""

import hashlib
import lzma
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
        (root / path).write_bytes(content)
        (root / path).chmod(0o755)
    archive = Path(folder) / "initramfs.cpio"
    with open(archive, "wb") as out:
        subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"],
            cwd=root,
            input="".join(f"{path}\n" for path in files).encode(),
            stdout=out,
            check=True,
        )
    return archive


def list_of(cases):
    return "".join(f"/memcalls {case}\n" for case in cases).encode()


class Linux:
    """Debian's kernel; what it has printed is kept, as long as programs and kernel are the same."""

    name = "Linux"

    def __init__(self, use_cache=True):
        self.image = Path(command(ROOT / "scripts/setup", "--linux-user").strip())
        self.use_cache = use_cache
        build_programs()

    def version(self):
        return self.image.name.removeprefix("vmlinuz-")

    def text(self, cases):
        """What the programs print, one after the other."""
        files = {name: (PROGRAMS / program).read_bytes() for name, program in (("init", "runner"), ("memcalls", "memcalls"))}
        files["list"] = list_of(cases)
        digest = hashlib.sha256(repr((sorted(files.items()), self.version(), COMMAND_LINE)).encode()).hexdigest()
        kept = CACHE / f"linux-{digest[:32]}.xz"
        if self.use_cache and kept.exists():
            return lzma.decompress(kept.read_bytes()).decode()
        with tempfile.TemporaryDirectory() as folder:
            text = self.boot(folder, initramfs(folder, files), len(cases))
        CACHE.mkdir(parents=True, exist_ok=True)
        new = kept.with_suffix(f".{id(self)}")
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
        return split_output(self.text(cases), cases)


def tail(path):
    return path.read_text(errors="replace")[-500:] if path.exists() else ""


class Granule:
    """Granule, built from this tree."""

    name = "Granule"

    def __init__(self):
        self.kernel = command(ROOT / "scripts/build", "--bin", "granule").split()[0]
        build_programs()

    def text(self, cases):
        files = {"memcalls": (PROGRAMS / "memcalls").read_bytes(), "list": list_of(cases)}
        limit = BOOT_LIMIT + PROGRAM_LIMIT * len(cases)
        with tempfile.TemporaryDirectory() as folder:
            words = ["--mem", "1G", "--smp", "1", "--no-monitor", "--initrd", initramfs(folder, files), "--timeout", limit]
            words += ["--append", "norandmaps", "--append", "granule.run_list=/list"]
            runner = [ROOT / "scripts/qemu-runner", self.kernel, *words]
            done = subprocess.run([str(word) for word in runner], capture_output=True, text=True, errors="replace")
        if "\n== done\n" not in done.stdout.replace("\r", ""):
            raise Wrong(f"Granule did not get to the end ({done.returncode}): {done.stdout[-2000:]} {done.stderr[-500:]}")
        return done.stdout

    def run(self, cases):
        return split_output(self.text(cases), cases)
