# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""
Runs train.py with every combination of settings that a file names, with every seed, and makes a table of them.

    python -m training_roc.grid configs/grids/mnre_text_sizes.yaml --output_dir out

The file:

    config: configs/mnre_text.yaml                   # train.py's, optional
    settings: {save_only_model: true}                # of every run, optional
    seeds: [0, 1, 2]
    axes:                                            # one of each makes a line of the table
      - {retrieval: {}, classification: {objective: classification}}
      - {1%: {train_fraction: 0.01, num_train_epochs: 30}, 100%: {num_train_epochs: 5}}

Each run has a folder of its own (`out/retrieval-1%-0`), with what train.py said in `train.log`. A finished run is
passed over, and one that was stopped goes on with its last checkpoint: whatever ended it, the same command goes on. A
run that fails is named, and the others are run. At the end, `runs.md` and `runs.json` hold mean and standard deviation
over the seeds (evaluation_roc.runs); the exit status is 1 if a run failed.
"""

import argparse
import json
import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from data_scripts.writing import write_json, write_text
from evaluation_roc.runs import RUN_FILE, average_runs, check_comparable, format_runs, read_run

# arguments and run_record, which bring transformers, are imported where they are used: --help answers at once.

TRAIN = Path(__file__).parents[1] / "train.py"
LOG_FILE = "train.log"


@dataclass
class GridRun:
    """One run of train.py: the names that it has on the axes, its folder, command line and `Settings`."""

    line: tuple[str, ...]
    folder: Path
    arguments: list[str]
    settings: tuple

    def is_finished(self) -> bool:
        """
        Raises:
            ValueError: if the folder holds a run with other settings, which are named.
        """
        from training_roc.run_record import describe_arguments

        if not (self.folder / RUN_FILE).is_file():
            return False
        record = json.loads((self.folder / RUN_FILE).read_text(encoding="utf-8"))
        then = record["arguments"] | record["seeds"]
        now = json.loads(json.dumps(describe_arguments(self.settings) | self.settings.seeds))
        if others := [name for name in then if then[name] != now.get(name, then[name])]:
            told = "; ".join(f"{name} {then[name]}, not {now[name]}" for name in others)
            raise ValueError(
                f"{self.folder} holds a run with other settings ({told}): remove it, or name another --output_dir"
            )
        args, path = self.settings.training, self.folder / "all_results.json"
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        wanted = {"train": args.do_train, "eval": args.do_eval, "test": args.do_predict}
        return all(f"{name}_samples" in found for name, is_wanted in wanted.items() if is_wanted)

    def start(self) -> str | None:
        """Runs it to its end; what went wrong, in a line."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(TRAIN), *self.arguments]
        if self.settings.training.do_train:
            command.append("--resume_from_checkpoint=true")
        with (self.folder / LOG_FILE).open("a+", encoding="utf-8") as log:
            status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
            log.seek(0)
            last = next((line.strip() for line in reversed(log.readlines()) if line.strip()), "")
        return f"exit status {status}, see {self.folder / LOG_FILE}: {last}" if status else None


def read_grid(path: Path, output_dir: Path) -> list[GridRun]:
    """
    The runs of a file, line by line, and seed by seed.

    Raises:
        ValueError: naming the file and what in it is not as it must be, or the run whose settings train.py would not
            take.
    """
    from training_roc.arguments import as_arguments, check_settings, parse_arguments, read_yaml

    content = read_yaml(path)
    if not content.keys() >= {"seeds", "axes"}:
        raise ValueError(f"{path} must hold seeds and axes (python -m training_roc.grid --help)")
    if unknown := content.keys() - {"config", "settings", "seeds", "axes"}:
        raise ValueError(f"{path}: unknown are {', '.join(map(str, sorted(unknown)))}")
    seeds, axes, common = content["seeds"], content["axes"], content.get("settings", {})
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        raise ValueError(f"{path}: seeds must be a list of integers, not {seeds!r}")
    if not isinstance(axes, list) or not all(isinstance(axis, dict) and axis for axis in axes):
        raise ValueError(f"{path}: axes must be a list of `name: settings`, not {axes!r}")
    for name, settings in [("settings", common), *(item for axis in axes for item in axis.items())]:
        if not isinstance(settings, dict):
            raise ValueError(f"{path}: the settings of {name} must be `name: value`, not {settings!r}")
        if not re.fullmatch(r"[\w.%+-]+", str(name)):
            raise ValueError(f"{path}: {name!r} cannot name a folder: letters, digits and . _ % + - can")
        if taken := settings.keys() & {"seed", "output_dir", "resume_from_checkpoint"}:
            raise ValueError(f"{path}: {name} sets {', '.join(taken)}, which is the grid's")
    config = [str(content["config"])] if "config" in content else []
    runs = []
    for chosen in product(*(axis.items() for axis in axes)):
        line = tuple(str(name) for name, _ in chosen)
        settings = common | {name: value for _, own in chosen for name, value in own.items()}
        for seed in dict.fromkeys(seeds):
            folder = output_dir / "-".join([*line, str(seed)])
            if any(run.folder == folder for run in runs):
                raise ValueError(f"{path}: two runs would have the folder {folder}")
            arguments = config + as_arguments(settings | {"seed": seed, "output_dir": str(folder)}, path)
            try:
                own = parse_arguments(arguments)
                check_settings(own)
            except (ValueError, ImportError) as error:
                raise ValueError(f"{path}: {folder.name}: {error}") from error
            runs.append(GridRun(line, folder, arguments, own))
    return runs


def tabulate(runs: list[GridRun], output_dir: Path) -> str:
    """Writes `runs.json` and `runs.md` of finished runs; returns the table."""
    read = {run.folder: read_run(run.folder) for run in runs}
    check_comparable(list(read.values()))
    lines = []
    for line in dict.fromkeys(run.line for run in runs):
        (average,) = average_runs([read[run.folder] for run in runs if run.line == line])
        lines.append(average | {"name": ", ".join(line)})
    write_json(output_dir / "runs.json", {"lines": lines, "runs": list(read.values())})
    write_text(output_dir / "runs.md", table := format_runs(lines))
    return table


def run_all(runs: list[GridRun]) -> Iterator[str]:
    """Runs what is not finished; yields what fails."""
    for number, run in enumerate(runs, start=1):
        if run.is_finished():
            continue
        print(f"{number} of {len(runs)}: {run.folder.name}", flush=True)
        began, failure = time.monotonic(), run.start()
        print(f"  {failure or 'finished'} ({time.monotonic() - began:.0f} s)", flush=True)
        if failure:
            yield f"{run.folder.name} ({failure})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("grid", type=Path, metavar="FILE", help="YAML, see above")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of the runs' folders and the table")
    options = parser.parse_args()

    from training_roc.arguments import UserError, user_errors

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: terminated; the same command goes on"))
    logging.getLogger("training_roc.arguments").setLevel(logging.ERROR)  # train.log holds its warnings
    try:
        with user_errors():
            runs = read_grid(options.grid, options.output_dir)
            for run in runs:  # before the first one
                run.is_finished()
            failures = list(run_all(runs))
            if finished := [run for run in runs if run.is_finished()]:
                print(tabulate(finished, options.output_dir), end="")
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; the same command goes on")
    if failures:
        sys.exit(f"error: {len(failures)} of {len(runs)} runs failed: {'; '.join(failures)}")


if __name__ == "__main__":
    main()
