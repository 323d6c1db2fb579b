"""Client order ids: `s<claim hash, 6>-<epoch>-<incarnation>-<sequence>`, the three numbers in base 36."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
CLAIM_HASH_LENGTH: Final = 6
_PATTERN: Final = re.compile(r"s([0-9a-z]{6})-([0-9a-z]+)-([0-9a-z]+)-([0-9a-z]+)")
MAXIMUM_LENGTH: Final = 64
"""The venue's limit for a client order id (FIX page of its documentation)."""


class OrderIdParts(NamedTuple):
    """A client order id taken apart."""

    claim_hash: str
    epoch: int
    incarnation: int
    sequence: int


def base36(number: int) -> str:
    """Text of a number >= 0 in base 36, lower case."""
    if number < 0:
        raise ValueError(f"base 36 is for numbers >= 0, not {number}")
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
        if number == 0:
            return text


def order_id(claim_hash: str, epoch: int, incarnation: int, sequence: int) -> str:
    """The client order id of one order; unique as long as an incarnation never repeats a sequence."""
    text = f"s{claim_hash}-{base36(epoch)}-{base36(incarnation)}-{base36(sequence)}"
    if len(claim_hash) != CLAIM_HASH_LENGTH or len(text) > MAXIMUM_LENGTH:
        raise ValueError(
            f"order id {text!r} needs a claim hash of {CLAIM_HASH_LENGTH} characters and at most {MAXIMUM_LENGTH} in all"
        )
    return text


def parse_order_id(text: str) -> OrderIdParts | None:
    """Parts of an id that some engine of Soloist made, or None for anybody else's."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        return None
    claim_hash, epoch, incarnation, sequence = match.groups()
    return OrderIdParts(claim_hash, int(epoch, 36), int(incarnation, 36), int(sequence, 36))


def is_ours(text: str, claim_hash: str) -> bool:
    """True if the id is of this claim; every other order of the account is left alone."""
    return text.startswith(f"s{claim_hash}-")
