"""Journal pieces become blocks: which of them belong together, and how they are joined. No transaction, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agent.contract.blocks import Block, decode_readings, decode_rows, encode_readings, encode_rows
from agent.contract.channels import Channel, Reading
from agent.store.pieces import Piece

READING_ROWS = 60_000
OTHER_ROWS = 100  # of at most 64 KiB each, so that a block stays below the contract's 8 MiB


def most_rows(stream: str) -> int:
    """Return how many rows of a stream go into one block."""
    return READING_ROWS if stream == "readings" else OTHER_ROWS


def runs(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """Group pieces that can be joined: neighbours of one stream, epoch and boot that fit into one block."""
    groups: list[list[Piece]] = []
    total = 0
    for piece in sorted(pieces, key=lambda piece: (piece.stream, piece.epoch, piece.first)):
        before = groups[-1][-1] if groups else None
        fits = (
            before is not None
            and (before.stream, before.epoch, before.boot) == (piece.stream, piece.epoch, piece.boot)
            and piece.first == before.last + 1
            and total + piece.count <= most_rows(piece.stream)
        )
        if fits:
            groups[-1].append(piece)
            total += piece.count
        else:
            groups.append([piece])
            total = piece.count
    return groups


def join(blocks: Sequence[Block]) -> Block:
    """Make one block of neighbours, with the same rows under the same sequence numbers.

    Raises:
        RejectedError: when one of them is malformed.
    """
    header = blocks[0].header
    epoch, first = header.epoch, header.first
    if header.stream != "readings":
        rows = [row for block in blocks for row in decode_rows(block)]
        return encode_rows(header.stream, rows, epoch=epoch, boot=header.boot, first=first)
    channels: dict[str, Channel] = {}
    readings: list[Reading] = []
    for block in blocks:
        known, part = decode_readings(block)
        channels |= known
        readings += part
    return encode_readings(readings, channels, epoch=epoch, boot=header.boot, first=first)


def part(block: Block, first: int, last: int) -> Block:
    """Make a block of some rows of another, under the same numbers.

    Raises:
        RejectedError: when it is malformed.
    """
    head = block.header
    within = slice(first - head.first, last - head.first + 1)
    if head.stream != "readings":
        rows = decode_rows(block)[within]
        return encode_rows(head.stream, rows, epoch=head.epoch, boot=head.boot, first=first)
    channels, readings = decode_readings(block)
    return encode_readings(readings[within], channels, epoch=head.epoch, boot=head.boot, first=first)
