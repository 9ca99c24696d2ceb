"""Rows of a file that do not fit into memory: ``python asv_bench/files.py [rows] [folder]``.

Writes 10⁷ rows of 16 numbers (or as many as given) and their targets to a folder, as one table and
as two files, reads them under a limit of 768 MiB on the process's memory, and times a row of a
gradient beside one in memory, in turns; the files are in the page cache where that has room. Then
some steps of Levenberg–Marquardt.
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
    """Write rows and targets, the same ones again and again; return the table and the two files."""
    rng = np.random.default_rng(0)
    some = rng.standard_normal((AT_ONCE, N))
    some[:, -1] = 1.0
    files = []
    t = np.sin(some[:, 0]) + 0.1 * rng.standard_normal(AT_ONCE)
    for name, rows in (("table", np.column_stack([some, t])), ("X", some), ("t", t)):
        files.append(str(folder / f"{name}.npy"))
        table = np.lib.format.open_memmap(files[-1], "w+", np.float64, (n, *rows.shape[1:]))
        for first in range(0, n, AT_ONCE):
            table[first : first + AT_ONCE] = rows[: n - first]
        table.flush()
    return files


def main() -> int:
    n = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10_000_000
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        table, X, t = write(Path(folder), n)
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
        net = fastbp.Network(N, H, output="identity")
        source = fastbp.Source.from_files(table, target=N)
        here = (np.load(file, mmap_mode="r")[:HERE].copy() for file in (X, t))
        objectives = {
            "in memory": (net.objective(*here), min(n, HERE)),
            "of a table": (net.objective(source), n),
            "of two files": (net.objective(fastbp.Source.from_files(X, target=t)), n),
        }
        w = net.init(0)
        seconds = np.zeros((TURNS, len(objectives), 2))
        for turn in (np.zeros_like(seconds[0]), *seconds):  # the first is warming up
            for k, (objective, rows) in enumerate(objectives.values()):
                start = time.perf_counter(), time.process_time()
                objective(w)
                turn[k] = (
                    (time.perf_counter() - start[0]) / rows,
                    (time.process_time() - start[1]) / rows,
                )
        print(f"{n} rows of ({N}, {H}), a gradient, ns a row, by the clock and by the processor")
        speeds = np.median(seconds[:, :1] / seconds, axis=0)
        for name, of_row, speed in zip(objectives, np.median(seconds, axis=0), speeds, strict=True):
            print(
                f"  {name:12}", *(f"{1e9 * of_row[k]:6.1f} {100 * speed[k]:4.0f} %" for k in (0, 1))
            )
        holds = bool((speeds[1:, 0] >= 0.8).all())
        print(f"  speed by the clock >= 80 %: {'ok' if holds else 'MISSED'}")
        start = time.perf_counter()
        result = fastbp.fit(net, source, epochs=3, progress=False)
        print(f"  {result}, {time.perf_counter() - start:.0f} s")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
