"""The C programs of the protocol page compile, and agree with this implementation on every byte."""

import re
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cortexwire.types import Rate
from cortexwire.wire import Kind, decode_packet, encode_packet
from tests.wire.example_frames import output_frames
from tests.wire.forging import forged_output, with_bytes

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler (cc, gcc or clang) on the path")


def program(name: str, folder: Path) -> Path:
    """Compile the page's code block that begins with the comment `name`."""
    [source] = re.findall(rf"```c\n(/\* {re.escape(name)} \*/.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (folder / name).write_text(source, encoding="utf-8")
    binary = folder / Path(name).stem
    warnings = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1"]
    subprocess.run([str(COMPILER), *warnings, "-o", binary, folder / name], check=True)
    return binary


@pytest.fixture(scope="module")
def consumer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program("consumer.c", tmp_path_factory.mktemp("consumer"))


def split_frames(stream: bytes) -> list[bytes]:
    frames = []
    while stream:
        length = 128 + struct.unpack_from("<I", stream, 92)[0]
        frames.append(stream[:length])
        stream = stream[length:]
    return frames


@needs_compiler
def test_the_rig_in_c_sends_what_we_decode(tmp_path: Path) -> None:
    sent = subprocess.run([program("rig.c", tmp_path)], check=True, capture_output=True).stdout
    frames = split_frames(sent)
    descriptor, wideband = [decode_packet(frame) for frame in frames]
    assert [encode_packet(decode_packet(frame)) for frame in frames] == frames
    assert (descriptor.kind, wideband.kind) == (Kind.DESCRIPTOR, Kind.WIDEBAND)
    assert (descriptor.sequence, wideband.sequence) == (0, 1)
    assert wideband.descriptor_hash == descriptor.data.hash
    assert [electrode.id for electrode in descriptor.data.electrodes] == ["e1", "e2", "e3"]
    assert (wideband.rate, wideband.uv_per_bit) == (Rate(30000), 0.195)
    expected = np.array([[-32768, -1, 0], [1, 2, 32767], [300, -300, 42], [7, 8, 9]], np.int16)
    np.testing.assert_array_equal(wideband.data, expected)


@needs_compiler
@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (output_frames()["output_decoded"], "bin 41: velocity 0.5 -1.25 for 100 ms\n"),
        (output_frames()["output_safe"], "no command\n"),
        (forged_output(output_frames()["output_safe"], 32, "I", 4), "bin 42: velocity 0 0 for 0 ms\n"),
        (with_bytes(output_frames()["output_decoded"], 36, b"\1"), "malformed\n"),
        (output_frames()["output_decoded"][:-1], "malformed\n"),
        (b"", "malformed\n"),
    ],
)
def test_the_consumer_in_c_reads_what_we_publish(consumer: Path, frame: bytes, said: str) -> None:
    assert subprocess.run([consumer], input=frame, capture_output=True, check=False).stdout.decode() == said


def test_the_page_names_every_golden_file() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for path in (Path(__file__).parent / "golden").glob("*.bin"):
        assert f"`{path.stem}`" in page
