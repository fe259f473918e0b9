"""The device that is measured, through PyTorch: its clock, what it is, what it can. No names of hosts or users."""

from __future__ import annotations

import ctypes
import importlib
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ..errors import InputError
from .case import Call, Scale

#: Precisions that are tried, in the order of a report.
PRECISIONS: Final = ("fp32", "tf32", "bf16", "fp16")
_CACHES: Final = Path("/sys/devices/system/cpu/cpu0/cache")


def require_torch(command: str = "probe") -> Any:
    """PyTorch, or one line that says how to get it. Raises `InputError`."""
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise InputError(
            f"{command}: needs PyTorch ({error}); install it with `pip install trainyard[torch]`."
        ) from None


#: Parameters of glibc's `mallopt` (malloc.h): what it gives back to the kernel, and what it takes from it apart [B].
_TRIM, _APART = -1, -3
_MOST_TRIM, _MOST_APART = 2**31 - 1, 2**25


def hold_memory() -> bool:
    """Let the C library keep freed memory rather than give it back, where it is glibc; whether it does.

    Memory that was given back is mapped anew page by page, which on virtual machines takes longer than to fill it, and
    how much is given back follows from the order of calls. Tensors of more than 32 MiB are mapped apart all the same.
    """
    try:
        tune = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(tune(_TRIM, _MOST_TRIM)) and bool(tune(_APART, _MOST_APART))


