"""The one door to HiGHS: a `Milp` in, the best point found out.

Decides the solver's options. Imported only in the process that solves: with it come some 50 MiB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.contract.errors import UnavailableError
from agent.planning.schedule.milp import Milp
from agent.planning.schedule.parts import Array

try:
    import highspy
except ImportError as exc:
    raise UnavailableError(
        f"the solver HiGHS is not installed ({exc})", where="schedule", todo="Type: pip install 'edgewatt[plan]'"
    ) from exc

_DUST = 1e-6
_LEAST_S = 0.05
_DIGGING = ("mip_heuristic_run_rins", "mip_heuristic_run_rens", "mip_heuristic_run_root_reduced_cost")


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """What HiGHS says.

    Attributes:
        status: "optimal" (within the gap), "limit" (the best found when time was over), "infeasible", or "failed".
        point: value of each column, or None.
        bound: no point costs less.
    """

    status: str
    point: Array | None
    objective: float
    bound: float


def minimise(
    milp: Milp,
    *,
    gap: float,
    limit_s: float,
    threads: int,
    start: Array | None = None,
    target: float = -np.inf,
    dig: bool = True,
) -> Solved:
    """Solve to a relative gap, down to a target, or until the time is over.

    `start` is a point to begin with (NaN: unknown). `dig` seeks good points by small programs on the way, which takes
    most of the time.
    """
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    for name, value in (
        ("output_flag", False),
        ("threads", threads),
        ("mip_rel_gap", gap),
        ("time_limit", max(limit_s, _LEAST_S)),
        ("random_seed", 0),
        ("objective_target", target),
        *((name, dig) for name in _DIGGING),
    ):
        solver.setOptionValue(name, value)
    solver.passModel(_lp(milp))
    if start is not None:
        known = np.flatnonzero(np.isfinite(start)).astype(np.int32)
        solver.setSolution(len(known), known, start[known])
    solver.run()
    status = solver.getModelStatus()
    info = solver.getInfo()
    found = highspy.HighsModelStatus
    if status in (found.kInfeasible, found.kUnboundedOrInfeasible):
        return Solved("infeasible", None, np.inf, np.inf)
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return Solved("limit" if status == found.kTimeLimit else "failed", None, np.inf, -np.inf)
    point = np.array(solver.getSolution().col_value)
    objective = float(milp.cost @ point) + milp.offset
    told = float(info.objective_function_value)
    if start is not None and objective > told + _DUST * max(abs(told), 1.0):
        # HiGHS 1.16 can return the point that it was given although it found, and tells the cost of, a better one.
        left_s = max(limit_s - solver.getRunTime(), _LEAST_S)
        return minimise(milp, gap=gap, limit_s=left_s, threads=threads, target=target, dig=dig)
    bound = float(info.mip_dual_bound) if milp.integer.any() else told
    if status == found.kObjectiveTarget or (status != found.kOptimal and not milp.integer.any()):
        bound = -np.inf  # what HiGHS tells then is the point's own cost
    return Solved("optimal" if status == found.kOptimal else "limit", point, objective, bound)


def _lp(milp: Milp) -> highspy.HighsLp:
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(milp.cost), len(milp.row_lower)
    lp.offset_ = milp.offset
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = milp.cost, milp.lower, milp.upper
    lp.row_lower_, lp.row_upper_ = milp.row_lower, milp.row_upper
    kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
    if milp.integer.any():
        lp.integrality_ = [kinds[flag] for flag in milp.integer.astype(int)]
    matrix = lp.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kRowwise
    matrix.num_col_, matrix.num_row_ = lp.num_col_, lp.num_row_
    matrix.start_, matrix.index_, matrix.value_ = milp.row_start, milp.column, milp.value
    return lp
