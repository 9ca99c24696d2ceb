"""Threads for jobs; once Python begins no more of them, who hands out a job does it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from .._lock import LOCK

Given = ParamSpec("Given")
Outcome = TypeVar("Outcome")


class Pool(ThreadPoolExecutor):
    """`concurrent.futures.ThreadPoolExecutor`, for callers too that outlive the main thread."""

    def submit(
        self, work: Callable[Given, Outcome], /, *args: Given.args, **options: Given.kwargs
    ) -> Future[Outcome]:
        """Have a thread do it, or do it."""
        try:
            return super().submit(work, *args, **options)
        except RuntimeError as error:
            with LOCK:
                from ..kernels.calls.threads import is_python_ending

            if not is_python_ending(error):
                raise
        done: Future[Any] = Future()
        try:
            done.set_result(work(*args, **options))
        except Exception as error:
            done.set_exception(error)
        return done
