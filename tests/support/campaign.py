"""Runs the campaigns of one folder (`make bench`, `make soak`): each module `<prefix>_<name>.py` has `run() -> dict`.

What a campaign lists under `failures` makes the command fail, once all have run.
"""

import importlib
import json
import sys
import time
from pathlib import Path


def main(folder: Path, prefix: str, out: Path) -> int:
    """Run all campaigns, or those named on the command line; write `<out>/<name>.json` for each."""
    found = sorted(path.stem.removeprefix(f"{prefix}_") for path in folder.glob(f"{prefix}_*.py"))
    wanted = sys.argv[1:] or found
    unknown = set(wanted) - set(found)
    if unknown:
        print(f"no such campaign: {', '.join(sorted(unknown))}; there are: {', '.join(found)}", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in wanted:
        print(f"{name} ...", file=sys.stderr, flush=True)
        begin = time.monotonic()
        module = importlib.import_module(f"tests.{folder.name}.{prefix}_{name}")
        figures = {"schema": 1, **module.run(), "elapsed_s": round(time.monotonic() - begin, 1)}
        (out / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
        print(json.dumps(figures, indent=2))
        if figures.get("failures"):
            failed.append(name)
    if failed:
        print(f"failures found: {', '.join(failed)}; see {out}", file=sys.stderr)
    return 1 if failed else 0
