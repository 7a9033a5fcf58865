"""Solving in a process that ends: the solver would double the daemon's memory, and a crash of it is not the daemon's.

Decides what happens when that process fails: whatever it is (no solver installed, killed, too slow, garbage), the
answer is the plan by rules, flagged, with the reason. The problem goes in and the plan comes out as JSON, with the
policy of its battery where a prospect is given; `python -m` of this module is the process itself. What is left to do
here when it has ended, a thread does: who polls is not to be stopped by a plan of a week.
"""

from __future__ import annotations

import dataclasses
import math
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import IO, Any

from agent.contract import jsonform
from agent.contract.errors import EdgewattError, RejectedError, UnavailableError
from agent.planning.schedule.aims import aimed, guarded_plan, plan_aimed
from agent.planning.schedule.policy import Policy
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.problem import Plan, Problem
from agent.planning.schedule.prospect import Aims, Prospect
from agent.planning.schedule.rules import rule_plan
from agent.planning.schedule.wire import (
    MAX_BYTES,
    aims_from_json,
    aims_to_json,
    plan_from_json,
    plan_to_json,
    policy_from_json,
    policy_to_json,
    problem_from_json,
    problem_to_json,
    prospect_from_json,
    prospect_to_json,
)

COMMAND = (sys.executable, "-m", "agent.planning.schedule.child")
_GRACE_S = 5.0  # for starting, and for a solver that looks at its clock late
_VALUE_S = 15.0  # at least, for what stored energy is worth, under every aim that is tried, on a slow device
_VALUE_STEP_S = 0.05  # and for each step
_PIECE_BYTES = 1 << 16
_WORDS = 300
_NICENESS = 10  # sampling and storing go first


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """A plan and what making it took; memory and processor time are the child's, 0 when it did not tell.

    Attributes:
        problem: that the plan answers, with the aims in it where its peak is guarded.
        aims, policy: of a guarded plan.
    """

    problem: Problem
    plan: Plan
    wall_s: float
    cpu_s: float = 0.0
    peak_kib: int = 0
    aims: Aims | None = None
    policy: Policy | None = None


