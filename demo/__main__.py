"""The whole loop on real data, in one command: `make demo`.

Reads as the story it tells; every step is one of edgewatt's own commands, as a person would type it. What it proves
goes to `build/demo/summary.json`, what it shows to `build/demo/report.html`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from demo import data, plants
from demo.broker import running_broker
from demo.figures import Centre
from demo.stage import Stage, StageError, peak_rss_mib, wait_until
from demo.story import Story
from demo.summary import show, sum_up, verdict
from tests.support.bundles import with_wrong_golden

REPLAY_LIMIT_S = 300.0
OUTAGE_AT, OUTAGE_S = 0.45, 12.0
MODEL_AT = 0.08


def main() -> int:
    """Run the demonstration; exit code 0 when everything it claims was seen."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small networks, five weeks instead of eleven")
    parser.add_argument("--folder", type=Path, default=Path("build/demo"), help="made anew; default: build/demo")
    given = parser.parse_args()
    begin, folder, quick = time.monotonic(), given.folder, given.quick
    console = Console(stderr=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with Stage(folder) as stage, running_broker(stage) as (broker_name, broker):
            home = folder / "centre"
            story = Story(stage, console, home, broker_name, broker, Centre(home))
            rows = make_data(story, quick=quick)
            scores = train_model(story, quick=quick)
            bundle = publish_model(story)
            start_fleet(story)
            replay(story, bundle)
            refuse_bad_model(story, bundle)
            summary = sum_up(story, rows, scores, bundle)
            story.trainer("report", "--bundle", str(bundle), "--out", str(folder / "report.html"))
    except StageError as exc:
        console.print(f"[red]The demonstration failed:[/red] {exc}", markup=True, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; nothing is left running")
        return 130
    summary["elapsed_s"] = round(time.monotonic() - begin, 1)
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    show(summary, folder)
    return 0 if verdict(summary, console) else 1


def make_data(story: Story, *, quick: bool) -> int:
    """Write the series as a utility would deliver it, and import its first ten months into the central store."""
    source = story.stage.folder / "elecdemand.csv"
    rows = data.write_elecdemand(source)
    story.say(f"Real data: {rows} half-hours of the state of Victoria's electricity demand, 2014")
    story.trainer("init")
    history = story.stage.folder / "history.csv"
    lines = source.read_text().splitlines()
    history.write_text("\n".join([lines[0], *(line for line in lines[1:] if line < plants.TRAIN_UNTIL)]) + "\n")
    story.trainer(*_import(history))
    series = plants.read_series(source)
    until = plants.QUICK_REPLAY_UNTIL if quick else plants.REPLAY_UNTIL
    for device in plants.DEVICES:
        story.replayed[device.id] = plants.write_device(device, series, story.stage.folder / device.id, until=until)
    return rows


def _import(path: Path) -> list[str]:
    return [
        *("import", "--csv", str(path), "--plant", plants.PLANT, "--timestamps-in", plants.FRAME),
        *("--timezone", plants.ZONE, "--value-column", "load_gw", "--unit", "GW", "--holidays", plants.HOLIDAYS),
    ]


def train_model(story: Story, *, quick: bool) -> dict[str, float]:
    """Teacher, distilled student, int8; then score all of them on weeks that none has seen."""
    model = str(story.model_folder)
    story.say("Training a teacher on ten months, then distilling it into a student for the devices (three minutes)")
    story.trainer(
        *("train", "--plant", plants.PLANT, "--until", plants.TRAIN_UNTIL, "--name", plants.PLANT),
        *(["--quick"] if quick else []),
        show=True,
    )
    story.say("Converting the student to int8 and checking it on the devices' own runtimes")
    story.stage.run("edgewatt-converter", "convert", model)
    story.stage.run("edgewatt-converter", "verify", model)
    story.trainer(*_import(story.stage.folder / "elecdemand.csv"))
    scores = story.trainer("evaluate", "--model", model, "--from", plants.TRAIN_UNTIL, "--json")["pinball_kw"]
    return {name: float(value) for name, value in scores.items()}


def publish_model(story: Story) -> Path:
    """Bundle the model with its golden vectors and card, and sign it into the update repository."""
    bundle = story.stage.folder / f"{plants.PLANT}-1.ewb"
    story.stage.run("edgewatt-converter", "bundle", str(story.model_folder), "--out", str(bundle))
    story.trainer("publish", str(bundle))
    story.say(f"Signed and published {bundle.name} ({bundle.stat().st_size // 1024} KiB)")
    return bundle


def start_fleet(story: Story) -> None:
    """Start ingest, enrol three devices, start their agents."""
    story.stage.start("ingest", "edgewatt-trainer", "--home", str(story.home), "ingest", "--broker", story.address)
    for device in plants.DEVICES:
        enrolment = story.stage.folder / device.id / "enrolment.json"
        story.trainer("device", "add", device.id, "--broker", story.address, "--out", str(enrolment))
        story.agent(device.id, "enroll", str(enrolment))
    for device in plants.DEVICES:
        config = str(story.stage.folder / device.id / "agent.toml")
        story.agents[device.id] = story.stage.start(device.id, "edgewatt", "--config", config, "run")
    story.say(
        f"Broker ({story.broker_name}), ingest and three agents are running; a plant day takes "
        f"{plants.SECONDS_PER_DAY} s"
    )


def replay(story: Story, bundle: Path) -> None:
    """Watch the replay; push the model early, cut the broker and kill an agent in the middle, wait for the last row."""
    expected = sum(story.replayed.values())
    columns = (TextColumn("  {task.description:<44}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    pushed = cut = False
    end = time.monotonic() + REPLAY_LIMIT_S
    with Progress(*columns, console=story.console) as progress:
        task = progress.add_task("replaying", total=expected)
        while True:
            held = sum(story.centre.readings(device) for device in story.replayed)
            progress.update(task, completed=held)
            story.stage.check()
            if not pushed and held >= MODEL_AT * expected:
                pushed = True
                progress.update(task, description="replaying, the model is on its way")
                assign_everywhere(story, f"models/{bundle.name}")
            if not cut and held >= OUTAGE_AT * expected:
                cut = True
                cut_and_kill(story, lambda text: progress.update(task, description=text))
            if held >= expected:
                break
            if time.monotonic() > end:
                raise StageError(f"{held} of {expected} readings arrived within {REPLAY_LIMIT_S:.0f} s")
            time.sleep(0.5)
    story.say("Everything was replayed; waiting until each device has nothing left to send")
    wait_until("draining", lambda: all(drained(story, device) for device in story.replayed), story.stage, 60)


def assign_everywhere(story: Story, target: str) -> None:
    """Tell each device what it shall run."""
    for device in story.replayed:
        story.trainer("assign", device, target)


def cut_and_kill(story: Story, tell: Any) -> None:
    """Take the broker away, kill one agent as a power cut would, bring both back."""
    tell("broker cut; one agent killed with SIGKILL")
    begin = time.monotonic()
    story.broker.stop()
    time.sleep(OUTAGE_S / 3)
    victim = story.agents[plants.DEVICES[1].id]
    story.rss_mib = max(story.rss_mib, peak_rss_mib(victim.pid))
    victim.kill()
    story.killed += 1
    time.sleep(OUTAGE_S / 3)
    victim.start()
    time.sleep(OUTAGE_S / 3)
    story.broker.start()
    story.outage_s += time.monotonic() - begin
    tell("broker back; the backlog drains")


def drained(story: Story, device: str) -> bool:
    """Whether a device has replayed all and the centre has acknowledged all of it."""
    status = story.agent(device, "status", "--json")
    return bool(status["exhausted"]) and status["backlog_rows"] == 0


def refuse_bad_model(story: Story, good: Path) -> None:
    """Push a model that is properly signed but does not compute what its golden vectors say."""
    story.say("Pushing a bad model: signed as it should be, but its outputs are not its golden ones")
    bad = story.stage.folder / f"{plants.PLANT}-2.ewb"
    bad.write_bytes(with_wrong_golden(good.read_bytes(), version=2))
    story.trainer("publish", str(bad))
    assign_everywhere(story, f"models/{bad.name}")
    wait_until(
        "the refusal of the bad model by all three devices",
        lambda: all(story.centre.model_events(device, "refused") for device in story.replayed),
        story.stage,
        90,
    )
    for agent in story.agents.values():
        story.rss_mib = max(story.rss_mib, peak_rss_mib(agent.pid))


if __name__ == "__main__":
    sys.exit(main())
