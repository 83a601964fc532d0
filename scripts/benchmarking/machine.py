"""What the machine could do: its name, and the limits that a roofline is drawn from, measured on one thread."""

from __future__ import annotations

import platform
import re
import time
from pathlib import Path

import torch

STREAM_NUMBERS = 1 << 25  # float32 numbers per array, 128 MiB: beyond caches of one core's share


def cpu_name() -> str:
    """As the system calls it, and its widest vectors."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    found = re.search(r"model name\s*:\s*(.+)", text)
    name = found[1].strip() if found else platform.processor() or platform.machine()
    if found := re.search(r"^model\s*:\s*(\d+)", text, re.MULTILINE):
        name += f" model {found[1]}"
    vectors = [isa for isa in ("avx512f", "avx2", "asimd") if re.search(rf"\b{isa}\b", text)]
    return " ".join([name, *vectors[:1]])


def sgemm_rate(size: int = 2048) -> float:
    """FLOP/s of torch's float32 matrix product, now."""
    a = torch.randn(size, size)
    start = time.perf_counter()
    a @ a
    return 2.0 * size**3 / (time.perf_counter() - start)


def stream_bandwidth(repeats: int = 5) -> float:
    """Bytes/s of a = b + s c on arrays beyond the caches; the best of some, two reads and a write each."""
    b, c = torch.ones(STREAM_NUMBERS), torch.ones(STREAM_NUMBERS)
    a, best = torch.empty_like(b), float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        torch.add(b, c, alpha=3.0, out=a)
        best = min(best, time.perf_counter() - start)
    return 3 * 4 * STREAM_NUMBERS / best
