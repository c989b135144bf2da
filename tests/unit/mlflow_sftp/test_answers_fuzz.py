"""Answers spoilt packet by packet, at random: what comes of it is an SftpError or the right bytes, and it comes soon.

`MLFLOW_SFTP_FUZZ=20000 pytest tests/unit/mlflow_sftp/test_answers_fuzz.py --timeout 0` tries as many examples.
"""

import asyncio
import io
import os
import posixpath
import random
import resource
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from mlflow_sftp.errors import SftpError
from mlflow_sftp.transfer import download, listing, upload
from mlflow_sftp.transfer.remote import Remote
from tests.support.sftp_model import ModelServer, frame, frames, model_remote, run_quickly, status
from tests.support.storing import pattern

_EXAMPLES = int(os.environ.get("MLFLOW_SFTP_FUZZ", "25"))
_FILES = {b"a": pattern(10), b"d/empty": b"", b"d/b": pattern(150_000, 2), b"d/e/c": pattern(3000, 3)}
_LARGE = {b"large": pattern((1 << 20) + 200_000, 4)}
_DATA, _NAME, _ATTRS, _HANDLE, _STATUS, _VERSION = 103, 104, 105, 102, 101, 2
_MOST_MEMORY, _MOST_REQUESTS = 48 << 20, 60_000

# What can be done to one answer. The first kind shows, whoever looks closely; the second are lies that fit together,
# which only a sum can tell.
_SHOWS = (
    "drop", "twice", "later", "cut", "cut and say so", "extend", "extend and say so", "length", "number", "kind",
    "count", "garbage", "refuse", "end", "nothing", "greeting", "fine", "hang up",
)  # fmt: skip
_LIES = ("flip", "size")
_WORKS = ("list", "walk", "stat", "get tree", "get file", "put tree", "put file", "put stream")


class _Spoiler:
    """Does to the answers with these numbers what is asked for; `later` ones come behind their successor."""

    def __init__(self, deeds: dict[int, tuple[str, int]]) -> None:
        self._deeds = deeds
        self._number = -1
        self._late = b""

    def __call__(self, packets: list[bytes]) -> bytes:
        self._number += 1
        late, self._late = self._late, b""
        deed, value = self._deeds.get(self._number, ("", 0))
        if deed == "later":
            self._late = frames(packets)
            return late
        return (_spoil(packets[0], deed, value) if deed else frames(packets)) + late


