"""What is fuzzed: every parser of outside bytes, with a valid input to begin with and a way to make a hostile one.

A target is `behind` where its hostile inputs are validly signed, sealed, compressed or hashed again after they were altered,
so that they reach what lies behind the first check.
"""

import base64
import copy
import functools
import hashlib
import io
import json
import random
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from agent import config, control
from agent.contract import blocks, envelope, jsonform, loadcsv, renewal, signed
from agent.contract.acknowledgement import KIND as ACK
from agent.contract.acknowledgement import Acknowledgement, Mark
from agent.contract.assignment import KIND as ASSIGN
from agent.contract.assignment import Assignment, Item, ItemKind
from agent.contract.blocks import Block
from agent.contract.bundle import Bundle
from agent.contract.certificates import certificate_request, check_certificate
from agent.contract.channels import Channel, Reading
from agent.contract.enrolment import Enrolment, EnrolmentResponse, open_request, seal_request
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.export import ExportReader, ExportWriter, answers_to_bytes, read_answers
from agent.contract.featurespec import FeatureSpec
from agent.contract.keys import SealingKey, SealTo, SigningKey, TlsKey
from agent.contract.messages import RepoData, RepoGet, Status
from agent.contract.tariff.tariff import Tariff
from agent.contract.trust import Broker, FleetKey, FleetTrust, KeyState, KeyUse
from agent.planning.assess.reading import parse as parse_assessment
from tests.support.bundles import MANIFEST, SPEC, tiny_bytes, zip_stored
from tests.support.nasty import NASTY
from trainer.fleet import brokercontrol
from trainer.fleet.certificates import Authority

ROOT = Path(__file__).resolve().parents[2]
KEY, CENTRE = SigningKey(bytes(range(32))), SealingKey.generate()
KEYS = {KEY.id: KEY.public}
AT_REST = bytes(range(32))
_REQUEST = b"edgewatt/enrol-request/v1\0"
_PIECES = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"9999", b"-1e9", b'"":{', b"null", b"1e400", b"\\ud800", b"[[[[", b"NaN")


class Target(NamedTuple):
    """One parser: `make(noise)` gives a hostile input, `parse` may raise one of `refuses` and nothing else."""

    make: Callable[[random.Random], bytes]
    parse: Callable[[bytes], object]
    behind: bool = False
    refuses: tuple[type[Exception], ...] = (RejectedError,)


def alter(data: bytes, noise: random.Random) -> bytes:
    """Flip, cut, insert or repeat a few bytes."""
    out = bytearray(data)
    for _ in range(noise.choice((1, 1, 1, 2, 4, 16))):
        at = noise.randrange(len(out) or 1)
        match noise.randrange(5):
            case 0:
                out[at : at + 1] = bytes([noise.randrange(256)])
            case 1:
                del out[at : at + noise.randrange(1, 9)]
            case 2:
                out[at:at] = noise.randbytes(noise.randrange(1, 9))
            case 3:
                out[at : at + 4] = noise.choice(_PIECES)
            case _:
                out[at:at] = out[at : at + noise.randrange(64)]
    return bytes(out)


def alter_json(data: bytes, noise: random.Random) -> bytes:
    """Put something unlikely in the place of a part of a JSON value; now and then alter its bytes instead."""
    if noise.random() < 0.3:
        return alter(data, noise)
    value = json.loads(data)
    for _ in range(noise.choice((1, 1, 2, 3))):
        place, parent, key = value, None, None
        while isinstance(place, dict | list) and place and (parent is None or noise.random() < 0.8):
            parent = place
            key = noise.choice(list(place)) if isinstance(place, dict) else noise.randrange(len(place))
            place = place[key]
        if parent is None:
            break
        match noise.randrange(5):
            case 0:
                del parent[key]
            case 1 if isinstance(parent, list):
                parent.insert(key, place)
            case 2 if isinstance(place, int):
                parent[key] = noise.choice((place + 1, place - 1, -place, place * 2**20, 2**53, place % 10**15 + 0.5))
            case _:
                parent[key] = copy.deepcopy(noise.choice(NASTY))  # it may be altered itself
    return json.dumps(value).encode()


