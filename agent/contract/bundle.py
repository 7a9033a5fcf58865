"""Bundles (`.ewb`): a model and all that a device needs to judge and run it, in one file.

A zip without compression and with fixed times, so that the same content gives the same bytes:
`manifest.json` names every other member with length and SHA-256; `model.tflite`; `golden.npz` (inputs and outputs that
the device must reproduce); `model_card.json`; an optional `model_edgetpu.tflite`. A bundle whose int8 student does not
beat seasonal naive on its validation data is refused here, at build and on the device.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agent.contract import jsonform
from agent.contract.errors import RejectedError
from agent.contract.features import Singles
from agent.contract.featurespec import FeatureSpec
from agent.contract.jsonform import Fields

MAX_BYTES = 64 * 2**20
MAX_MODEL_BYTES = 32 * 2**20
MANIFEST, MODEL, GOLDEN, CARD, EDGE_TPU = (
    "manifest.json",
    "model.tflite",
    "golden.npz",
    "model_card.json",
    "model_edgetpu.tflite",
)
_ZIP_ENTRY, _ZIP_END = 30 + 46, 22  # bytes of the archive itself, for each file beside its name twice, and at the end
_KNOWN = (MODEL, GOLDEN, CARD, EDGE_TPU)
MAX_GOLDEN = 64
MAX_TOLERANCE = 2.0  # standardised units; outputs span about eight
_ARRAYS = ("recent", "steps", "raw")
_NPY = b"\x93NUMPY\x01\x00"
_NPY_HEAD = re.compile(
    rb"\{'descr': '<f4', 'fortran_order': False, 'shape': \(([0-9]{1,6}(?:, [0-9]{1,6}){1,2})\), \} *\n"
)
MODEL_NAME = r"[a-z0-9][a-z0-9-]{0,47}"
_SCORES = ("naive", "teacher", "student_float", "student_int8")


@dataclass(frozen=True)
class Golden:
    """Inputs and outputs of the int8 model under its reference runtime.

    Attributes:
        recent: [G, recent_size] float32.
        steps: [G, horizon, F] float32.
        raw: [G, horizon + days, 3] float32, de-quantised model output: slots, then daily peaks.
        tolerance: greatest allowed difference of any output; a few int8 steps, since runtimes round differently.
    """

    recent: Singles
    steps: Singles
    raw: Singles
    tolerance: float


@dataclass(frozen=True)
class Training:
    """Where a model comes from.

    Attributes:
        data_sha256: hash of the training snapshot.
        rows: slots in it.
        config: the training configuration, as run.
        energy_wh: energy of the training run; None where it was not measured.
        co2_g: its emissions; None where the grid's factor is unknown.
    """

    data_sha256: str
    rows: int
    config: Mapping[str, Any]
    energy_wh: float | None = None
    co2_g: float | None = None


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        name, version: of the model; a higher version is newer.
        pinball_kw: mean pinball loss over the quantiles on held-out weeks of `naive`, `teacher`, `student_float` and
            `student_int8`.
        max_latency_ms: a device on which one forecast takes longer refuses the model.
    """

    name: str
    version: int
    created_ms: int
    feature_spec: FeatureSpec
    pinball_kw: Mapping[str, float]
    training: Training
    tolerance: float
    calibration: Mapping[str, Any] = field(default_factory=dict)
    max_latency_ms: float = 1000.0

    def to_json(self, files: Mapping[str, bytes]) -> dict[str, Any]:
        """The content of `manifest.json` for a bundle with these other members."""
        return {
            "schema": 1,
            "name": self.name,
            "version": self.version,
            "created_ms": self.created_ms,
            "feature_spec": self.feature_spec.to_json(),
            "pinball_kw": dict(self.pinball_kw),
            "training": {
                "data_sha256": self.training.data_sha256,
                "rows": self.training.rows,
                "config": dict(self.training.config),
                "energy_wh": self.training.energy_wh,
                "co2_g": self.training.co2_g,
            },
            "tolerance": self.tolerance,
            "calibration": dict(self.calibration),
            "max_latency_ms": self.max_latency_ms,
            "files": {
                name: {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
            },
        }

    @classmethod
    def from_json(cls, value: object) -> Manifest:
        """Parse and validate.

        Raises:
            RejectedError: when malformed, or when the int8 student does not beat naive.
        """
        fields = Fields(value, MANIFEST)
        if fields.integer("schema") != 1:
            fields.fail("schema", "is newer than this version reads: update the agent")
        scores, training = fields.child("pinball_kw"), fields.child("training")
        pinball = {name: scores.number(name, 0) for name in _SCORES}
        if not pinball["student_int8"] < pinball["naive"]:
            fields.fail("pinball_kw", "the int8 student does not beat seasonal naive; the device's own naive is better")
        return cls(
            name=fields.text("name", pattern=MODEL_NAME),
            version=fields.integer("version", 1),
            created_ms=fields.instant("created_ms"),
            feature_spec=FeatureSpec.from_json(fields.raw("feature_spec"), f"{MANIFEST}.feature_spec"),
            pinball_kw=pinball,
            training=Training(
                data_sha256=training.hexbytes("data_sha256", 32).hex(),
                rows=training.integer("rows"),
                config=training.child("config").as_dict(),
                energy_wh=None if training.raw("energy_wh") is None else training.number("energy_wh", 0),
                co2_g=None if training.raw("co2_g") is None else training.number("co2_g", 0),
            ),
            tolerance=fields.number("tolerance", 0, MAX_TOLERANCE),
            calibration=fields.child("calibration").as_dict(),
            max_latency_ms=fields.number("max_latency_ms", 0),
        )


@dataclass(frozen=True)
class Bundle:
    """A manifest and the members it names."""

    manifest: Manifest
    model: bytes
    golden: Golden
    card: Mapping[str, Any]
    edge_tpu: bytes | None = None

    def to_bytes(self) -> bytes:
        """Write the file.

        Raises:
            RejectedError: when the bundle would be refused on a device.
        """
        files = {MODEL: self.model, GOLDEN: _golden_bytes(self.golden), CARD: jsonform.dumps(self.card)}
        if self.edge_tpu is not None:
            files[EDGE_TPU] = self.edge_tpu
        if self.golden.tolerance != self.manifest.tolerance:
            raise RejectedError("golden vectors and manifest state different tolerances", where="bundle")
        manifest = self.manifest.to_json(files)
        data = _zip({MANIFEST: jsonform.dumps(manifest), **files})
        Bundle.from_bytes(data)  # what a device would refuse is refused here
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Bundle:
        """Read and validate a file.

        Raises:
            RejectedError: when it is too large, damaged, incomplete, holds what its manifest does not name, be it
                bytes beside its files, or does not beat naive.
        """
        files = _unzip(data, (MANIFEST, *_KNOWN), "bundle")
        stray = len(data) - _ZIP_END - sum(_ZIP_ENTRY + 2 * len(name) + len(content) for name, content in files.items())
        if stray:  # before, between or after the members: nothing vouches for them
            raise RejectedError(f"holds {stray} bytes that belong to none of its files", where="bundle")
        if MANIFEST not in files:
            raise RejectedError(f"has no {MANIFEST}", where="bundle")
        value = jsonform.loads(files.pop(MANIFEST), where=MANIFEST, max_bytes=2**20)
        manifest = Manifest.from_json(value)
        named = Fields(value, MANIFEST).child("files")
        if set(named.as_dict()) != set(files) or not {MODEL, GOLDEN, CARD} <= set(files):
            raise RejectedError("holds other files than its manifest names", where="bundle")
        if max(map(len, files.values())) > MAX_MODEL_BYTES:
            raise RejectedError(f"holds a file of more than {MAX_MODEL_BYTES} bytes", where="bundle")
        for name, content in files.items():
            entry = named.child(name)
            digest = hashlib.sha256(content).hexdigest()
            if entry.integer("length") != len(content) or entry.text("sha256") != digest:
                raise RejectedError(f"{name} is not the file that the manifest names", where="bundle")
        return cls(
            manifest=manifest,
            model=files[MODEL],
            golden=_golden(files[GOLDEN], manifest),
            card=jsonform.loads(files[CARD], where=CARD, max_bytes=2**20),
            edge_tpu=files.get(EDGE_TPU),
        )


def _unzip(data: bytes, allowed: tuple[str, ...], where: str) -> dict[str, bytes]:
    """Return the members of a plain zip whose names are all in `allowed`: nothing compressed, nothing twice."""
    if len(data) > MAX_BYTES:
        raise RejectedError(f"{len(data)} bytes where at most {MAX_BYTES} are allowed", where=where)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            if len(set(names)) != len(names) or not set(names) <= set(allowed):
                raise RejectedError("holds unknown or doubled files", where=where)
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise RejectedError("holds a compressed file", where=where)
            if sum(member.file_size for member in members) > len(data):
                raise RejectedError("states more bytes than it has", where=where)
            return {name: archive.read(name) for name in names}
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, OSError, RuntimeError, struct.error) as exc:
        raise RejectedError(f"is not a readable archive ({exc})", where=where) from exc