class Making:
    """A plan in the making, in a child process; `poll` as often as wanted, it never waits.

    Invariants:
        - the child is gone at the latest `limit_s` and some seconds after the start, whatever it does, and then there
          is a plan soon;
        - the thread touches nothing but problem, prospect and answer.
    """

    def __init__(
        self,
        problem: Problem,
        prospect: Prospect | None = None,
        *,
        gap: float = 1e-3,
        limit_s: float = 10.0,
        threads: int = 1,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """Start the child; with a prospect the plan is a guarded one."""
        self._problem, self._prospect = problem, prospect
        self._began = time.monotonic()
        self._until = self._began + _whole_s(problem, prospect, limit_s)
        self._answer = bytearray()
        self._made: Made | None = None
        self._failure: BaseException | None = None
        self._rest: threading.Thread | None = None  # what makes a plan of the answer, or one by rules
        given_prospect = None if prospect is None else prospect_to_json(prospect)
        asked = {
            "problem": problem_to_json(problem),
            "prospect": given_prospect,
            "gap": gap,
            "limit_s": limit_s,
            "threads": threads,
        }
        self._errors: IO[bytes] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        try:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
            with tempfile.TemporaryFile() as given:
                given.write(jsonform.dumps(asked))
                given.seek(0)
                self._child = subprocess.Popen(
                    list(command), stdin=given, stdout=subprocess.PIPE, stderr=self._errors, start_new_session=True
                )
        except OSError as exc:
            self._give_up(f"the optimiser cannot be started ({exc})")

    def poll(self, wait_s: float = 0.0) -> Made | None:
        """Return the plan when there is one; wait for news for at most `wait_s`, some more where the child just ended.

        Raises:
            Exception: whatever kept even a plan by rules from being made.
        """
        while self._rest is None and self._read(wait_s):
            wait_s = 0.0
        if self._rest is None and time.monotonic() > self._until:
            self._give_up("the optimiser overran its time")
        if self._rest is not None and self._rest.is_alive():
            self._rest.join(wait_s)
        if self._failure is not None:
            raise self._failure
        return self._made

    def _read(self, wait_s: float) -> bool:
        """Take a piece of the answer, or the child's end; return whether there was news."""
        assert self._child is not None and self._child.stdout is not None  # noqa: S101, PT018
        ready, _, _ = select.select([self._child.stdout], [], [], wait_s)
        if not ready:
            return False
        piece = os.read(self._child.stdout.fileno(), _PIECE_BYTES)
        self._answer += piece
        if len(self._answer) > MAX_BYTES:
            self._give_up(f"the optimiser answered with more than {MAX_BYTES} bytes")
        if piece:
            return True
        try:
            words = self._last_words(self._child.wait(timeout=wait_s))
        except subprocess.TimeoutExpired:
            return False
        self.close()
        self._leave(lambda: self._judge(words))
        return True

    def close(self) -> None:
        """Stop the child if it still runs."""
        if self._child is not None:
            if self._child.poll() is None:
                self._child.kill()
            self._child.wait()
            if self._child.stdout is not None:
                self._child.stdout.close()
        if self._errors is not None:
            self._errors.close()

    def _last_words(self, code: int) -> str:
        if code < 0 or self._errors is None:
            return f"ended by signal {-code}"
        self._errors.seek(max(self._errors.seek(0, os.SEEK_END) - _WORDS, 0))
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"exit code {code}" + (f": {words[-1]}" if words else "")

    def _give_up(self, reason: str) -> None:
        """Stop the child, and make a plan by rules."""
        self.close()
        self._leave(lambda: self._by_rules(reason))

    def _leave(self, make: Callable[[], Made]) -> None:
        """Let a thread make the plan."""

        def work() -> None:
            try:
                self._made = make()
            except BaseException as exc:  # noqa: BLE001 - `poll` raises it
                self._failure = exc

        self._rest = threading.Thread(target=work, name="plan", daemon=True)
        try:
            self._rest.start()
        except RuntimeError:  # none can be had: late is better than never
            work()

    def _judge(self, words: str) -> Made:
        """Return the plan of a child that has ended with these words; by rules where it is none."""
        try:
            answer = jsonform.loads(bytes(self._answer), where="optimiser", max_bytes=MAX_BYTES)
            if "error" in answer:
                return self._by_rules(str(answer["error"])[:_WORDS])
            problem = self._problem
            aims: Aims | None = None
            policy: Policy | None = None
            if self._prospect is not None:
                aims = aims_from_json(answer["aims"])
                problem = aimed(problem, aims)
                policy = policy_from_json(problem, answer["to_go"])
            plan = plan_from_json(problem, answer["plan"])
            used = jsonform.Fields(answer, "optimiser")
            cpu_s, peak_kib = used.number("cpu_s", low=0), used.integer("peak_kib")
        except (RejectedError, KeyError, TypeError):
            return self._by_rules(f"the optimiser failed ({words})")
        priced = price_plan(problem, plan)
        if plan.source != "rules" and not plan.notes and priced.violations:
            return self._by_rules(f"the optimiser's plan cannot be run ({priced.violations[0]})")
        plan = dataclasses.replace(plan, objective=priced.total)
        return Made(problem, plan, self._wall_s, cpu_s, peak_kib, aims, policy)

    def _by_rules(self, reason: str) -> Made:
        """Plan by rules, on the aims as they stand; where there are none no peak is guarded."""
        if self._prospect is None or not self._prospect.standing.peaks_kw:
            return Made(self._problem, rule_plan(self._problem, reason), self._wall_s)
        aims = self._prospect.standing
        made = plan_aimed(self._problem, self._prospect, aims, rule_plan)
        plan = dataclasses.replace(made.plan, notes=(reason, *made.plan.notes))
        return Made(made.policy.problem, plan, self._wall_s, aims=made.aims, policy=made.policy)

    @property
    def _wall_s(self) -> float:
        return time.monotonic() - self._began


def make_plan(
    problem: Problem,
    prospect: Prospect | None = None,
    *,
    gap: float = 1e-3,
    limit_s: float = 10.0,
    threads: int = 1,
    command: Sequence[str] = COMMAND,
) -> Made:
    """Make a plan in a child process and wait for it; by rules, with the reason in its notes, when that fails."""
    making = Making(problem, prospect, gap=gap, limit_s=limit_s, threads=threads, command=command)
    try:
        while (made := making.poll(1.0)) is None:
            pass
        return made
    finally:
        making.close()


def main() -> int:
    """Read a problem from stdin, solve it, write the plan to stdout."""
    with os.fdopen(os.dup(1), "wb") as answer:
        os.dup2(2, 1)  # the solver prints what it likes
        os.nice(_NICENESS)
        try:
            result, code = _answer(sys.stdin.buffer.read(MAX_BYTES + 1)), 0
        except EdgewattError as exc:
            result, code = {"error": str(exc)}, exc.exit_code
        answer.write(jsonform.dumps(result))
    return code


def _answer(data: bytes) -> dict[str, Any]:
    fields = jsonform.Fields(jsonform.loads(data, where="schedule", max_bytes=MAX_BYTES), "schedule")
    problem, given = problem_from_json(fields.raw("problem")), fields.raw("prospect")
    prospect = None if given is None else prospect_from_json(given)
    # A solver that hangs ends by itself, also where the daemon was killed and nobody else would end it.
    signal.alarm(math.ceil(_whole_s(problem, prospect, fields.number("limit_s", low=0))))
    solve = partial(_solve, fields)
    result: dict[str, Any] = {}
    if prospect is None:
        plan = solve(problem)
    else:
        made = guarded_plan(problem, prospect, solve)
        plan, result = made.plan, {"aims": aims_to_json(made.aims), "to_go": policy_to_json(made.policy)}
    used = resource.getrusage(resource.RUSAGE_SELF)
    result |= {"cpu_s": used.ru_utime + used.ru_stime, "peak_kib": int(used.ru_maxrss)}
    return result | {"plan": plan_to_json(plan)}


def _solve(fields: jsonform.Fields, problem: Problem) -> Plan:
    """Make a plan here: by the optimiser, or by rules where it is not installed."""
    try:
        from agent.planning.schedule.optimum import solve  # noqa: PLC0415 - the solver lives in this process alone
    except UnavailableError as exc:
        return rule_plan(problem, str(exc))
    gap, limit_s = fields.number("gap", low=0), fields.number("limit_s", low=0)
    return solve(problem, gap=gap, limit_s=limit_s, threads=fields.integer("threads", low=1))


def _whole_s(problem: Problem, prospect: Prospect | None, limit_s: float) -> float:
    """Return the time for all that is to be done."""
    value_s = 0.0 if prospect is None else max(_VALUE_S, _VALUE_STEP_S * problem.steps)
    return limit_s + _GRACE_S + value_s


if __name__ == "__main__":
    sys.exit(main())
