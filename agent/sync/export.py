"""What waits for the centre, sealed into a file that is carried there: for plants without a network.

Decides how blocks are put into envelopes; nothing leaves the store by an export, only by its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import BinaryIO

from agent.contract import envelope
from agent.contract.blocks import Block
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.export import ExportWriter
from agent.contract.keys import SigningKey
from agent.contract.trust import FleetTrust

ENVELOPE_BYTES = 1 << 20
_BATCH = 64  # blocks looked at for one envelope


def write_export(
    blocks: Iterable[Block],
    file: BinaryIO,
    *,
    device: str,
    signing_key: SigningKey,
    trust: FleetTrust,
    now_ms: int,
    seen: tuple[str, int] | None,
    progress: Callable[[int], None] = lambda _: None,
    left_out: Callable[[str], None] = lambda _: None,
) -> ExportWriter:
    """Seal blocks into an export and return what was written.

    Args:
        blocks: what waits, in the order in which the centre is to have it.
        file: open for binary writing.
        device: id of this device.
        signing_key: the device's.
        trust: the centre's keys.
        now_ms: real time.
        seen: the last acknowledgement taken.
        progress: called with the bytes written so far.
        left_out: called with the reason for each block that cannot be sealed.

    Raises:
        RejectedError: when the trust has no key to seal to.
        ConfigError: when there is more than an export holds.
    """
    recipient = trust.recipient()
    writer = ExportWriter(file)
    waiting: list[Block] = []

    def send(*, all_of_them: bool) -> None:
        while waiting and (all_of_them or len(waiting) >= _BATCH):
            count = max(1, _fitting(waiting))
            batch = waiting[:count]
            del waiting[:count]
            try:
                sealed = envelope.seal(
                    batch,
                    device=device,
                    signing_key=signing_key,
                    recipient=recipient,
                    created_ms=now_ms,
                    seen=seen,
                    trust=trust.name,
                )
            except (ConfigError, RejectedError) as exc:  # one block alone: `_fitting` has seen that several fit
                left_out(str(exc))
                continue
            writer.add(sealed)
            progress(writer.size)

    for block in blocks:
        waiting.append(block)
        send(all_of_them=False)
    send(all_of_them=True)
    writer.finish(device, signing_key)
    return writer


def _fitting(blocks: list[Block]) -> int:
    try:
        return envelope.take(blocks, max_bytes=ENVELOPE_BYTES)
    except (RejectedError, ConfigError):
        return 1
