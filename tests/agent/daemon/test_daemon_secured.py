"""A daemon, a centre and a broker that asks for certificates: let in, told of new keys while it sends, shut out."""

from __future__ import annotations

import json
from pathlib import Path

from agent.store.identity import Identity
from tests.support import central_queries as queries
from tests.support.agent_process import Agent
from tests.support.secured_broker import secured_fleet
from tests.support.trainer_process import running_trainer
from trainer.fleet.database import open_database


def test_from_enrolment_over_new_keys_to_revocation(tmp_path: Path) -> None:
    with secured_fleet(tmp_path) as fleet, running_trainer(fleet.home.folder, "ingest") as ingest:
        ingest.said("connected to broker")
        enrolment = fleet.add("d1")
        engine = open_database(fleet.home.database_url)
        with Agent(tmp_path) as agent:
            agent.config.write_text(agent.config.read_text() + "[sync]\nresend_after_s = 1\n")
            done = agent.run("enroll", str(fleet.home.folder / "d1.enrolment"))
            assert done.code == 0, done.err
            agent.start()
            agent.until(lambda: queries.readings_stored(engine, "d1") > 0)

            old = enrolment.trust.recipient().id
            for words in (("rotate", "seal"), ("drain", old)):
                assert fleet.command("keys", *words) == 0
            assert fleet.command("trust", "publish") == 0
            identity = agent.folder / "state" / "identity"
            agent.until(lambda: Identity.open(identity).enrolment.trust.recipient().id != old)
            agent.until(lambda: fleet.command("keys", "revoke", old) == 0)  # once the device has said that it knows
            before = queries.readings_stored(engine, "d1")
            agent.until(lambda: queries.readings_stored(engine, "d1") > before)

            assert fleet.command("device", "revoke", "d1") == 0
            agent.until(lambda: not agent.ask("sync", "status")["connected"])
            stored = queries.readings_stored(engine, "d1")
            agent.until(lambda: "away" in agent.log())
            assert queries.readings_stored(engine, "d1") == stored
            assert queries.readings_duplicated(engine, "d1") == 0
            # What is new goes first: the cut may leave older rows here, which the centre then misses.
            assert queries.readings_missing(engine, "d1") <= agent.ask("buffer", "status")["backlog_rows"]
            assert agent.ask("status")["connected"] is False  # and it samples on
            assert agent.stop() == 0
        secrets = json.loads((identity / "enrolment.json").read_bytes())
        for text in (agent.log(), ingest.log, fleet.broker.log):
            for secret in (enrolment.token, secrets["signing_key"], secrets["tls_key"][40:80]):
                assert secret not in text
        engine.dispose()
