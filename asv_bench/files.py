"""Rows of a file that do not fit into memory: ``python asv_bench/files.py [rows] [folder]``.

Writes 10⁷ rows of 16 numbers (or as many as given) and their targets to a folder, reads them under
a limit of 768 MiB on the process's memory, and times a row of a gradient beside one in memory, in
turns; the file is in the page cache where that has room. Then some steps of Levenberg–Marquardt.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import fastbp

N, H, TURNS, LIMIT = 16, 16, 5, 768 << 20
AT_ONCE, HERE = 1 << 18, 1_000_000


def write(folder: Path, n: int) -> list[str]:
    """Write rows and targets, the same ones again and again; return the two files."""
    rng = np.random.default_rng(0)
    some = rng.standard_normal((AT_ONCE, N))
    some[:, -1] = 1.0
    files = []
    for name, rows in (("X", some), ("t", np.sin(some[:, 0]) + 0.1 * rng.standard_normal(AT_ONCE))):
        files.append(str(folder / f"{name}.npy"))
        table = np.lib.format.open_memmap(files[-1], "w+", np.float64, (n, *rows.shape[1:]))
        for first in range(0, n, AT_ONCE):
            table[first : first + AT_ONCE] = rows[: n - first]
        table.flush()
    return files


def main() -> int:
    n = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10_000_000
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        X, t = write(Path(folder), n)
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
        net = fastbp.Network(N, H, output="identity")
        source = fastbp.Source.from_files(X, target=t)
        w, far = net.init(0), net.objective(source)
        near = net.objective(*(np.load(file, mmap_mode="r")[:HERE].copy() for file in (X, t)))
        seconds = np.zeros((TURNS, 2))
        far(w), near(w)
        for turn in seconds:
            for k, (objective, rows) in enumerate(((far, n), (near, min(n, HERE)))):
                start = time.perf_counter()
                objective(w)
                turn[k] = (time.perf_counter() - start) / rows
        of_file, of_memory = np.median(seconds, axis=0)
        speed = float(np.median(seconds[:, 1] / seconds[:, 0]))
        print(f"{n} rows of ({N}, {H}), a gradient, ns a row")
        print(f"  of a file   {1e9 * of_file:6.1f}")
        print(f"  in memory   {1e9 * of_memory:6.1f}")
        print(f"  speed       {100 * speed:6.0f} % >= 80 %  {'ok' if speed >= 0.8 else 'MISSED'}")
        start = time.perf_counter()
        result = fastbp.fit(net, source, epochs=3, progress=False)
        print(f"  {result}, {time.perf_counter() - start:.0f} s")
    return 0 if speed >= 0.8 else 1


if __name__ == "__main__":
    sys.exit(main())