def _message(kind: str, data: bytes) -> Callable[[random.Random], bytes]:
    """A signed message whose body was altered before it was signed."""
    body = data[16:-64]

    def make(noise: random.Random) -> bytes:
        text = alter_json(body, noise)
        message = b"EWS1" + bytes.fromhex(KEY.id) + struct.pack(">I", len(text)) + text
        return message + KEY.sign(f"edgewatt/{kind}/v1".encode() + b"\0" + message)

    return make


def _armoured(text: str) -> Callable[[random.Random], bytes]:
    """PEM of which the bytes within were altered, so that they are no mere bad base64."""
    first, *body, last = text.strip().splitlines()
    der = base64.b64decode("".join(body))
    return lambda noise: b"\n".join((first.encode(), base64.encodebytes(alter(der, noise)).strip(), last.encode(), b""))


def _raw(data: bytes) -> Callable[[random.Random], bytes]:
    return lambda noise: alter(data, noise)


def _of_json(data: bytes) -> Callable[[random.Random], bytes]:
    return lambda noise: alter_json(data, noise)


def _open_block(data: bytes) -> None:
    opened = Block.from_bytes(data)
    (blocks.decode_readings if opened.header.stream == "readings" else blocks.decode_rows)(opened)


def _open_at_rest(data: bytes) -> None:
    _open_block(blocks.unseal_block(data, AT_REST).to_bytes())


def _open_sealed(data: bytes) -> None:
    envelope.open_envelope(data, device="d", signer_public=lambda _: KEY.public, recipient_key=lambda _: CENTRE)


def _rebody(block: Block, noise: random.Random) -> Block:
    """Reaches the column decoder: alters what zlib unpacks to, not the compressed bytes."""
    return Block(block.header, zlib.compress(alter(zlib.decompress(block.body), noise), 1))


def _reheader(block: Block, noise: random.Random) -> bytes:
    header = alter_json(block.header.to_bytes(), noise)[:65_535]
    return b"EWK1" + struct.pack(">H", len(header)) + header + struct.pack(">I", len(block.body)) + block.body


def _in_envelope(plain: bytes, header: bytes) -> bytes:
    context = b"edgewatt/batch/v1\0"
    inner = SealTo(CENTRE.public).seal(plain, context + header)
    message = b"EWB1" + struct.pack(">H", len(header)) + header + struct.pack(">I", len(inner)) + inner
    return message + KEY.sign(context + message)


