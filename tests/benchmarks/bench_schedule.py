"""The schedule: a battery and five loads planned, beside `emhass` on the same problems, and beside brute force on small ones.

    make bench BENCH=schedule

Both get gap 1e-3, 10 s and one thread, and build their model within the time that is measured; both plans are priced by
`price_plan`. Where the limit ends a search, the plan is the best found, and its gap stands beside. The problems hold all that
both can say (`schedule_cases`), the demand charge with the peak so far among it. `peer_emhass` says how the peer is called.
"""

import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from agent.contract.errors import UnavailableError
from agent.planning.schedule.optimum import solve
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.rules import do_nothing, rule_plan
from tests.benchmarks import schedule_cases
from tests.benchmarks.schedule_brute import brute_force

GAP, LIMIT_S, THREADS = 1e-3, 10.0, 1
REPEATS = int(os.environ.get("BENCH_REPEATS", "5"))
PEER_PYTHON = Path(".venv-emhass/bin/python")
_TIMEOUT_S = 3600
_SMALL = 40


def run():
    """Measure all problems with both."""
    problems = dict(schedule_cases.cases())
    peer = _peer(problems)
    figures = {}
    for (name, problem), theirs in zip(problems.items(), peer["plans"], strict=True):
        figures[name] = _case(name, problem, theirs)
    _table(figures)
    by_size = {steps: [figures[name] for name, one in problems.items() if one.steps == steps] for steps in _sizes()}
    objective, times = (
        [one[key] for one in figures.values() if one[key] is not None]
        for key in ("objective_ratio_vs_peer", "time_ratio_vs_peer")
    )
    return {
        "gap": GAP,
        "limit_s": LIMIT_S,
        "threads": THREADS,
        "repeats": REPEATS,
        "peer": f"emhass {peer['version']} ({peer['solver']})",
        "solve_ms_p50": {
            steps: statistics.median(one["solve_ms_p50"] for one in ones) for steps, ones in by_size.items()
        },
        "solve_ms_max": {steps: max(one["solve_ms_max"] for one in ones) for steps, ones in by_size.items()},
        "gap_max": {steps: _greatest(one["gap"] for one in ones) for steps, ones in by_size.items()},
        "peer_ms_p50": {
            steps: statistics.median(one["peer_ms_p50"] for one in ones) for steps, ones in by_size.items()
        },
        "objective_ratio_vs_peer": max(objective, default=None),
        "objective_ratio_vs_peer_geomean": statistics.geometric_mean(objective) if objective else None,
        "time_ratio_vs_peer": max(times),
        "time_ratio_vs_peer_geomean": statistics.geometric_mean(times),
        "peer_without_plan": sum(one["peer_total"] is None for one in figures.values()),
        "brute_force": _brute(),
        "full_problem": {steps: _full(steps, step_s) for steps, step_s in schedule_cases.SIZES.items()},
        "problems": figures,
    }


def _solved(name, problem):
    """Solve once to warm up, then as often as asked; return the last plan, priced, and the times in ms."""
    times, plan = [], None
    solve(problem, gap=GAP, limit_s=LIMIT_S, threads=THREADS)
    for _ in range(REPEATS):
        begin = perf_counter()
        plan = solve(problem, gap=GAP, limit_s=LIMIT_S, threads=THREADS)
        times.append((perf_counter() - begin) * 1000)
    print(f"  {name}: {', '.join(f'{one:.0f}' for one in times)} ms", file=sys.stderr, flush=True)
    if plan is None:
        raise UnavailableError("no plan was found", where=name)
    return plan, _checked(problem, plan, name), times


def _full(steps, step_s):
    plan, priced, times = _solved(f"{steps}-full", schedule_cases.full(steps, step_s))
    return {"solve_ms_p50": statistics.median(times), "gap": plan.gap, "total": priced.total}


def _case(name, problem, theirs):
    plan, ours, times = _solved(name, problem)
    plan_of_peer = schedule_cases.from_json(problem, theirs)
    priced = None if plan_of_peer is None else price_plan(problem, plan_of_peer)
    valid = priced is not None and not priced.violations
    peer_ms = [one["total_ms"] for one in theirs["runs"]]
    return {
        "solve_ms_p50": statistics.median(times),
        "solve_ms_max": max(times),
        "gap": plan.gap,
        "total": ours.total,
        "peaks_kw": list(ours.peaks_kw),
        "total_by_rules": price_plan(problem, rule_plan(problem)).total,
        "total_unplanned": price_plan(problem, do_nothing(problem)).total,
        "peer_status": theirs["status"],
        "peer_gap": theirs["gap"] if theirs["gap"] is not None and math.isfinite(theirs["gap"]) else None,
        "peer_total": priced.total if valid else None,
        "peer_violations": [] if priced is None else list(priced.violations),
        "peer_ms_p50": statistics.median(peer_ms),
        "peer_build_ms_p50": statistics.median(one["build_ms"] for one in theirs["runs"]),
        "peer_solve_ms_p50": statistics.median(one["solve_ms"] for one in theirs["runs"]),
        "objective_ratio_vs_peer": ours.total / priced.total if valid else None,
        "time_ratio_vs_peer": statistics.median(times) / statistics.median(peer_ms),
    }


def _checked(problem, plan, name):
    """Price a plan of ours, which breaks nothing."""
    priced = price_plan(problem, plan)
    if priced.violations:
        raise UnavailableError(f"the plan breaks the problem: {'; '.join(priced.violations)}", where=name)
    return priced


def _peer(problems):
    """Solve all problems with the peer, in its environment."""
    if not PEER_PYTHON.exists():
        raise UnavailableError("the peer is not installed", where=str(PEER_PYTHON), todo="Type: make .venv-emhass")
    asked = {
        "gap": GAP,
        "limit_s": LIMIT_S,
        "threads": THREADS,
        "repeats": min(REPEATS, 3),
        "problems": [schedule_cases.to_json(name, problem) for name, problem in problems.items()],
    }
    command = [str(PEER_PYTHON), str(Path(__file__).parent / "peer_emhass.py")]
    done = subprocess.run(
        command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True, timeout=_TIMEOUT_S
    )
    return json.loads(done.stdout)


def _brute():
    """Compare with the best of all plans, on problems so small that all can be tried."""
    worst = 0.0
    for seed in range(_SMALL):
        problem = schedule_cases.small(seed)
        total = _checked(problem, solve(problem, gap=0.0, limit_s=LIMIT_S, threads=THREADS), f"small {seed}").total
        worst = max(worst, abs(total - brute_force(problem)))
    return {"problems": _SMALL, "worst_difference": worst, "agree": worst < 1e-6}


def _greatest(gaps):
    """The greatest gap; None where a plan has none that is proven."""
    gaps = list(gaps)
    return None if None in gaps else max(gaps)


def _sizes():
    return list(schedule_cases.SIZES)


def _table(figures):
    print(f"{'problem':<18} {'ours':>9} {'peer':>9} {'ours':>11} {'peer':>11} {'ratio':>8}   peer", flush=True)
    for name, one in figures.items():
        theirs = "-" if one["peer_total"] is None else f"{one['peer_total']:.2f}"
        ratio = "-" if one["objective_ratio_vs_peer"] is None else f"{one['objective_ratio_vs_peer']:.5f}"
        print(
            f"{name:<18} {one['solve_ms_p50']:>6.0f} ms {one['peer_ms_p50']:>6.0f} ms {one['total']:>11.2f} "
            f"{theirs:>11} {ratio:>8}   {'; '.join([one['peer_status'], *one['peer_violations']])}",
            flush=True,
        )
