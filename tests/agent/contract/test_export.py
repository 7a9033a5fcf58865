"""Exports and their answers: read back as written; a cut or a changed file is told, and nothing of it makes a crash."""

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.errors import RejectedError
from agent.contract.export import ExportReader, ExportWriter, answers_to_bytes, read_answers
from agent.contract.keys import SigningKey

ENVELOPES = [b"first", b"second" * 100, b"third"]


def written(envelopes, key=None):
    file = io.BytesIO()
    writer = ExportWriter(file)
    for envelope in envelopes:
        writer.add(envelope)
    if key:
        writer.finish("press-1", key)
    return file.getvalue()


@pytest.fixture(scope="module")
def export(signing_key):
    return written(ENVELOPES, signing_key)


def read(data, signing_key, device="press-1"):
    """The envelopes that could be read, and what was wrong."""
    reader, found = ExportReader(io.BytesIO(data)), []
    try:
        found += reader  # adds one at a time: what came before an error is kept
        reader.check({signing_key.id: signing_key.public}, device)
    except RejectedError as exc:
        return found, str(exc)
    return found, ""


def test_an_export_is_read_back_as_it_was_written(export, signing_key):
    assert read(export, signing_key) == (ENVELOPES, "")


def test_of_an_export_cut_anywhere_the_envelopes_before_the_cut_count_and_the_cut_is_told(export, signing_key):
    for at in range(len(export)):
        found, problem = read(export[:at], signing_key)
        assert found == ENVELOPES[: len(found)]
        assert problem


def test_an_export_with_any_bit_flipped_is_never_taken_for_whole(export, signing_key):
    for at in range(len(export)):
        changed = bytearray(export)
        changed[at] ^= 1 << at % 8
        assert read(bytes(changed), signing_key)[1]


def test_an_export_of_another_device_or_key_is_told(export, signing_key):
    assert "is not press-2" in read(export, signing_key, "press-2")[1]
    assert "not trusted" in read(export, SigningKey.generate())[1]


def test_a_missing_or_doubled_envelope_is_told(signing_key):
    for wrong in (ENVELOPES[:2], [*ENVELOPES, ENVELOPES[0]], ENVELOPES[::-1]):
        trailer = written(ENVELOPES, signing_key)[len(written(ENVELOPES)) :]
        assert "other envelopes" in read(written(wrong) + trailer, signing_key)[1]


def test_answers_are_read_back_in_order_and_a_cut_is_told():
    data = answers_to_bytes([b"one", b"two"])
    assert list(read_answers(io.BytesIO(data))) == [b"one", b"two"]
    for at in range(len(data)):
        found = []
        try:
            found += read_answers(io.BytesIO(data[:at]))
        except RejectedError:
            assert found in ([], [b"one"])
        else:
            assert (at, found) in ((4, []), (11, [b"one"]))


@given(data=st.binary(max_size=200), magic=st.sampled_from([b"", b"EWX1", b"EWY1"]))
def test_any_bytes_are_refused_or_read_and_nothing_else(data, magic, signing_key):
    _, problem = read(magic + data, signing_key)
    assert problem
    with contextlib.suppress(RejectedError):
        assert sum(map(len, read_answers(io.BytesIO(magic + data)))) <= len(data)
