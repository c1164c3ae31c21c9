"""Workers: processes that time what they are asked to, so that contenders can take turns.

A worker is a program that reads one JSON object a line and answers each with another. The parent
asks one at a time: whoever is not asked sleeps, and noise of the machine hits all alike.
"""

import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent

# What `keep_memory` asks of glibc, asked from outside the process.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}


class Worker:
    """A started program, to be asked by the parent.

    Args:
        python: the interpreter of the environment that the program needs.
        script: a file beside this one.
        arguments: of the program.
        env: variables to add to the environment's.
    """

    def __init__(self, python: str, script: str, *arguments: str, env: Mapping[str, str]):
        self._process = subprocess.Popen(
            [python, str(HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **env},
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """The program's answer; ends this program if that one died, having said why."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"{' '.join(map(str, self._process.args))}: ended without an answer")
        return json.loads(answer)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def in_turn(
    folder: str, asked: Mapping[str, tuple[Worker, Sequence[str]]], rounds: int
) -> tuple[dict[str, Any], dict[tuple[str, str], float], dict[str, dict[str, Any]]]:
    """Lets workers load, do what they are asked in turn, and ends them.

    Args:
        folder: where each leaves its arrays, in NAME.npz.
        asked: by the worker's name, the worker and what it does in each round.
        rounds: how many.

    Returns:
        What each answered when it had loaded, with its peak memory at the end; the median seconds
        by name and what was asked; and the arrays of each.
    """
    loaded = {name: worker.ask(what="load") for name, (worker, _) in asked.items()}
    times: dict[tuple[str, str], list[float]] = {}
    every = dict.fromkeys(what for _, whats in asked.values() for what in whats)
    for _ in range(rounds):
        for what in every:
            for name, (worker, whats) in asked.items():
                if what in whats:
                    answer = worker.ask(what=what)
                    times.setdefault((name, what), []).append(answer["seconds"])
                    loaded[name]["peak_mb"] = answer["peak_mb"]
    results = {}
    for name, (worker, _) in asked.items():
        with np.load(Path(folder, f"{name}.npz")) as arrays:
            results[name] = {key: arrays[key] for key in arrays.files}
        worker.close()
    return loaded, {key: statistics.median(of) for key, of in times.items()}, results


def answer_all(answer: Callable[..., dict[str, Any]]) -> None:
    """The worker's side: answers every request, adding the process's peak memory in MB."""
    for line in sys.stdin:
        given = answer(**json.loads(line))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak_mb = peak / (1024**2 if sys.platform == "darwin" else 1024)
        print(json.dumps({**given, "peak_mb": round(peak_mb)}), flush=True)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, its first column to the left and the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]]
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in [*lines, *rows]
    )


def machine() -> dict[str, Any]:
    """Describes the machine that the figures were measured on."""
    cpu = "unknown"
    if Path("/proc/cpuinfo").exists():
        names = [x for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x]
        cpu = names[0].partition(": ")[2] if names else cpu
    return {"cpu": cpu, "cores": os.cpu_count()}