def _zip(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


def _golden_bytes(golden: Golden) -> bytes:
    return _zip({f"{name}.npy": _array_bytes(getattr(golden, name)) for name in _ARRAYS})


def _array_bytes(array: Singles) -> bytes:
    """The .npy form, version 1.0, with a header of our own: numpy's own padding differs between its versions."""
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(map(int, array.shape))}, }}".encode()
    head += b" " * (-(len(_NPY) + 2 + len(head) + 1) % 64) + b"\n"
    return _NPY + struct.pack("<H", len(head)) + head + np.ascontiguousarray(array, dtype="<f4").tobytes()


def _golden(data: bytes, manifest: Manifest) -> Golden:
    spec = manifest.feature_spec
    arrays = _unzip(data, tuple(f"{name}.npy" for name in _ARRAYS), GOLDEN)
    if len(arrays) != len(_ARRAYS):
        raise RejectedError("lacks inputs or outputs", where=GOLDEN)
    sizes = ((spec.recent_size,), (spec.horizon, len(spec.step_names)), (spec.output_size, 3))
    recent, steps, raw = (_array(arrays[f"{name}.npy"], size, name) for name, size in zip(_ARRAYS, sizes, strict=True))
    if not len(recent) == len(steps) == len(raw) or not 1 <= len(recent) <= MAX_GOLDEN:
        raise RejectedError(f"does not hold 1 to {MAX_GOLDEN} cases", where=GOLDEN)
    return Golden(recent, steps, raw, manifest.tolerance)


def _array(data: bytes, size: tuple[int, ...], name: str) -> Singles:
    """Read [n, *size] float32 from .npy, by hand: `numpy.load` would evaluate a hostile header and believe its size."""
    length = struct.unpack_from("<H", data, len(_NPY))[0] if len(data) >= len(_NPY) + 2 else 0
    body = len(_NPY) + 2 + length
    match = _NPY_HEAD.fullmatch(data[len(_NPY) + 2 : body]) if data.startswith(_NPY) else None
    if match is None:
        raise RejectedError(f"{name} is not a float32 array", where=GOLDEN)
    shape = tuple(int(text) for text in match[1].split(b","))
    if shape[1:] != size or 4 * math.prod(shape) != len(data) - body:
        raise RejectedError(f"{name} has shape {shape}, which does not fit the feature spec", where=GOLDEN)
    array = np.frombuffer(data, dtype="<f4", offset=body).reshape(shape).astype(np.float32)
    if not np.isfinite(array).all():
        raise RejectedError(f"{name} is not finite", where=GOLDEN)
    return array
