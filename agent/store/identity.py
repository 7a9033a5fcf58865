"""Who this device is and what must never go back: keys, boot and epoch counters, floors, enrolment.

Kept apart from the store, so that neither salvage nor a new store can reset it. Every file is replaced durably as a
whole; one process at a time writes here (the daemon; `edgewatt enroll` while that is down).

Files: `counters.json` {boot, epoch, floors}, `storage.key` (32 bytes, 0600; only the daemon makes it, since it sees if
the system gives it one), `enrolment.json` (0600: whom the device trusts, its signing key, its TLS key and certificate),
each with a copy beside it, `<name>.copy`, that is written after it; `pending.key`, `pending-tls.pem` (0600: keys that
wait for the centre's answer); `ends` (how far the store's streams went). What a file looks like is decided in `kept/`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from agent.contract.errors import StorageError
from agent.contract.keys import SigningKey, TlsKey
from agent.contract.trust import FleetTrust
from agent.store.kept import counters, enrolled, pending, storagekey, twofold
from agent.store.kept.counters import Counters
from agent.store.kept.enrolled import ClientTls, Enrolled
from agent.store.kept.folder import Folder
from agent.store.kept.storagekey import CREDENTIAL, KEY_BYTES, StorageKey

if TYPE_CHECKING:
    from agent.contract.enrolment import Enrolment

__all__ = ["CLOCK_FLOOR", "CREDENTIAL", "KEY_BYTES", "ClientTls", "Enrolled", "Identity"]

CLOCK_FLOOR = "clock"  # the least that the real time can be: when the centre last signed something for this device
_ENDS = "ends"
_ENROL = "Run edgewatt enroll FILE with a new file of the centre"


class Identity:
    """The device's keys and counters, read once and written through.

    Invariants: `boot`, `epoch` and every floor only rise; the storage key never changes; a value returned by a method
    here is on disk, or `settle` has still to bring it there.

    Attributes:
        mended: what was damaged or missing and came from a copy, or was begun anew, in words.
        trouble: why the device does not speak with its centre although it was enrolled; empty where all is well.
    """

    def __init__(self, folder: Path, randbelow: Callable[[int], int] = secrets.randbelow) -> None:
        """Begin with nothing; `open`, `open_without_key` and `read` look into the folder."""
        self._folder, self._randbelow = Folder(folder), randbelow
        self._counters = Counters()
        self._enrolled: tuple[Enrolled, SigningKey] | None = None
        self._key: StorageKey | None = None
        self.mended = self._folder.mended
        self.trouble = ""

    @classmethod
    def open(
        cls, folder: Path, *, credentials: Path | None = None, randbelow: Callable[[int], int] = secrets.randbelow
    ) -> Self:
        """Open it as the daemon does: what is missing is made, with a new storage key where there never was one.

        What cannot be written because the disk is full, read-only or failing waits for `settle`.

        Args:
            folder: of the identity; it is made with mode 0700.
            credentials: where the system gives this service its secrets; a storage key there is kept in no file.
            randbelow: uniform whole numbers below its argument, for epochs.

        Raises:
            StorageError: when it cannot be read, this user may not write it, or the key is gone or damaged while the
                rest is there.
        """
        identity = cls(folder, randbelow)
        identity._look()
        identity._find_key(credentials)
        identity._folder.try_to_settle()
        return identity

    @classmethod
    def open_without_key(cls, folder: Path) -> Self:
        """Open it to enrol: the storage key is neither read nor made, since only the service sees a credential.

        Raises:
            StorageError: when it cannot be read or written.
        """
        identity = cls(folder)
        identity._look()
        identity.settle()
        return identity

    @classmethod
    def read(cls, folder: Path, *, credentials: Path | None = None) -> Self:
        """Open it to look into a store that is there: nothing is made or mended.

        Raises:
            StorageError: when it is not there, its key is gone or damaged, or this user may not read it.
        """
        if twofold.find(folder / counters.NAME, Counters.from_bytes) is None:
            raise twofold.lost(folder / counters.NAME)
        identity = cls(folder)
        identity._look()
        identity._key = storagekey.find(folder, credentials)
        if identity._key is None:
            raise storagekey.lost(folder)
        return identity

    @property
    def storage_key(self) -> bytes:
        """32 bytes, under which the store is sealed.

        Raises:
            StorageError: when this was opened without it.
        """
        if self._key is None:
            raise storagekey.lost(self._folder.path)
        return self._key.value

    @property
    def key_source(self) -> str:
        """`file`, or `credential` where the system keeps the key (systemd, with a TPM where there is one)."""
        return self._key.source if self._key else "none"

    @property
    def boot(self) -> int:
        """Number of this start of the agent, from 1; 0 before the first."""
        return self._counters.boot

    @property
    def epoch(self) -> int:
        """Number under which this start, or this birth of the store, gives out sequence numbers; 0 before the first."""
        return self._counters.epoch

    @property
    def signing_key(self) -> SigningKey | None:
        """The key that signs envelopes; None until enrolled, and where floors were lost."""
        return self._enrolled[1] if self._enrolled and not self._counters.lost else None

    @property
    def enrolment(self) -> Enrolled | None:
        """Device id, broker and trust; None until enrolled, and where floors were lost."""
        return self._enrolled[0] if self._enrolled and not self._counters.lost else None

    def begin_boot(self) -> int:
        """Count one start of the agent, begin an epoch for it, and return its number.

        Only the daemon calls this, so that nobody else is writing here now: leftovers of a write that a power cut
        interrupted are removed too. Where the disk is full, read-only or failing, `settle` has still to write it.

        Raises:
            StorageError: when this user may not write it.
        """
        self._folder.remove_leftovers()
        self._counters = replace(self._counters, boot=self.boot + 1, epoch=self._next_epoch(0))
        self._folder.owe_twice(counters.NAME, self._counters.to_bytes())
        self._folder.try_to_settle()
        return self.boot

    def settle(self) -> None:
        """Write what is not on disk yet. Nothing of the present epoch may be on disk before this has succeeded.

        Raises:
            StorageError: when it cannot be written; to be called again then.
        """
        self._folder.settle()

    def new_epoch(self, above: int = 0) -> int:
        """Begin an epoch beyond the present one and beyond `above`, and return it.

        By how much is drawn: a device whose image was restored, and which counts from there again, uses no epoch that
        it used before.

        Raises:
            StorageError: when it cannot be written; the epoch is then unchanged.
        """
        self._count(replace(self._counters, epoch=self._next_epoch(above)))
        return self.epoch

    def floor(self, name: str) -> int:
        """Return the least value that is accepted under `name`; 0 where none was set."""
        return self._counters.floors.get(name, 0)

    def floors(self) -> dict[str, int]:
        """Return every floor that was set, by name."""
        return dict(self._counters.floors)

    def raise_floor(self, name: str, value: int) -> None:
        """Set a floor; one that is already as high stays. Its copy follows with the next start.

        Raises:
            StorageError: when it cannot be written; the floor is then unchanged.
        """
        if value > self.floor(name):
            self._count(replace(self._counters, floors={**self._counters.floors, name: value}))

    def ends(self) -> bytes:
        """Return what `note_ends` kept; empty where that is nothing or cannot be read."""
        with contextlib.suppress(StorageError):
            return twofold.read(self._folder.path / _ENDS) or b""
        return b""

    def note_ends(self, data: bytes) -> None:
        """Keep how far the store's streams went, sealed by the store.

        Raises:
            StorageError: when it cannot be written.
        """
        self._folder.put(_ENDS, data)

    def key_for_enrolment(self) -> SigningKey:
        """Return the signing key for a request, the same one until `enrol`: an offline answer may take days.

        Raises:
            StorageError: when a new one cannot be written.
        """
        return pending.signing_key(self._folder)

    def tls_key_for_enrolment(self) -> TlsKey:
        """Return the TLS key for a request, likewise the same one until `enrol`.

        Raises:
            StorageError: when a new one cannot be written.
        """
        return pending.tls_key(self._folder)

    def enrol(self, enrolment: Enrolment, key: SigningKey, tls: ClientTls | None = None) -> None:
        """Keep what the centre has accepted. The token is not kept.

        Raises:
            StorageError: when it cannot be written; an older enrolment is then whole.
        """
        self._keep(
            Enrolled(enrolment.device, enrolment.broker, enrolment.trust, enrolment.tuf_root.encode(), tls),
            key,
        )
        if self._counters.lost:  # the centre has just signed something for this device
            self._count(replace(self._counters, lost=False))
        self.trouble = ""
        self._folder.remove(*pending.NAMES)

    def set_trust(self, trust: FleetTrust) -> None:
        """Replace the centre's keys by a verified newer set.

        Raises:
            StorageError: when the device is not enrolled, or it cannot be written.
        """
        present, key = self._required()
        self._keep(replace(present, trust=trust), key)

    def set_certificate(self, tls: ClientTls) -> None:
        """Replace the client certificate by a newer one.

        Raises:
            StorageError: when the device is not enrolled, or it cannot be written.
        """
        present, key = self._required()
        self._keep(replace(present, tls=tls), key)

    def _look(self) -> None:
        """Read counters and enrolment; what is to mend is owed."""
        folder = self._folder
        folder.close_to_others()
        found = folder.find(enrolled.NAME, enrolled.from_bytes)
        if found is not None and found.data is None:
            self.trouble = f"{folder.path / enrolled.NAME} {found.wrong}, its copy too. {_ENROL}"
        elif found is not None and found.data is not None:
            self._enrolled = enrolled.from_bytes(found.data)
        counted = folder.find(counters.NAME, Counters.from_bytes)
        if counted is not None and counted.data is not None:
            self._counters = Counters.from_bytes(counted.data)
        else:
            if counted is not None or found is not None or (folder.path / storagekey.NAME).exists():
                self._counters = Counters.anew(self._randbelow)
                self.mended.append(f"{counters.NAME} and its copy are lost: boot and epoch are drawn anew")
            # Before the key, so that a key without counters always means that they were lost.
            folder.owe(counters.NAME, self._counters.to_bytes())
        if self._enrolled and self._counters.lost:
            what = f"{folder.path / counters.NAME} was lost, and with it what the centre said last"
            self.trouble = f"{what}: nothing is sent or taken in. {_ENROL}"

    def _find_key(self, credentials: Path | None) -> None:
        folder, name = self._folder, storagekey.NAME
        key = storagekey.find(folder.path, credentials)
        if key is None:
            if self.epoch or self._counters.lost:
                raise storagekey.lost(folder.path)
            key = StorageKey(secrets.token_bytes(KEY_BYTES), "file", copied=False)
            folder.owe(name, key.value)
        if key.wrong:
            self.mended.append(f"{name} {key.wrong}; its copy is used")
            folder.owe(name, key.value)
        if not key.copied and key.source == "file":
            folder.owe(twofold.copy_name(name), storagekey.to_copy(key.value))
        elif not key.copied:
            with contextlib.suppress(OSError):  # the system keeps it now
                folder.remove(twofold.copy_name(name))
        self._key = key

    def _required(self) -> tuple[Enrolled, SigningKey]:
        if self._enrolled is None:
            raise StorageError("is not enrolled", where=str(self._folder.path), todo="Run edgewatt enroll FILE")
        return self._enrolled

    def _keep(self, present: Enrolled, key: SigningKey) -> None:
        data = enrolled.to_bytes(present, key)
        self._folder.put(enrolled.NAME, data)
        self._enrolled = (present, key)
        self._folder.owe(twofold.copy_name(enrolled.NAME), data)
        self._folder.settle()

    def _next_epoch(self, above: int) -> int:
        return max(self.epoch, above) + 1 + self._randbelow(counters.STRIDE)

    def _count(self, changed: Counters) -> None:
        self._folder.put(counters.NAME, changed.to_bytes())
        self._counters = changed

    def __repr__(self) -> str:
        return f"Identity({os.fspath(self._folder.path)!r}, boot={self.boot}, epoch={self.epoch})"