class Device:
    """One device under PyTorch: a CPU with a number of threads, or one CUDA (or ROCm) device."""

    def __init__(
        self, torch: Any, kind: str, *, threads: int = 0, now: Callable[[], float] = time.perf_counter
    ) -> None:
        self.torch, self.kind, self.now = torch, kind, now
        if kind == "cpu":
            hold_memory()
        if threads:
            torch.set_num_threads(threads)
        self.threads = int(torch.get_num_threads())

    @property
    def word(self) -> str:
        """How PyTorch calls the device."""
        return self.kind

    def wait(self) -> None:
        """Until everything issued is done."""
        if self.kind == "cuda":
            self.torch.cuda.synchronize()

    def timer(self, call: Call) -> Callable[[int], float]:
        """Runs the call n times, returns the seconds of all: by events of the device where it has a clock of its own.

        Events are recorded behind one another on the stream, so that the host's time to issue a call counts only where
        the device had to wait for it.
        """

        def by_host(calls: int) -> float:
            begin = self.now()
            for _ in range(calls):
                call()
            return self.now() - begin

        def by_events(calls: int) -> float:
            first, last = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            for _ in range(calls):
                call()
            last.record()
            last.synchronize()
            return float(first.elapsed_time(last)) * 1e-3

        return by_events if self.kind == "cuda" else by_host

    def host_timer(self, call: Call) -> Callable[[int], float]:
        """The same on the host's clock, the device waited for at the end: what a caller sees."""

        def timed(calls: int) -> float:
            self.wait()
            begin = self.now()
            for _ in range(calls):
                call()
            self.wait()
            return self.now() - begin

        return timed

    def precisions(self) -> tuple[str, ...]:
        """Precisions whose products run here."""
        return tuple(word for word in PRECISIONS if self._multiplies(word))

    def _multiplies(self, word: str) -> bool:
        if word == "tf32":
            return self.kind == "cuda" and self.torch.version.hip is None and self._capability() >= (8, 0)
        if word == "fp16" and self.kind == "cpu":
            # Without instructions of its own fp16 is converted element by element, which nobody trains with.
            return "fp16" in str(self.torch.backends.cpu.get_cpu_capability()).lower()
        if word == "bf16" and self.kind == "cuda" and self.torch.version.hip is None and self._capability() < (8, 0):
            return False
        from .case import dtype_of

        try:
            a = self.torch.ones(8, 8, dtype=dtype_of(self.torch, word), device=self.word)
            self.torch.mm(a, a)
            self.wait()
        except RuntimeError:
            return False
        return True

    def _capability(self) -> tuple[int, int]:
        major, minor = self.torch.cuda.get_device_capability()
        return int(major), int(minor)

    def set_precision(self, word: str) -> None:
        """Let fp32 products run in tf32, or not."""
        if self.kind == "cuda":
            self.torch.backends.cuda.matmul.allow_tf32 = word == "tf32"
            self.torch.backends.cudnn.allow_tf32 = word == "tf32"

    def scale(self) -> Scale:
        """Sizes of calls that take from microseconds to tens of milliseconds here."""
        if self.kind == "cuda":
            free = float(self.torch.cuda.get_device_properties(0).total_memory)
            return Scale(flop=(1e7, 2e12), byte=(1 << 14, min(2.0**31, free / 16)))
        return Scale(flop=(2e5, 1.5e9 * self.threads), byte=(1 << 12, 2.0**28))

    def clock_mhz(self) -> float | None:
        """The clock now [MHz]; None where nobody tells."""
        if self.kind == "cuda":
            value = nvidia_smi("clocks.sm")
            return _number(value)
        return cpu_clock_mhz(_text(Path("/proc/cpuinfo")))

    def throttle(self) -> str:
        """Why the clock is held back, "" where it is not or nobody tells."""
        word = nvidia_smi("clocks_throttle_reasons.active") if self.kind == "cuda" else ""
        return "" if word in ("", "0x0000000000000000", "0x0000000000000001") else word

    def machine(self) -> dict[str, Any]:
        """What the file says of the machine: everything a fit needs and nothing that names it or its owner."""
        common: dict[str, Any] = {
            "device": self.kind,
            "threads": self.threads,
            "torch": str(self.torch.__version__),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "precisions": list(self.precisions()),
        }
        return common | (self._cuda_facts() if self.kind == "cuda" else self._cpu_facts())

    def _cuda_facts(self) -> dict[str, Any]:
        p = self.torch.cuda.get_device_properties(0)
        hip = self.torch.version.hip
        architecture = str(getattr(p, "gcnArchName", "")).partition(":")[0] if hip else ""
        return {
            "name": str(p.name),
            "vendor": "AMD" if hip else "NVIDIA",
            "capability": architecture or ".".join(map(str, self._capability())),
            "cores": int(p.multi_processor_count),
            "devices": int(self.torch.cuda.device_count()),
            "memory_byte": int(p.total_memory),
            "last_cache_byte": int(getattr(p, "L2_cache_size", 0)),
            "on_chip_byte": int(getattr(p, "shared_memory_per_multiprocessor", 0)) * int(p.multi_processor_count),
            "toolkit": str(hip or self.torch.version.cuda),
            "cudnn": int(self.torch.backends.cudnn.version() or 0),
            "driver": nvidia_smi("driver_version"),
            "highest_clock_mhz": _number(nvidia_smi("clocks.max.sm")),
            "power_limit_w": _number(nvidia_smi("power.limit")),
        }

    def _cpu_facts(self) -> dict[str, Any]:
        import os

        able = getattr(os, "sched_getaffinity", None)
        info = _text(Path("/proc/cpuinfo"))
        first, last = caches()
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
        return {
            "name": cpu_name(info) or platform.processor() or platform.machine(),
            "vendor": _MAKERS.get(_field(info, "vendor_id"), "not stated"),
            "capability": str(self.torch.backends.cpu.get_cpu_capability()),
            "cores": len(able(0)) if able else (os.cpu_count() or 1),
            "devices": 1,
            "memory_byte": int(memory),
            "last_cache_byte": last,
            "on_chip_byte": first,
            "toolkit": "mkl" if self.torch.backends.mkl.is_available() else "",
            "highest_clock_mhz": _number(_text(Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")), 1e-3),
        }


_MAKERS: Final = {"AuthenticAMD": "AMD", "GenuineIntel": "Intel"}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _field(text: str, name: str) -> str:
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return ""


def _number(text: str, times: float = 1.0) -> float | None:
    try:
        return float(text) * times
    except ValueError:
        return None


def cpu_name(info: str) -> str:
    """The processor's name in the kernel's list of processors."""
    return _field(info, "model name")


def cpu_clock_mhz(info: str) -> float | None:
    """The clock of the first processor in that list [MHz]."""
    return _number(_field(info, "cpu MHz"))


def caches(folder: Path = _CACHES) -> tuple[int, int]:
    """Bytes of one core's first data cache and of the last cache, as the kernel lists them; 0 where it does not."""
    found: dict[int, int] = {}
    for place in sorted(folder.glob("index*")):
        size, kind = _text(place / "size"), _text(place / "type")
        factor = {"K": 1 << 10, "M": 1 << 20}.get(size[-1:], 1)
        level, count = _number(_text(place / "level")), _number(size.rstrip("KM"))
        if level and count and kind != "Instruction":
            found[int(level)] = int(count * factor)
    return (found.get(1, 0), found[max(found)]) if found else (0, 0)


def nvidia_smi(field: str) -> str:
    """One field of the first card, "" where the tool is not there or does not know it."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits", "--id=0"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    word = answer.stdout.strip()
    return "" if word.startswith("[") else word


def describe(machine: Mapping[str, Any]) -> str:
    """The machine in one line."""
    if machine["device"] == "cpu":
        return f"{machine['name']}, {machine['threads']} of {machine['cores']} cores, PyTorch {machine['torch']}"
    return f"{machine['name']}, PyTorch {machine['torch']}, driver {machine['driver'] or 'not stated'}"
