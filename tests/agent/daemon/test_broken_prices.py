"""A file of prices that is broken keeps nobody from sampling; it is told, and mended while the agent runs."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from tests.support.agent_process import TARIFF, Agent

MARKET = """
name = "market"
zone = "Australia/Melbourne"
currency = "AUD"
[[energy]]
name = "spot"
series = "day-ahead.csv"
series_minutes = 60
"""
FACTORS = """
name = "grid"
zone = "Australia/Melbourne"
[[factor]]
ledger = "scope-2-location"
series = "hours.csv"
"""
FIRST = dt.datetime(2014, 1, 20, tzinfo=dt.UTC)


def test_a_half_written_file_of_prices_is_a_trouble_and_no_end_and_is_read_again_when_it_is_whole(
    tmp_path: Path,
) -> None:
    prices = tmp_path / "day-ahead.csv"
    lines = [f"{(FIRST + dt.timedelta(hours=hour)).isoformat()},0.{10 + hour % 24}" for hour in range(24 * 40)]
    whole = "\n".join(["start,price", *lines]) + "\n"
    prices.write_text(whole[:990])
    (tmp_path / "market.toml").write_text(MARKET)
    agent = Agent(tmp_path, rate=14_400)
    agent.config.write_text(agent.config.read_text().replace(str(TARIFF), str(tmp_path / "market.toml")))
    (tmp_path / "factors.toml").write_text(FACTORS)
    (tmp_path / "hours.csv").write_text("start,kg_per_unit\n2014-01-20T00:")
    agent.config.write_text(agent.config.read_text() + '[carbon]\nfile = "factors.toml"\n')
    done = agent.run("config", "check")
    assert done.code == 78
    assert "day-ahead.csv: line" in done.err
    assert "hours.csv: line" in done.err
    try:
        agent.start()
        agent.until(lambda: "day-ahead.csv" in agent.ask("status")["troubles"].get("prices", ""))
        assert "hours.csv" in agent.ask("status")["troubles"]["prices"]
        prices.write_text(whole)
        (tmp_path / "hours.csv").write_text("start,kg_per_unit\n2014-01-21T00:00:00Z,0.9\n")
        agent.until(lambda: "prices" not in agent.ask("status")["troubles"])
        agent.until(lambda: "month" in {row["scope"] for row in agent.ask("cost")["costs"]})
    finally:
        agent.kill()