def _spoil(packet: bytes, deed: str, value: int) -> bytes:
    chance = random.Random(value)
    at = value % len(packet)
    number = packet[1:5]
    simple = {
        "drop": b"",
        "twice": frame(packet) * 2,
        "cut": len(packet).to_bytes(4) + packet[:at],
        "cut and say so": frame(packet[:at]),
        "extend": frame(packet) + chance.randbytes(1 + value % 40),
        "extend and say so": frame(packet + chance.randbytes(1 + value % 40)),
        "length": chance.choice([0, 1, 4, len(packet) - 1, 1 << 17, 1 << 20, 0xFFFFFFFF]).to_bytes(4)
        + packet,
        "number": frame(packet[:1] + (int.from_bytes(number) + 7 + value).to_bytes(8)[-4:] + packet[5:]),
        "kind": frame(bytes([chance.choice([_DATA, _NAME, _ATTRS, _HANDLE, 201, 0, 255])]) + packet[1:]),
        "count": frame(packet[:5] + chance.choice([0, 1, 2, 1000, 0xFFFFFFFF]).to_bytes(4) + packet[9:]),
        "garbage": chance.randbytes(1 + value % 100),
        "refuse": frame(status(number, chance.choice([3, 4, 5, 8, 9, 31, 0xFFFFFFFF]), chance.randbytes(9))),
        "end": frame(status(number, 1)),
        "nothing": frame(packet[:5] + bytes(4)),
        "greeting": frame(b"\2\0\0\0\3") + frame(packet),
        "fine": frame(status(number, 0)),
        "hang up": frame(b""),
    }
    if deed in simple:
        return simple[deed]
    if deed == "flip":
        return frame(packet[:at] + bytes([packet[at] ^ (1 << value % 8)]) + packet[at + 1 :])
    size = chance.choice([0, 1, (1 << 20) + 1, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
    if packet[0] == _ATTRS:
        return frame(packet[:9] + size.to_bytes(8) + packet[17:])
    return frame(packet.replace(len(_FILES[b"d/b"]).to_bytes(8), size.to_bytes(8)))


async def _work(remote: Remote, work: str, local: Path, target: Path) -> Any:
    if work == "list":
        return await listing.list_directory(remote, "/root/d")
    if work == "walk":
        return [entry async for entry in listing.walk(remote, "/root")]
    if work == "stat":
        return await remote.stat("/root/d/b")
    if work == "get tree":
        return await download.get_tree(remote, "/root", str(target))
    if work == "get file":
        return await download.get_file(remote, "/root/large", str(target / "large"))
    if work == "put tree":
        return await upload.put_tree(remote, str(local), "/root/new")
    if work == "put file":
        return await upload.put_file(remote, str(local / "large"), "/root/new/large")

    async def chunks() -> Any:
        stream = io.BytesIO(_LARGE[b"large"])
        while chunk := stream.read(1 << 18):
            yield chunk
            await asyncio.sleep(0)

    return await upload.put_stream(remote, chunks(), "/root/new/large")


def _files(directory: Path) -> dict[bytes, bytes]:
    found = [path for path in directory.rglob("*") if path.is_file()]
    return {os.fsencode(path.relative_to(directory)): path.read_bytes() for path in found}


def _is_right(work: str, result: Any, server: ModelServer, target: Path) -> bool:
    if work in ("list", "walk"):
        below = "d/" if work == "list" else ""
        sizes = {os.fsdecode(name): len(data) for name, data in server.contents().items()}
        expected = {
            name: size for name, size in sizes.items() if work == "walk" or posixpath.dirname(name) == "d"
        }
        listed = {below + each.path: each.size for each in result or () if not each.is_directory}
        return listed.keys() == expected.keys() and all(
            listed[name] in (None, expected[name]) for name in listed
        )
    if work == "stat":
        return result is not None and result.size in (None, len(_FILES[b"d/b"]))
    if work.startswith("get"):
        return _files(target) == (server.contents() if work == "get tree" else _LARGE)
    new = {
        name.removeprefix(b"new/"): data
        for name, data in server.contents().items()
        if name.startswith(b"new/")
    }
    published = {name: data for name, data in new.items() if b".mlflow-sftp-" not in name}
    return published == ({**_FILES, **_LARGE} if work == "put tree" else _LARGE)


_DEEDS = st.dictionaries(
    st.integers(0, 60), st.tuples(st.sampled_from(_SHOWS), st.integers(0, 1 << 16)), min_size=1, max_size=3
)
_ONE_LIE = st.tuples(st.integers(0, 60), st.tuples(st.sampled_from(_LIES), st.integers(0, 1 << 16)))
_SETTINGS = settings(
    max_examples=_EXAMPLES,
    deadline=None,
    derandomize="MLFLOW_SFTP_FUZZ" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


def _run(work: str, deeds: dict[int, tuple[str, int]], *, atomic: bool, page: int, verify: str) -> str:
    """Return "right", "wrong" or the name of the error; whatever else goes wrong is raised."""
    uploading = work.startswith("put")
    server = ModelServer({} if uploading else {**_FILES, **_LARGE}, atomic=atomic, page=page)
    server.spoil = _Spoiler(deeds)
    with tempfile.TemporaryDirectory() as scratch:
        local, target = Path(scratch) / "local", Path(scratch) / "a/target"
        target.mkdir(parents=True)
        if uploading:
            for name, data in {**_FILES, **_LARGE}.items():
                path = local / os.fsdecode(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

        async def run() -> Any:
            remote = model_remote(server, verify=verify, memory=4)
            return await _work(remote, work, local, target)

        outside = {path for path in Path(scratch).rglob("*") if target not in path.parents}
        try:
            result = run_quickly(run())
        except SftpError as error:
            str(error)
            outcome = type(error).__name__
        else:
            outcome = "right" if _is_right(work, result, server, target) else "wrong"
        assert {path for path in Path(scratch).rglob("*") if target not in path.parents} == outside
    assert server.requests < _MOST_REQUESTS
    return outcome


def _in_bounded_memory(*arguments: Any, **options: Any) -> str:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = _run(*arguments, **options)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < _MOST_MEMORY
    return outcome


@_SETTINGS
@given(work=st.sampled_from(_WORKS), deeds=_DEEDS, atomic=st.booleans(), page=st.integers(1, 5))
def test_what_shows_in_an_answer_is_seen(
    work: str, deeds: dict[int, tuple[str, int]], atomic: bool, page: int
) -> None:
    outcome = _in_bounded_memory(work, deeds, atomic=atomic, page=page, verify="size")
    event(outcome)
    assert outcome != "wrong" or _cannot_be_seen(work, deeds)


@_SETTINGS
@given(work=st.sampled_from(_WORKS), lie=_ONE_LIE, atomic=st.booleans(), page=st.integers(1, 5))
def test_one_lie_does_no_harm_where_sums_are_compared(
    work: str, lie: tuple[int, tuple[str, int]], atomic: bool, page: int
) -> None:
    outcome = _in_bounded_memory(work, dict([lie]), atomic=atomic, page=page, verify="sha256")
    event(outcome)
    # A name or a kind that is another one is the truth to whoever asks nobody else.
    assert outcome != "wrong" or work in ("list", "walk", "stat", "get tree")


def _cannot_be_seen(work: str, deeds: dict[int, tuple[str, int]]) -> bool:
    """Tell whether a directory was said to end, or to be a file, in a way that nothing contradicts.

    What is cut off an answer may be made up for by the bytes of the next: that is noticed one answer too late.
    """
    said = {deed for deed, _ in deeds.values()}
    if work == "stat" and "cut" in said:
        return True
    return work in ("list", "walk", "get tree", "stat") and bool(
        said & {"end", "nothing", "count", "refuse", "fine"}
    )