def _rebundle(noise: random.Random) -> bytes:
    """A bundle of which a member was altered and is named by its new length and hash."""
    with zipfile.ZipFile(io.BytesIO(tiny_bytes())) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = noise.choice(list(files))
    if name == MANIFEST:
        return zip_stored({**files, MANIFEST: alter_json(files[MANIFEST], noise)})
    files[name] = (alter_json if name.endswith(".json") else alter)(files[name], noise)
    manifest = json.loads(files[MANIFEST])
    manifest["files"][name] = {"length": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
    return zip_stored({**files, MANIFEST: json.dumps(manifest).encode()})


@functools.cache
def targets() -> dict[str, Target]:
    """Every target by name."""
    marks = tuple(Mark(n, "readings", 99, ((2, 3), (7, 9)), ((5, 6),)) for n in range(1, 5))
    ack = Acknowledgement("d", "c", 1, 5, "0" * 16, marks).to_bytes(KEY)
    assign = Assignment("d", 1, 5, 6, 1, (Item(ItemKind.MODEL, "models/a-1.ewb", 5, "0" * 64),)).to_bytes(KEY)
    channels = {"a": Channel("a", "kW", 1), "b": Channel("b", "V", 1)}
    readings = [Reading("ab"[n % 2], 10_000 + n, n / 10) for n in range(200)]
    block = blocks.encode_readings(readings, channels, epoch=1, boot=1, first=1)
    rows = blocks.encode_rows("events", [{"time_ms": n, "kind": "x"} for n in range(9)], epoch=1, boot=1, first=1)
    trust = FleetTrust("f", (FleetKey(KeyUse.SEAL, CENTRE.public, 0, KeyState.ACTIVE),))
    enrolment = Enrolment("d", "t" * 32, 5, Broker("h", 1883, "", 8884, "b.example"), trust, "{}")
    request = seal_request(enrolment, KEY, created_ms=5)
    response = EnrolmentResponse("d", KEY.id, True, "", 5, "chain").to_bytes(KEY)
    with tempfile.TemporaryDirectory() as folder:
        authority, tls = Authority.create(Path(folder) / "authority", "f", 5), TlsKey.generate()
    csr = certificate_request(tls, "d")
    answers = {"responses": [{"command": "deleteRole", "correlationData": "m", "error": "Role not found"}] * 3}
    sealed = envelope.seal([block], device="d", signing_key=KEY, recipient=SealTo(CENTRE.public), created_ms=5)
    head = envelope.EnvelopeHeader("d", KEY.id, CENTRE.id, 5, envelope.ranges_of([block]), ("c", 1)).to_bytes()
    asked = jsonform.dumps({"operation": "status", "arguments": {"since_ms": 5}})
    example = (ROOT / "firmware-configs" / "agent.toml").read_bytes()
    assessment = (ROOT / "firmware-configs" / "assess" / "gas-plant.toml").read_bytes()
    tariff = (ROOT / "firmware-configs" / "tariffs" / "cn-hubei-two-part.toml").read_bytes()
    curve = b"timestamp,load\n" + b"".join(b"2014-01-0%dT%02d:00,%d.5\n" % (n // 24 + 1, n % 24, n) for n in range(72))

    def framed(data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + data

    def request_again(noise: random.Random) -> bytes:
        body = {"device": "d", "token": "t", "public": KEY.public.hex(), "created_ms": 5, "csr": csr}
        inner = SealTo(CENTRE.public).seal(alter_json(jsonform.dumps(body), noise)[:6000], _REQUEST)
        message = b"EWR1" + bytes.fromhex(CENTRE.id) + framed(inner)
        return message + KEY.sign(_REQUEST + message)

    def read_ack(data: bytes) -> None:
        for mark in Acknowledgement.from_bytes(data, KEYS, device="d").marks:
            assert all(mark.covers(*span) for span in mark.safe())

    export = io.BytesIO()
    writer = ExportWriter(export)
    writer.add(sealed)
    writer.finish("d", KEY)

    def read_export(data: bytes) -> None:
        reader = ExportReader(io.BytesIO(data))
        for inner in reader:
            envelope.peek(inner)
        reader.check(KEYS, "d")

    def read_text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
        return lambda data: parse(data.decode("utf-8", "replace"))

    refused, misconfigured = (RejectedError,), (ConfigError,)
    return {
        "ack": Target(_raw(ack), read_ack),
        "ack_signed": Target(_message(ACK, ack), read_ack, behind=True),
        "assessment": Target(
            _raw(assessment),
            read_text(lambda text: parse_assessment(text, folder=ROOT / "firmware-configs" / "assess")),
            refuses=misconfigured,
        ),
        "assign": Target(_raw(assign), lambda data: Assignment.from_bytes(data, KEYS, device="d")),
        "assign_signed": Target(
            _message(ASSIGN, assign), lambda data: Assignment.from_bytes(data, KEYS, device="d"), behind=True
        ),
        "block": Target(_raw(block.to_bytes()), _open_block),
        "block_header": Target(lambda noise: _reheader(block, noise), _open_block, behind=True),
        "block_body": Target(lambda noise: _rebody(block, noise).to_bytes(), _open_block, behind=True),
        "block_rows_body": Target(lambda noise: _rebody(rows, noise).to_bytes(), _open_block, behind=True),
        "at_rest": Target(_raw(blocks.seal_block(block, AT_REST)), _open_at_rest),
        "at_rest_sealed": Target(
            lambda noise: blocks.seal_block(_rebody(block, noise), AT_REST), _open_at_rest, behind=True
        ),
        "bundle": Target(_raw(tiny_bytes()), Bundle.from_bytes),
        "bundle_hashed": Target(_rebundle, Bundle.from_bytes, behind=True),
        "broker_answers": Target(
            _of_json(jsonform.dumps(answers)), lambda data: brokercontrol.judge(data, "m"), refuses=misconfigured
        ),
        "certificate": Target(
            _armoured(authority.issue(csr, "d", 5).pem), read_text(lambda text: check_certificate(text, tls, "d"))
        ),
        "certificate_request": Target(_armoured(csr), read_text(lambda text: authority.issue(text, "d", 5))),
        "config": Target(_raw(example), read_text(lambda text: config.parse(text, folder=ROOT)), refuses=misconfigured),
        "control": Target(_of_json(asked), control._parse, refuses=refused),
        "csv": Target(
            _raw(curve),
            lambda data: loadcsv.parse_load_csv(data, where="f", zone="Europe/Berlin"),
            refuses=misconfigured,
        ),
        "enrolment": Target(_of_json(enrolment.to_bytes()), Enrolment.from_bytes),
        "enrol_request": Target(_raw(request), lambda data: open_request(data, {CENTRE.id: CENTRE})),
        "enrol_request_sealed": Target(
            request_again, lambda data: open_request(data, {CENTRE.id: CENTRE}), behind=True
        ),
        "enrol_response": Target(
            _message("enrol-response", response),
            lambda data: EnrolmentResponse.from_bytes(data, KEYS, device="d", key=KEY.id),
            behind=True,
        ),
        "envelope": Target(_raw(sealed), _open_sealed),
        "envelope_blocks": Target(
            lambda noise: _in_envelope(alter(framed(block.to_bytes()), noise), head), _open_sealed, behind=True
        ),
        "envelope_header": Target(
            lambda noise: _in_envelope(framed(block.to_bytes()), alter_json(head, noise)[:65_535]),
            _open_sealed,
            behind=True,
        ),
        "export": Target(_raw(export.getvalue()), read_export),
        "export_answers": Target(_raw(answers_to_bytes([ack, ack])), lambda data: list(read_answers(io.BytesIO(data)))),
        "feature_spec": Target(
            _of_json(jsonform.dumps(SPEC.to_json())),
            lambda data: FeatureSpec.from_json(jsonform.loads(data, where="spec", max_bytes=2**20)),
        ),
        "renewal_request": Target(
            _message("cert-request", renewal.sign_request("d", csr, KEY)),
            lambda data: renewal.verify_request(data, KEYS, device="d"),
            behind=True,
        ),
        "renewal_response": Target(
            _message("cert-response", renewal.sign_response("d", "chain", KEY)),
            lambda data: renewal.verify_response(data, KEYS, device="d"),
            behind=True,
        ),
        "repo_data": Target(_raw(RepoData("ab", "ok", 5, 0, b"hello").to_bytes()), RepoData.from_bytes),
        "repo_get": Target(_of_json(RepoGet("ab", "metadata/1.root.json", 0, 5).to_bytes()), RepoGet.from_bytes),
        "signed": Target(_raw(ack), lambda data: signed.verify(ACK, data, KEYS)),
        "status": Target(_of_json(Status("online", 5, "0.1", 1).to_bytes()), Status.from_bytes),
        "tariff": Target(_raw(tariff), read_text(Tariff.from_toml), refuses=misconfigured),
        "trust": Target(
            _of_json(jsonform.dumps(trust.to_json())),
            lambda data: FleetTrust.from_json(jsonform.loads(data, where="trust", max_bytes=2**20)),
        ),
    }
