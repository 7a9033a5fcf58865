"""Assignments: which targets of the update repository one device shall run, signed by the fleet's on-line key.

Repository and assignment must agree: an assignment without matching repository metadata installs nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from agent.contract import signed
from agent.contract.jsonform import Fields
from agent.contract.keys import SigningKey
from agent.contract.topics import DEVICE_ID

KIND = "assign"
MAX_ITEMS = 16
MAX_TARGET_BYTES = 64 * 2**20
TARGET_PATH = r"[a-z0-9][a-z0-9._-]{0,63}(/[a-z0-9][a-z0-9._-]{0,63}){0,3}"


class ItemKind(enum.StrEnum):
    """What a target changes on the device."""

    MODEL = "model"
    TARIFF = "tariff"
    CONFIG = "config"
    TRUST = "trust"


@dataclass(frozen=True, slots=True)
class Item:
    """One target, named so that its bytes are fixed."""

    kind: ItemKind
    path: str
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one device shall run from now on.

    Attributes:
        counter: rises with every assignment of the device; an older one is a replay.
        min_snapshot_version: repository snapshots older than this may not be used.
        allow_downgrade: whether a model version below the active one may be installed.
    """

    device: str
    counter: int
    issued_at_ms: int
    expires_at_ms: int
    min_snapshot_version: int
    items: tuple[Item, ...]
    allow_downgrade: bool = False

    def item(self, kind: ItemKind) -> Item | None:
        """Return the item of one kind, where there is one."""
        return next((item for item in self.items if item.kind is kind), None)

    def to_bytes(self, key: SigningKey) -> bytes:
        """Sign."""
        body = {
            "allow_downgrade": self.allow_downgrade,
            "counter": self.counter,
            "device": self.device,
            "expires_at_ms": self.expires_at_ms,
            "issued_at_ms": self.issued_at_ms,
            "items": [
                {"kind": str(item.kind), "path": item.path, "length": item.length, "sha256": item.sha256}
                for item in self.items
            ],
            "min_snapshot_version": self.min_snapshot_version,
        }
        return signed.sign(KIND, body, key)

    @classmethod
    def from_bytes(cls, data: bytes, keys: Mapping[str, bytes], *, device: str) -> Assignment:
        """Verify and parse. Counter and expiry are judged by the caller, who knows the floor and the clock.

        Raises:
            RejectedError: when altered, signed by an unknown key, malformed, for another device, or with two items of
                one kind.
        """
        fields = Fields(signed.verify(KIND, data, keys), KIND)
        if fields.text("device", pattern=DEVICE_ID) != device:
            fields.fail("device", f"is not {device}")
        items = tuple(_item(child) for child in fields.children("items", MAX_ITEMS))
        if len({item.kind for item in items}) != len(items):
            fields.fail("items", "names one kind twice")
        return cls(
            device=device,
            counter=fields.integer("counter", 1),
            issued_at_ms=fields.instant("issued_at_ms"),
            expires_at_ms=fields.instant("expires_at_ms"),
            min_snapshot_version=fields.integer("min_snapshot_version"),
            items=items,
            allow_downgrade=fields.flag("allow_downgrade"),
        )


def _item(fields: Fields) -> Item:
    kind = fields.text("kind", max_length=16)
    if kind not in set(ItemKind):
        fields.fail("kind", f"{kind!r} is not one of {', '.join(ItemKind)}")
    return Item(
        kind=ItemKind(kind),
        path=fields.text("path", pattern=TARGET_PATH),
        length=fields.integer("length", 1, MAX_TARGET_BYTES),
        sha256=fields.hexbytes("sha256", 32).hex(),
    )
