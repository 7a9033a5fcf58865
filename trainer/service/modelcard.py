"""What the report says of a model: is it better than no model, how big, from what data, at what price."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agent.contract.bundle import Bundle
from agent.contract.zones import utc_iso
from trainer.service import picture
from trainer.service.page import MAX_TABLE_ROWS


def model_card(bundle: Bundle) -> dict[str, Any]:
    """Return the card of a model, ready for the template."""
    manifest = bundle.manifest
    names = {
        "naive": "seasonal naive (no model)",
        "teacher": "teacher, in the centre",
        "student_float": "student, before int8",
        "student_int8": "student, int8, on devices",
    }
    worst = max(manifest.pinball_kw.values()) or 1.0
    scores = [
        {"name": text, "value": manifest.pinball_kw[name], "share": manifest.pinball_kw[name] / worst, "key": name}
        for name, text in names.items()
    ]
    return {
        "label": f"{manifest.name}@{manifest.version}",
        "made": utc_iso(manifest.created_ms),
        "scores": scores,
        "better": 1 - manifest.pinball_kw["student_int8"] / manifest.pinball_kw["naive"],
        "bytes": len(bundle.model),
        "spec": manifest.feature_spec,
        "training": manifest.training,
        "config": _flat(manifest.training.config),
        "card": _flat(bundle.card),
    }


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Names and values of a nested object, for a table of at most `MAX_TABLE_ROWS` lines."""
    result: list[tuple[str, str]] = []
    for name, item in value.items():
        label = picture.short(f"{prefix}{name}", 80)
        if isinstance(item, Mapping):
            result += _flat(item, f"{label}.")
        else:
            result.append((label, picture.short(json.dumps(item) if isinstance(item, list) else item, 120)))
    return result[:MAX_TABLE_ROWS]
