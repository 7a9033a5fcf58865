"""What the demonstration has at hand and what has happened so far: the figures that only the teller can count."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from demo import plants
from demo.broker import Broker
from demo.figures import Centre
from demo.stage import Process, Stage


@dataclass
class Story:
    """What happened so far; the figures of the summary."""

    stage: Stage
    console: Console
    home: Path
    broker_name: str
    broker: Broker
    centre: Centre
    agents: dict[str, Process] = field(default_factory=dict)
    replayed: dict[str, int] = field(default_factory=dict)
    rss_mib: float = 0.0
    outage_s: float = 0.0
    killed: int = 0

    def trainer(self, *argv: str, show: bool = False) -> dict[str, Any]:
        """Run a command of the centre."""
        return self.stage.run("edgewatt-trainer", "--home", str(self.home), *argv, show=show)

    def agent(self, device: str, *argv: str) -> dict[str, Any]:
        """Run a command of one device."""
        return self.stage.run("edgewatt", "--config", str(self.stage.folder / device / "agent.toml"), *argv)

    def say(self, text: str) -> None:
        """Tell the reader what comes."""
        self.console.print(f"[bold]•[/bold] {text}")

    @property
    def address(self) -> str:
        """Where the broker listens."""
        return f"127.0.0.1:{self.broker.port}"

    @property
    def model_folder(self) -> Path:
        """Where `train` puts the model."""
        return self.home / "models" / f"{plants.PLANT}-1"
