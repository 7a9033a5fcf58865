"""A thousand devices at one broker and one ingest: all connected, all cut off, all back at once, ingest killed in between.

Each device has a certificate of its own, and may write only below its own name.
"""

import datetime as dt
import ipaddress
import json
import os
import subprocess
import sys
import time

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.benchmarks.fleet_devices import ROWS
from tests.support.broker import HOST, free_port, running_mosquitto
from tests.support.centre import make_centre
from tests.support.trainer_process import running_trainer
from trainer.fleet import database as db

DEVICES = int(os.environ.get("BENCH_DEVICES", "1000"))
OUTAGE_S = float(os.environ.get("BENCH_OUTAGE_S", "60"))
_PROCESSES, _BATCHES = 4, 3
_WITHIN_S = 600


def thousand_devices(folder):
    """Run the story and judge it by the central database."""
    print(f"  {DEVICES} devices ...", file=sys.stderr, flush=True)
    folder.mkdir()
    centre = make_centre(folder, f"sqlite:///{folder / 'centre.db'}")
    centre.clock.ms = time.time_ns() // 1_000_000
    authority = _Authority(folder)
    tls = free_port()
    (folder / "acl").write_text("topic readwrite #\ntopic read $SYS/#\npattern readwrite ew/v1/%u/#\n")
    settings = (
        f"acl_file {folder.absolute() / 'acl'}",
        "max_queued_messages 20000",
        "sys_interval 1",
        f"listener {tls} {HOST}",
        f"cafile {authority.ca}",
        f"certfile {authority.certificate('broker')}",
        f"keyfile {authority.key('broker')}",
        "require_certificate true",
        "use_identity_as_username true",
    )
    with running_mosquitto(folder, settings=settings) as broker:
        address = f"{broker.host}:{broker.port}"
        with (
            _Fleet(folder, centre, authority, tls) as fleet,
            running_trainer(folder, "ingest", "--broker", address) as first,
        ):
            first.said("connected to broker")
            queue = _Queue(broker)
            fleet.until(lambda said: said["connected"] == DEVICES)
            connected_s = time.monotonic() - fleet.began_s
            begin = time.monotonic()
            fleet.tell("batch")
            fleet.until(lambda said: said["waiting"] == 0)
            first_s = time.monotonic() - begin
            broker.stop()
            for _ in range(_BATCHES):
                time.sleep(OUTAGE_S / _BATCHES)
                fleet.tell("batch")
            broker.start()
            begin = time.monotonic()
            half = DEVICES * _BATCHES // 2
            fleet.until(lambda said: said["waiting"] < half)
            first.kill()
            with running_trainer(folder, "ingest", "--broker", address):
                said = fleet.until(lambda said: said["waiting"] == 0)
            drain_s = time.monotonic() - begin
            queue.close()
    rows, doubles, holes = _judge(centre)
    centre.engine.dispose()
    return {
        "devices_simulated": DEVICES,
        "devices_connected_s": connected_s,
        "devices_first_batch_s": first_s,
        "devices_outage_s": OUTAGE_S,
        "devices_drain_s": drain_s,
        "devices_connections": said["connections"],
        "devices_envelopes": said["envelopes"],
        "devices_resent_blocks": said["resent_blocks"],
        "devices_peak_queue": queue.most,
        "devices_readings": rows,
        "devices_lost": DEVICES * ROWS * (1 + _BATCHES) - rows,
        "devices_doubled": doubles,
        "devices_holes": holes,
    }


class _Fleet:
    """The processes of the devices."""

    def __init__(self, folder, centre, authority, port):
        devices = []
        for number in range(DEVICES):
            field = centre.device(f"press-{number}")
            certificate, key = authority.certificate(field.name), authority.key(field.name)
            one = {"name": field.name, "signing": field.key.private.hex()}
            devices.append({**one, "certificate": str(certificate), "key": str(key)})
        common = {"host": HOST, "port": port, "ca": str(authority.ca), "resend_after_s": 30.0}
        self._paths = []
        for number in range(_PROCESSES):
            path = folder / f"devices-{number}.json"
            mine = {**common, "trust": centre.online.trust.to_json(), "devices": devices[number::_PROCESSES]}
            path.write_text(json.dumps(mine))
            self._paths.append(path)
        self._processes, self.began_s = [], 0.0

    def __enter__(self):
        self.began_s = time.monotonic()
        command = [sys.executable, "-m", "tests.benchmarks.fleet_devices"]
        self._processes = [
            subprocess.Popen([*command, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for path in self._paths
        ]
        return self

    def __exit__(self, *_):
        for process in self._processes:
            process.kill()
            process.communicate()

    def tell(self, what):
        """Tell all processes; their reports, summed."""
        for process in self._processes:
            process.stdin.write(f"{what}\n")
            process.stdin.flush()
        reports = [json.loads(process.stdout.readline()) for process in self._processes]
        return {name: sum(report[name] for report in reports) for name in reports[0]}

    def until(self, condition):
        """Wait; the report that fulfilled it."""
        deadline = time.monotonic() + _WITHIN_S
        while not condition(said := self.tell("report")):
            assert time.monotonic() < deadline, said
            time.sleep(0.2)
        return said


class _Queue:
    """The greatest number of messages that the broker has held."""

    def __init__(self, broker):
        self.most = 0
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("$SYS/broker/store/messages/count")
        self._client.on_message = self._heard
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()

    def _heard(self, _client, _data, message):
        self.most = max(self.most, int(message.payload))

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


class _Authority:
    """Certificates on P-256 under one authority."""

    def __init__(self, folder):
        self._folder = folder.absolute() / "certificates"
        self._folder.mkdir()
        self._key, self._name = ec.generate_private_key(ec.SECP256R1()), _name("authority")
        made = self._make("authority", self._key, ca=True)
        self.ca = self._folder / "authority.pem"
        self.ca.write_bytes(made)

    def certificate(self, name):
        """Make a certificate; its path."""
        key = ec.generate_private_key(ec.SECP256R1())
        self.key(name).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        path = self._folder / f"{name}.pem"
        path.write_bytes(self._make(name, key, ca=False))
        return path

    def key(self, name):
        """Where the private key lies."""
        return self._folder / f"{name}.key"

    def _make(self, name, key, *, ca):
        now = dt.datetime.now(dt.UTC)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(address, critical=False)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _judge(centre):
    """Readings that are stored, those beyond the first of a channel and time, and holes in what is held."""
    reading, coverage = db.reading, db.coverage
    place = (reading.c.device, reading.c.channel, reading.c.time_ms)
    with db.read(centre.engine) as connection:
        rows = connection.execute(sa.select(sa.func.count()).select_from(reading)).scalar_one()
        distinct = sa.select(*place).distinct().subquery()
        places = connection.execute(sa.select(sa.func.count()).select_from(distinct)).scalar_one()
        held = connection.execute(
            sa.select(sa.func.count()).select_from(coverage).where(coverage.c.stream == "readings")
        ).scalar_one()
    return rows, rows - places, held - DEVICES
