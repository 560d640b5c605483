"""Blocks from a BED file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bayestwas.errors import InputError
from bayestwas.io.blocks import read_blocks

Write = Callable[[str, str], Path]


def test_names_headers_and_chromosome_labels(write: Write) -> None:
    text = "chr\tstart\tstop\n# comment\nchr1\t0\t100\tfirst\n\n01 100 200\nchrX\t0\t50\n"
    blocks = read_blocks(write("b.bed", text))
    assert blocks.to_dict("list") == {
        "block": ["first", "1_100_200", "X_0_50"],
        "chromosome": ["1", "1", "X"],
        "start": [0, 100, 0],
        "end": [100, 200, 50],
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chr1\t0\t100\tx\nchr1\t99\t200\ty\n", r"line 2: block 'y' \(99-200\) overlaps 'x' \(0-100\)"),
        ("1\t0\t100\tx\n2\t0\t100\tx\n", "line 2: block 'x' occurs more than once"),
        ("1\t100\t100\n", "line 1: start 100, end 100"),
        ("1\t100\n", "line 1: '1 100'"),
        ("1\ta\tb\n", "line 1: '1 a b'"),
        ("1\t0\t9\ta/b\n", "block = 'a/b'"),
        ("#chr\tstart\tend\n", "holds no block"),
    ],
)
def test_what_is_refused(write: Write, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        read_blocks(write("b.bed", text))
    assert error.value.rule
    assert error.value.remedy
