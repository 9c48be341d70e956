"""A recording of 20 GB opens at once, is searched at once, and is replayed whole in bounded memory.

It is a log as the recorder leaves it, in segments of a gibibyte, of 1024 channels at 30 kHz in packets of 5 ms: record
and packet headers are real and every checksum holds. Only the samples are zeros, which the file system need not
store. What opens, searches and sends it are processes of their own, whose memory the kernel reports.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import msgspec
import zmq

from cortexwire.bench.evidence import progress
from cortexwire.types import Rate
from cortexwire.wire import (
    Clock,
    DType,
    Kind,
    RecordKind,
    SegmentHeader,
    Sidecar,
    encode_record_header,
    encode_segment_header,
    record_length,
    segment_path,
)
from cortexwire.wire.header import MAGIC, RESERVED, VERSION, Header, pack_header

BYTES: Final = 20_000_000_000
CHANNELS: Final = 1024
PACKET_SAMPLES: Final = 150
RATE: Final = Rate(30_000)
SEGMENT_BYTES: Final = 1 << 30
OPEN_S: Final = 2.0
"""Longest that opening may take."""
MOST_MIB: Final = 300.0
"""Most resident memory that a replay may take; the interpreter with its libraries takes a third of it."""
GROWTH_MIB: Final = 32.0
"""Most that it may grow from the first tenth to the end."""

_RECORDING: Final = bytes(range(16))
_WAIT_MS: Final = 60_000
_OPENING: Final = """
import json, resource, sys, time
from pathlib import Path
from cortexwire.sessions.log import LogRecord, log_session, open_log
folder, middle = Path(sys.argv[1]), int(sys.argv[2])
began = time.monotonic()
log = open_log(folder)
first = next(log.records())
opened = time.monotonic()
found = next(log.records(middle))
sought = time.monotonic()
near = (item for item in log.walk(log.seek_time(found.t_ns)) if isinstance(item, LogRecord))
timed = next(item for item in near if item.t_ns >= found.t_ns)
at_time = time.monotonic()
session = log_session(folder)
surveyed = time.monotonic()
read = session.wideband(session.n_samples // 2, session.n_samples // 2 + 300)
done = time.monotonic()
print(json.dumps({
    "open_s": opened - began, "seek_index_s": sought - opened, "seek_time_s": at_time - sought,
    "session_s": surveyed - at_time, "read_10_ms_s": done - surveyed,
    "right": [first.index, found.index, timed.index, session.n_samples, list(read.shape)],
    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def write_large_log(folder: Path, n_bytes: int, channels: int, packet_samples: int) -> int:
    """Write the recording; returns its number of records."""
    folder.mkdir(parents=True)
    sidecar = Sidecar(recording=_RECORDING.hex(), name="large", started="2026-01-01T00:00:00+00:00")
    (folder / "recording.json").write_bytes(msgspec.json.encode(sidecar))
    zeros = bytes(packet_samples * channels * 2)
    step_ns = packet_samples * 10**9 // RATE.num
    length = record_length(128 + len(zeros))
    total, per_segment = n_bytes // length, max(1, SEGMENT_BYTES // length)
    for number in range(-(-total // per_segment)):
        first = number * per_segment
        with segment_path(folder, number).open("wb") as file:
            file.write(encode_segment_header(SegmentHeader(number, _RECORDING, first, number)))
            for index in range(first, min(total, first + per_segment)):
                head = _packet_head(index, channels, packet_samples, len(zeros))
                crc = crc32(zeros, crc32(head))
                at = file.tell()
                record = encode_record_header(RecordKind.PACKET, index * step_ns, len(head) + len(zeros), crc, index)
                file.write(record + head)
                file.seek(at + length)
            file.truncate(file.tell())
    return total


def _packet_head(index: int, channels: int, packet_samples: int, payload_bytes: int) -> bytes:
    return pack_header(
        Header(
            magic=MAGIC,
            version=VERSION,
            kind=Kind.WIDEBAND,
            pad=0,
            epoch=1,
            sequence=index,
            sample_index=index * packet_samples,
            acquired_ns=0,
            sent_ns=0,
            acquired_clock=Clock.NONE,
            sent_clock=Clock.NONE,
            dtype=DType.INT16,
            layout=0,
            n_channels=channels,
            n_samples=packet_samples,
            n_items=0,
            rate_num=RATE.num,
            rate_den=RATE.den,
            uv_per_bit=0.25,
            descriptor_hash=0,
            flags=0,
            payload_bytes=payload_bytes,
            payload_crc32=0,
            source=0,
            reserved=RESERVED,
            header_crc32=0,
        )
    )


def large_log(
    *, n_bytes: int = BYTES, channels: int = CHANNELS, packet_samples: int = PACKET_SAMPLES
) -> dict[str, Any]:
    """Must-show 6: a recording of 20 GB.

    Args:
        n_bytes: Its length.
        channels: Channels.
        packet_samples: Samples in a packet.

    Returns:
        `passed`, `expected`, times of opening and searching, and the memory of a replay.
    """
    with tempfile.TemporaryDirectory(prefix="cx-") as scratch:
        folder = Path(scratch) / "large"
        progress(f"writing {n_bytes / 1e9:g} GB, of which the samples are holes")
        records = write_large_log(folder, n_bytes, channels, packet_samples)
        size = sum(path.stat().st_size for path in folder.glob("*.cxlog"))
        middle = records // 2
        opening = subprocess.run(
            [sys.executable, "-c", _OPENING, str(folder), str(middle)], capture_output=True, check=True, text=True
        )
        found = json.loads(opening.stdout)
        progress(f"opened in {found['open_s']:.3f} s; replaying")
        replayed = _replay(folder, Path(scratch), size)
    right = [0, middle, middle, records * packet_samples, [300, channels]]
    length = 128 + channels * packet_samples * 2
    checks = {
        "opens": found["open_s"] < OPEN_S,
        "finds": found.pop("right") == right,
        "sends all": (replayed["packets"], replayed["sent_bytes"]) == (records, records * length),
        "memory bounded": replayed["peak_mib"] < MOST_MIB and replayed["growth_mib"] < GROWTH_MIB,
    }
    return {
        "passed": all(checks.values()),
        "expected": f"open < {OPEN_S:g} s; replay < {MOST_MIB:g} MiB, growing < {GROWTH_MIB:g} MiB; nothing missing",
        "bytes": size,
        "records": records,
        **{name: round(value, 4) for name, value in found.items()},
        **{f"replay_{name}": value for name, value in replayed.items()},
        "checks": checks,
    }


def _replay(folder: Path, scratch: Path, size: int) -> dict[str, Any]:
    """Send all of it by the command, as fast as it is taken, and watch the process's memory from outside."""
    endpoint = f"ipc://{scratch}/rig"
    packets = sent = 0
    early = last = 0.0
    with zmq.Context() as context, context.socket(zmq.PULL) as pull:
        # What waits in either queue is memory too, and no part of the question.
        pull.set(zmq.RCVHWM, 16)
        pull.bind(endpoint)
        arguments = ["replay", str(folder), "--endpoint", endpoint, "--socket", "push", "--connect", "--speed", "fast"]
        began = time.monotonic()
        with subprocess.Popen([sys.executable, "-m", "cortexwire.cli", *arguments], stdout=subprocess.DEVNULL) as child:
            while child.poll() is None or pull.poll(0):
                if not pull.poll(_WAIT_MS if child.poll() is None and not packets else 200):
                    continue
                sent += len(pull.recv(copy=False).buffer)
                packets += 1
                if packets % 256 == 0 and child.poll() is None:
                    last = max(last, _resident_mib(child.pid))
                    early = last if sent < size // 10 else early
        seconds = time.monotonic() - began
    return {
        "packets": packets,
        "sent_bytes": sent,
        "seconds": round(seconds, 2),
        "mb_per_s": round(sent / 1e6 / seconds, 1),
        "peak_mib": round(last, 1),
        "growth_mib": round(last - early, 1),
    }


def _resident_mib(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(line.split()[1]) / 1024
