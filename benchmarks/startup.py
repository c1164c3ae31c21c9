"""Times train.py from the command to the first training step: cold, then warm.

    python benchmarks/startup.py [--archives FOLDER]

Cold has nothing prepared, cached or compiled, but for the byte code that installation makes;
warm is the same command again. Both write to folders that are deleted afterwards.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]


def seconds_to_first_step(scratch: Path, archives: Path | None) -> float:
    """Runs one step, and waits for the line that says that it is done."""
    settings = {"training.max_steps": 1, "training.log_every": 1, "data.data_dir": scratch / "data"}
    if archives is not None:
        settings["data.archives"] = archives.absolute()
    with tempfile.TemporaryDirectory() as workdir:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "train.py", "--config", "configs/mnist.py", "--workdir", workdir]
            + [f"--config.{name}={value}" for name, value in settings.items()],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # not a terminal, so that steps are printed as lines
            text=True,
            env={**os.environ, "XDG_CACHE_HOME": str(scratch / "cache")},
        )
        assert process.stdout is not None
        taken = None
        for line in process.stdout:
            if line.startswith("step 1/"):
                taken = time.perf_counter() - start
        if process.wait() != 0 or taken is None:
            sys.exit(f"{' '.join(map(str, process.args))}: failed")
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--archives", type=Path, help="the four archives; else as train.py finds")
    parser.add_argument("--rounds", type=int, default=3, help="of warm starts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        cold = seconds_to_first_step(Path(scratch), options.archives)
        warm = [
            seconds_to_first_step(Path(scratch), options.archives) for _ in range(options.rounds)
        ]
    print(f"cold {cold:.1f} s, warm {median(warm):.1f} s ({min(warm):.1f} to {max(warm):.1f})")


if __name__ == "__main__":
    main()
