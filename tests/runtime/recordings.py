"""A tap that is fed with real packets, a recorder as a process of its own, and a strict reader of what it wrote."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cortexwire.errors import ConfigError, PacketError
from cortexwire.runtime.recorder import RecorderClient, RecorderStatus, read_status
from cortexwire.runtime.rundir import RunDir
from cortexwire.runtime.tap import TapWriter
from cortexwire.types import Rate
from cortexwire.wire import (
    SEGMENT_HEADER_BYTES,
    Loss,
    PacketEncoder,
    RecordKind,
    decode_journal,
    decode_record,
    decode_segment_header,
)

CHANNELS = 64
SAMPLES = 30
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Entry:
    """One record of a log."""

    index: int
    kind: RecordKind
    t_ns: int
    payload: bytes
    segment: int


class Feeder:
    """An engine's side of the tap: packets of signal, an output now and then."""

    def __init__(self, run_dir: Path, megabytes: int = 4, *, epoch: int = 7) -> None:
        run_dir.mkdir(mode=0o700, exist_ok=True)
        self.run_dir = run_dir
        self.tap = TapWriter(RunDir(run_dir).tap, megabytes)
        self.encoder = PacketEncoder(Rate(30_000), CHANNELS, None, 0.25, epoch=epoch)
        self.sample = 0
        self.sent: list[tuple[RecordKind, int, bytes]] = []
        self._rng = np.random.default_rng(1)

    def put(self, kind: RecordKind, payload: bytes) -> None:
        """Put one record into the tap."""
        self.sent.append((kind, time.monotonic_ns(), payload))
        self.tap.append(*self.sent[-1])

    def packets(self, count: int, pause_s: float = 0.0) -> None:
        """Put packets of a millisecond of noise, and an output after every twentieth."""
        for _ in range(count):
            block = self._rng.integers(-1000, 1000, (SAMPLES, CHANNELS), np.int16)
            self.put(RecordKind.PACKET, self.encoder.wideband(self.sample, block))
            self.sample += SAMPLES
            if len(self.sent) % 20 == 0:
                self.put(RecordKind.OUTPUT, os.urandom(len(self.sent) % 97))
            if pause_s:
                time.sleep(pause_s)

    def close(self) -> None:
        """Close the tap."""
        self.tap.close()


class Recording:
    """A recorder as a process of its own."""

    def __init__(self, run_dir: Path, out: Path, *settings: str, wrapper: tuple[str, ...] = ()) -> None:
        self.run_dir = RunDir(run_dir)
        options = [word for setting in settings for word in ("--set", setting)]
        command = [sys.executable, "-P", "-m", "cortexwire.cli", "record", "--json"]
        self.process = subprocess.Popen(
            [*wrapper, *command, "--run-dir", str(run_dir), "--out", str(out), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def status(self) -> RecorderStatus:
        """What the recorder says of itself."""
        return read_status(self.run_dir.recorder)

    def until(self, what: Callable[[RecorderStatus], object]) -> RecorderStatus:
        """Wait until this recorder's status is so."""
        give_up = time.monotonic() + PATIENCE_S
        status = None
        while time.monotonic() < give_up:
            with suppress(ConfigError):
                status = self.status()
                if status.pid == self.process.pid and what(status):
                    return status
            if self.process.poll() is not None:
                raise AssertionError(f"the recorder ended: {self.process.communicate()}")
            time.sleep(0.002)
        raise AssertionError(f"waited for nothing: {status}")

    def until_written(self, feeder: Feeder) -> RecorderStatus:
        """Wait until all that was put is on the disk."""
        return self.until(lambda status: status.durable_index == len(feeder.sent))

    def tell(self, **request: str) -> dict[str, Any]:
        """Send a request."""
        with RecorderClient(self.run_dir.recorder_endpoint) as client:
            return client.send(request)

    def kill(self) -> None:
        """Kill it, and let go of its pipes."""
        self.process.send_signal(signal.SIGKILL)
        self.close()

    def stop(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """End it in good order; its summary, and its log."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, err
        log = [json.loads(line) for line in err.splitlines() if line.startswith(b"{")]
        return json.loads(out.splitlines()[-1])["summary"], log

    def close(self) -> None:
        """Kill it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@contextmanager
def recorder(run_dir: Path, out: Path, *settings: str, wrapper: tuple[str, ...] = ()) -> Iterator[Recording]:
    recording = Recording(run_dir, out, *settings, wrapper=wrapper)
    try:
        yield recording
    finally:
        recording.close()


def only_folder(out: Path) -> Path:
    (folder,) = out.iterdir()
    return folder


def read_log(folder: Path) -> list[Entry]:
    """All that counts of a recording; fails where anything is missing and no `LOSS` says so."""
    paths = sorted(folder.glob("*.cxlog"))
    headers = [decode_segment_header(path.read_bytes()[:SEGMENT_HEADER_BYTES]) for path in paths]
    assert [header.number for header in headers] == list(range(len(paths)))
    assert len({header.recording for header in headers}) == 1
    entries: list[Entry] = []
    expected = headers[0].first_index
    for number, (path, header) in enumerate(zip(paths, headers, strict=True)):
        end = headers[number + 1].first_index if number + 1 < len(headers) else 2**64
        assert header.first_index == expected
        content, at = path.read_bytes(), SEGMENT_HEADER_BYTES
        while at < len(content) and expected < end:
            try:
                record = decode_record(content, at)
            except PacketError:
                assert expected == end or number + 1 == len(headers), "damage that is not at the end"
                break
            assert record.index == expected & 0xFFFFFFFF
            entries.append(Entry(expected, record.kind, record.t_ns, bytes(record.payload), number))
            expected += decode_journal(record.payload, Loss).records if record.kind is RecordKind.LOSS else 1
            at = record.end
    return entries


def losses(entries: list[Entry]) -> list[Loss]:
    return [decode_journal(entry.payload, Loss) for entry in entries if entry.kind is RecordKind.LOSS]


def assert_same(entries: list[Entry], sent: list[tuple[RecordKind, int, bytes]]) -> None:
    """What was recorded is what was sent, and what is missing is said."""
    for entry in entries:
        if entry.kind is not RecordKind.LOSS:
            assert (entry.kind, entry.t_ns, entry.payload) == sent[entry.index]
