"""Exports that were carried to the centre: each envelope goes the way of those from the network.

Decides only what goes back: of all acknowledgements the latest ones that name each stream and epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from agent.contract import envelope
from agent.contract.acknowledgement import Acknowledgement
from agent.contract.errors import RejectedError
from agent.contract.export import ExportReader
from agent.contract.topics import ENVELOPE_STREAM, DeviceTopics
from agent.contract.trust import KeyUse
from trainer.fleet.ingest import Ingest
from trainer.fleet.keys import OnlineKeys
from trainer.fleet.registry import Registry

_REMARK_EVERY = 100


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of an export.

    Attributes:
        envelopes: that were read; `refused` of them were not stored, the log and the list of rejections say why.
        answers: acknowledgements for the device, in the order in which they were signed.
        problem: why the export is not whole and genuine; empty when it is.
    """

    device: str
    envelopes: int
    refused: int
    answers: list[bytes]
    problem: str


def take_in(
    file: BinaryIO, ingest: Ingest, registry: Registry, keys: OnlineKeys, *, progress: Callable[[str], None]
) -> Carried:
    """Store what an export holds.

    Raises:
        RejectedError: when it holds no envelope.
        StorageError: when the database fails; the same file may be taken in again.
    """
    reader = ExportReader(file)
    device, signer, refused, problem = "", "", 0, ""
    newest: dict[tuple[int, str], int] = {}  # the answer that names a stream and epoch last
    answers: list[bytes] = []
    try:
        for sealed in reader:
            header = envelope.peek(sealed)
            device, signer = header.device, header.signer
            found = [answer.payload for answer in ingest.handle(DeviceTopics(device).up(ENVELOPE_STREAM), sealed)]
            refused += not found
            for payload in found:
                ack = Acknowledgement.from_bytes(payload, keys.trust.verifiers(KeyUse.ACK), device=device)
                newest |= {(mark.epoch, mark.stream): len(answers) for mark in ack.marks}
                answers.append(payload)
            if reader.envelopes % _REMARK_EVERY == 0:
                progress(f"{reader.envelopes} envelopes taken in")
        if device:
            reader.check({signer: registry.public_key(device, signer)}, device)
    except RejectedError as exc:
        problem = str(exc)
    if not device:
        raise RejectedError(problem or "holds nothing", where="export")
    kept = [answers[place] for place in sorted(set(newest.values()))]
    return Carried(device, reader.envelopes, refused, kept, problem)
