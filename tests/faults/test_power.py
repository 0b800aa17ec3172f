"""The power goes off, and the disk keeps of what was not synced whatever it likes."""

import random
from pathlib import Path

import pytest

from .conftest import Run
from .power import Cut, File, Power, Write
from .size import sample_or_all
from .tape import Event


@sample_or_all("images", sample=250, full=25_000)
@pytest.mark.parametrize("before", ["nothing", "empty tables", "a life", "a crash"])
def test_nothing_acknowledged_is_lost(prove: Run, shim: Path, before: str, images: int) -> None:
    seen = prove(
        *("crash", "--seed", "20261122", "--before", before, "--images", str(images)),
        preload=shim,
    )
    assert seen["images"] >= images
    assert seen["distinct"] > images / 5


def test_lines_that_were_refused_are_off_the_disk_before_their_segment_is_sealed(
    prove: Run, shim: Path
) -> None:
    """The life of this seed has such: cut off after a sync that failed, and never synced again."""
    prove("crash", "--seed", "20261149", "--before", "a life", "--images", "60", preload=shim)


@pytest.mark.parametrize(
    ("before", "images"),
    [
        pytest.param("a life", 10, id="sample"),
        *(
            pytest.param(before, 2500, marks=pytest.mark.faults, id=before)
            for before in ["nothing", "empty tables", "a life", "a crash"]
        ),
    ],
)
def test_nothing_acknowledged_is_lost_where_postgres_has_the_tables(
    prove: Run, shim: Path, postgres_url: str, before: str, images: int
) -> None:
    """The machine with the log loses its power, and the server keeps what it acknowledged."""
    options = ("--seed", "20261122", "--before", before, "--images", str(images))
    seen = prove("crash", *options, "--server", postgres_url, preload=shim)
    assert seen["images"] >= images
    assert seen["distinct"] > images / 5


def test_a_disk_that_forgets_what_was_synced_is_found_out(prove: Run, shim: Path) -> None:
    """As if the log were never synced: the proof of the proof."""
    with pytest.raises(AssertionError, match="lost from the log"):
        prove(
            *("crash", "--seed", "1", "--before", "empty tables", "--images", "40", "--forgets"),
            preload=shim,
        )


def happen(*events: tuple[str, int, str, bytes]) -> Power:
    power = Power()
    for kind, inode, path, text in events:
        power.take(Event(kind, inode, 0, path, "", text))  # type: ignore[arg-type]
    return power


CREATED = [("M", 1, "day", b""), ("C", 2, "day/log", b""), ("W", 2, "", b"line")]


def test_what_is_synced_stays() -> None:
    power = happen(*CREATED, ("S", 2, "", b""), ("S", 1, "", b""), ("S", 9, "", b""))
    assert power.units == 0
    assert list(power.images()) == [{"day": None, "day/log": b"line"}]


def test_what_is_not_synced_stays_or_goes_each_by_itself() -> None:
    images = list(happen(*CREATED).images())
    assert len(images) == 8
    assert {str(sorted(image.items())) for image in images} == {
        "[]",
        "[('day', None)]",
        "[('day', None), ('day/log', b'')]",
        "[('day', None), ('day/log', b'line')]",
    }


def test_drawn_image_has_sectors_or_zeros() -> None:
    power = happen(("C", 2, "log", b""), ("S", 9, "", b""), ("W", 2, "", b"x" * 1500))
    sizes = set()
    for seed in range(200):
        content = power.image(random.Random(seed), 0.5, 512)["log"]
        assert content is not None
        for at in range(0, len(content), 512):
            assert set(content[at : at + 512]) in ({0}, {ord("x")})
        sizes.add(len(content))
    assert sizes == {0, 512, 1024, 1500}


def test_truncation_is_there_or_not() -> None:
    file = File(b"durable", [Cut(3), Write(5, b"!")])
    power = Power(files={2: file}, names={"log": 2})
    assert {image["log"] for image in power.images()} == {
        *(b"durable", b"dur", b"durab!e", b"dur\0\0!"),
    }
