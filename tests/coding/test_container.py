"""The file of compressed images: read exactly, or refused in one line."""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqvae_jax.coding.container import pack, unpack
from vqvae_jax.errors import DataError

MAGIC = b"VQVAEJX\x01"
NAME = "folder/images.vq"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=4,
)
headers = st.dictionaries(st.text(max_size=8), json_values, max_size=4)
blocks_of_words = st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=5), max_size=4)


def signed(body):
    """With the SHA-256 at its end that belongs there."""
    return body + hashlib.sha256(body).digest()


def counted(length, piece):
    return struct.pack("<I", length) + piece


def refused(content, message):
    with pytest.raises(DataError, match=message) as refusal:
        unpack(content, NAME)
    assert str(refusal.value).startswith(NAME)
    assert "\n" not in str(refusal.value)


@given(headers, blocks_of_words)
def test_what_was_packed_is_unpacked(header, blocks):
    arrays = [np.array(words, np.uint32) for words in blocks]
    found_header, found = unpack(pack(header, arrays), NAME)
    assert found_header == header
    assert len(found) == len(arrays)
    for ours, expected in zip(found, arrays, strict=True):
        assert ours.dtype == np.uint32
        np.testing.assert_array_equal(ours, expected)


def test_format():
    """Byte for byte: files have to stay readable."""
    header, text = {"images": 3, "models": "é"}, rb'{"images":3,"models":"\u00e9"}'
    words = [np.array([1, 0xFFFEFDFC], np.uint32), np.zeros(0, np.uint32)]
    body = MAGIC + counted(len(text), text)
    body += b"\x02\x00\x00\x00" + b"\x01\x00\x00\x00" + b"\xfc\xfd\xfe\xff" + b"\x00\x00\x00\x00"
    assert pack(header, words) == signed(body)
    assert pack(header, [array.astype(">u4") for array in words]) == signed(body)


@pytest.fixture(scope="module")
def small():
    return pack({"images": 1}, [np.array([7, 2**31], np.uint32), np.zeros(0, np.uint32)])


def test_every_changed_byte_is_found(small):
    for position in range(len(small)):
        changed = bytearray(small)
        for value in range(256):
            changed[position] = value
            if value != small[position]:
                refused(bytes(changed), "is damaged" if position >= 7 else "is not a file of comp")


def test_every_truncation_is_found(small):
    for length in range(len(small)):
        refused(small[:length], "is damaged" if length >= 7 else "is not a file of compressed")


@pytest.mark.parametrize("extra", [b"\x00", b"\x00" * 4, b"x" * 32])
def test_what_is_appended_is_found(small, extra):
    refused(small + extra, "is damaged: its content does not match the digest at its end")


@pytest.mark.parametrize(
    "content", [b"", b"\x1f\x8b\x08\x00" * 20, b"VQVAEJY\x01" + b"\x00" * 60, b"{}", MAGIC[:6]]
)
def test_foreign_file(content):
    refused(content, "is not a file of compressed images: it must begin with")


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_refused_with_both(version, small):
    other = MAGIC[:7] + bytes([version]) + small[8:-32]
    refused(signed(other), f"has format {version}; this version of vqvae_jax reads format 1$")
    refused(signed(MAGIC[:7] + bytes([version])), f"has format {version}; ")


GOOD = counted(2, b"{}") + counted(1, b"1234")
BROKEN = {
    "nothing": (b"", "it ends within a length"),
    "part of the header's length": (b"\x02\x00\x00", "it ends within a length"),
    "header too short": (counted(3, b"{}"), "a piece is longer than what is left"),
    "header far too short": (counted(2**32 - 1, b"{}"), "a piece is longer than what is left"),
    "empty header": (counted(0, b""), "its header is not JSON"),
    "half an object": (counted(1, b"{"), "its header is not JSON"),
    "two objects": (counted(4, b"{}{}"), "its header is not JSON"),
    "not UTF-8": (counted(7, b'{"\xff":1}'), "its header is not JSON"),
    "too many digits": (counted(5002, b"[" + b"9" * 5000 + b"]"), "its header is not JSON"),
    "deep list": (counted(10**4, b"[" * 10**4), "its header is not JSON"),
    "deep object": (counted(10**4, b'{"a":' * 2000), "its header is not JSON"),
    "long header": (counted(10**6, b"[" * 10**6), "its header has 1000000 bytes, over 10000"),
    "list": (counted(2, b"[]"), "its header is not an object"),
    "null": (counted(4, b"null"), "its header is not an object"),
    "number": (counted(1, b"1"), "its header is not an object"),
    "block without words": (GOOD + counted(1, b""), "a piece is longer than what is left"),
    "block too short": (GOOD + counted(1, b"123"), "a piece is longer than what is left"),
    "block far too short": (GOOD + counted(2**30, b"1234"), "a piece is longer than what is"),
    "1 byte more": (GOOD + b"\x00", "it ends within a length"),
    "3 bytes more": (GOOD + b"\x00\x00\x00", "it ends within a length"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_nonsense_under_a_right_digest(name):
    body, message = BROKEN[name]
    refused(signed(MAGIC + body), f"is damaged: {message}")


@given(st.binary(max_size=60))
def test_any_content_under_a_right_digest(body):
    """Refused, or unpacked to the words that it ends with."""
    for content in (signed(MAGIC + body), signed(MAGIC + counted(2, b"{}") + body)):
        try:
            header, blocks = unpack(content, NAME)
        except DataError:
            refused(content, "is damaged")
        else:
            words = b"".join(counted(len(each), each.tobytes()) for each in blocks)
            assert content[:-32].endswith(words)
            assert isinstance(header, dict)


def test_a_file_that_ends_before_its_version_is_refused():
    refused(signed(MAGIC[:-1]), "is damaged: it ends before the version of its format")
