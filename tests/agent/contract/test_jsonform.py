"""The JSON border: one form out, limits in."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract import jsonform
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.jsonform import MAX_DEPTH, MAX_TIME_MS, Fields
from tests.support.nasty import DEEP

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


def loads(data: bytes, max_bytes: int = 10_000):
    return jsonform.loads(data, where="message", max_bytes=max_bytes)


def test_writes_the_one_canonical_form():
    assert jsonform.dumps({"b": [1, 2.5, None], "a": "ü"}) == '{"a":"ü","b":[1,2.5,null]}'.encode()


@pytest.mark.parametrize(
    "value", [{"a": float("nan")}, {"a": float("inf")}, {"a": "\ud800"}, {"a": "\0"}, {"\0": 1}, {"a": [[[[[DEEP]]]]]}]
)
def test_writes_nothing_that_it_would_not_read(value):
    with pytest.raises(ValueError):
        jsonform.dumps(value)


@given(st.dictionaries(keys, json_values, max_size=5))
def test_reads_what_it_wrote(value):
    data = jsonform.dumps(value)
    assert loads(data) == value
    assert jsonform.dumps(loads(data)) == data


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b'"a"', "not a JSON object"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"a":1,"a":2}', "a key stands twice"),
        (b'{"x":{"a":1,"a":1}}', "a key stands twice"),
        (b'{"a":NaN}', "NaN is not allowed"),
        (b'{"a":-Infinity}', "-Infinity is not allowed"),
        (b'{"a":1e999}', "1e999 is out of range"),
        (b'{"a":-1e999}', "-1e999 is out of range"),
        (b'{"a":' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"a":"\\ud800"}', "not valid JSON"),
        (b'{"\\uDFFF":1}', "not valid JSON"),
        (b'{"a":"x\\u0000"}', "a text holds NUL"),
        (b'{"a":"x\x00"}', "not valid JSON"),
        (b'{"a":1} x', "not valid JSON"),
        (b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH, "a"),
    ],
)
def test_refuses_what_is_not_one_clean_object(data, complaint):
    if data.startswith(b'{"a":{"a"'):  # exactly the depth allowed
        assert loads(data)
        return
    with pytest.raises(RejectedError, match=complaint):
        loads(data)


@pytest.mark.parametrize("depth", [MAX_DEPTH, 1000, 100_000])
def test_refuses_deep_nesting(depth):
    with pytest.raises(RejectedError, match="not valid JSON"):
        loads(b'{"a":' + b"[" * depth + b"]" * depth + b"}", max_bytes=10**6)


def test_many_shallow_values_are_not_deep():
    value = {"rows": [[[index]] for index in range(100)]}
    assert loads(jsonform.dumps(value)) == value


def test_keeps_escaped_text_that_only_looks_like_nul_or_a_surrogate():
    value = {"a": "\\u0000 \\ud800"}
    assert loads(json.dumps(value).encode()) == value
    assert loads(b'{"a":"\\ud83d\\ude00"}') == {"a": "\U0001f600"}


def test_refuses_one_byte_too_many_before_parsing():
    assert loads(b'{"a":1}', max_bytes=7) == {"a": 1}
    with pytest.raises(RejectedError, match="7 bytes where at most 6"):
        loads(b'{"a":1}', max_bytes=6)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data):
    with contextlib.suppress(RejectedError):
        assert isinstance(loads(data), dict)


class TestFields:
    def fields(self, value, error=RejectedError):
        return Fields({"x": value}, "message", error)

    @pytest.mark.parametrize("value", [True, 1.0, "1", None, -1, 2**53 + 1, 10**400, [], {}])
    def test_integer_refuses(self, value):
        with pytest.raises(RejectedError) as caught:
            self.fields(value).integer("x")
        assert caught.value.where == "message.x"

    @pytest.mark.parametrize("value", [True, "1", None, float("nan"), float("inf"), 10**400, -(10**400), []])
    def test_number_refuses(self, value):
        with pytest.raises(RejectedError, match=r"message\.x"):
            self.fields(value).number("x")

    def test_number_takes_integers_and_keeps_bounds(self):
        assert self.fields(3).number("x") == 3.0
        assert isinstance(self.fields(3).number("x"), float)
        with pytest.raises(RejectedError, match="outside"):
            self.fields(3).number("x", 4)

    def test_instant_ends_where_calendars_end(self):
        assert self.fields(MAX_TIME_MS).instant("x") == MAX_TIME_MS
        for value in (MAX_TIME_MS + 1, -1):
            with pytest.raises(RejectedError):
                self.fields(value).instant("x")

    @pytest.mark.parametrize("value", [1, None, "toolong", "ab\n", []])
    def test_text_refuses(self, value):
        with pytest.raises(RejectedError):
            self.fields(value).text("x", max_length=4, pattern="[a-z]+")

    @pytest.mark.parametrize("value", ["AB", "abc", "zz", "", 171])
    def test_hexbytes_refuses(self, value):
        with pytest.raises(RejectedError):
            self.fields(value).hexbytes("x", 1)
        assert self.fields("ab").hexbytes("x", 1) == b"\xab"

    def test_lists_and_objects_are_bounded_and_named(self):
        with pytest.raises(RejectedError, match="at most 1"):
            self.fields([1, 2]).items("x", 1)
        with pytest.raises(RejectedError, match=r"message\.x\[1\]: is not an object"):
            list(self.fields([{}, 1]).children("x", 5))
        with pytest.raises(RejectedError, match=r"message\.x\.y: is missing"):
            self.fields({}).child("x").raw("y")
        with pytest.raises(RejectedError, match="is not true or false"):
            self.fields(1).flag("x")

    def test_speaks_in_its_callers_error(self):
        with pytest.raises(ConfigError):
            self.fields("a", ConfigError).integer("x")
