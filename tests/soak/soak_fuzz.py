"""Hostile bytes into every parser of outside bytes: altered at random, half of them then validly signed or sealed again.

A parser may return a value or raise RejectedError; anything else is a crash.
"""

import random
import struct
import time
import traceback
import zlib

from agent.contract import blocks, envelope, signed
from agent.contract.acknowledgement import KIND as ACK
from agent.contract.acknowledgement import Acknowledgement, Mark
from agent.contract.assignment import KIND as ASSIGN
from agent.contract.assignment import Assignment, Item, ItemKind
from agent.contract.blocks import Block
from agent.contract.bundle import Bundle
from agent.contract.channels import Channel, Reading
from agent.contract.errors import RejectedError
from agent.contract.keys import SealingKey, SealTo, SigningKey
from agent.contract.messages import RepoData, RepoGet, Status
from agent.contract.trust import Broker, Enrolment, FleetKey, FleetTrust, KeyState, KeyUse
from tests.support.bundles import tiny_bytes

INPUTS, LIMIT_S = 200_000, 600.0
KEY, CENTRE = SigningKey(bytes(range(32))), SealingKey.generate()
KEYS = {KEY.id: KEY.public}


def alter(data, noise):
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
                out[at : at + 4] = noise.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"9999", b"-1e9", b'"":{', b"null"))
            case _:
                out[at:at] = out[at : at + noise.randrange(64)]
    return bytes(out)


def resigned(kind, body, noise):
    """A signed message whose body was altered before it was signed."""
    text = alter(body, noise)
    message = b"EWS1" + bytes.fromhex(KEY.id) + struct.pack(">I", len(text)) + text
    return message + KEY.sign(f"edgewatt/{kind}/v1".encode() + b"\0" + message)


def targets():
    """Name -> (valid bytes, how to make a hostile input of them, parser)."""
    ack = Acknowledgement("d", "c", 1, 5, "0" * 16, (Mark(1, "readings", 9, ((2, 3),), ((5, 6),)),)).to_bytes(KEY)
    item = Item(ItemKind.MODEL, "models/a-1.ewb", 5, "0" * 64)
    assign = Assignment("d", 1, 5, 6, 1, (item,)).to_bytes(KEY)
    channels = {"a": Channel("a", "kW", 1), "b": Channel("b", "V", 1)}
    readings = [Reading("ab"[n % 2], 10_000 + n, n / 10) for n in range(200)]
    block = blocks.encode_readings(readings, channels, epoch=1, boot=1, first=1)
    rows = blocks.encode_rows("events", [{"time_ms": n, "kind": "x"} for n in range(9)], epoch=1, boot=1, first=1)
    trust = FleetTrust("f", (FleetKey(KeyUse.SEAL, CENTRE.public, 0, KeyState.ACTIVE),))
    enrolment = Enrolment("d", "t" * 32, 5, Broker("h", 1883), trust, "{}").to_bytes()
    sealed = envelope.seal([block], device="d", signing_key=KEY, recipient=SealTo(CENTRE.public), created_ms=5)
    body = slice(16, -64)

    def open_block(data):
        opened = Block.from_bytes(data)
        (blocks.decode_readings if opened.header.stream == "readings" else blocks.decode_rows)(opened)

    def rebody(data, noise):
        # Reaches the column decoder: alters what zlib unpacks to, not the compressed bytes.
        opened = Block.from_bytes(data)
        return Block(opened.header, zlib.compress(alter(zlib.decompress(opened.body), noise))).to_bytes()

    def open_sealed(data):
        envelope.open_envelope(data, device="d", signer_public=lambda _: KEY.public, recipient_key=lambda _: CENTRE)

    def reseal(_, noise):
        header = envelope.EnvelopeHeader("d", KEY.id, CENTRE.id, 5, envelope.ranges_of([block])).to_bytes()
        plain = block.to_bytes()
        inner = SealTo(CENTRE.public).seal(
            alter(struct.pack(">I", len(plain)) + plain, noise), b"edgewatt/batch/v1\0" + header
        )
        message = b"EWB1" + struct.pack(">H", len(header)) + header + struct.pack(">I", len(inner)) + inner
        return message + KEY.sign(b"edgewatt/batch/v1\0" + message)

    return {
        "ack": (ack, alter, lambda data: Acknowledgement.from_bytes(data, KEYS, device="d")),
        "ack_signed": (
            ack,
            lambda d, n: resigned(ACK, d[body], n),
            lambda data: Acknowledgement.from_bytes(data, KEYS, device="d"),
        ),
        "assign_signed": (
            assign,
            lambda d, n: resigned(ASSIGN, d[body], n),
            lambda data: Assignment.from_bytes(data, KEYS, device="d"),
        ),
        "block": (block.to_bytes(), alter, open_block),
        "block_body": (block.to_bytes(), rebody, open_block),
        "block_rows_body": (rows.to_bytes(), rebody, open_block),
        "bundle": (tiny_bytes(), alter, Bundle.from_bytes),
        "enrolment": (enrolment, alter, Enrolment.from_bytes),
        "envelope": (sealed, alter, open_sealed),
        "envelope_signed": (sealed, reseal, open_sealed),
        "repo_data": (RepoData("ab", "ok", 5, 0, b"hello").to_bytes(), alter, RepoData.from_bytes),
        "repo_get": (RepoGet("ab", "metadata/1.root.json", 0, 5).to_bytes(), alter, RepoGet.from_bytes),
        "signed": (ack, alter, lambda data: signed.verify(ACK, data, KEYS)),
        "status": (Status("online", 5, "0.1", 1).to_bytes(), alter, Status.from_bytes),
    }


def run():
    """Spread `INPUTS` over all targets, at most `LIMIT_S` seconds."""
    noise, begin = random.Random(20261122), time.monotonic()
    done, rejected, crashes = 0, 0, []
    table = list(targets().items())
    while done < INPUTS and time.monotonic() - begin < LIMIT_S:
        name, (valid, hostile, parse) = table[done % len(table)]
        data = hostile(valid, noise)
        try:
            parse(data)
        except RejectedError:
            rejected += 1
        except Exception:  # noqa: BLE001 - any other exception is what this looks for
            crashes.append({"target": name, "input": data[:4096].hex(), "error": traceback.format_exc(limit=-3)})
        done += 1
    return {
        "fuzz_inputs": done,
        "rejected": rejected,
        "targets": len(table),
        "crashes": len(crashes),
        "first_crashes": crashes[:5],
    }
