"""Imported before anything that computes: keeps this process, and all libraries, on one core."""

import os

os.environ.update(
    dict.fromkeys(("MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
)
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

if hasattr(os, "sched_setaffinity"):
    # The highest number: a machine's own work gathers on the first.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
