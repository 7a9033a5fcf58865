"""Keys and bytes that were made once; later versions must still read them."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent.contract.keys import SealingKey, SigningKey


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """`cases/golden.json`: hexadecimal bytes of every message form, and the private keys that they were made with."""
    return json.loads((Path(__file__).parent / "cases" / "golden.json").read_text())


@pytest.fixture(scope="session")
def signing_key(golden) -> SigningKey:
    return SigningKey(bytes.fromhex(golden["signing_private"]))


@pytest.fixture(scope="session")
def sealing_key(golden) -> SealingKey:
    return SealingKey(bytes.fromhex(golden["sealing_private"]))


@pytest.fixture(scope="session")
def storage_key(golden) -> bytes:
    return bytes.fromhex(golden["storage_key"])
