import json
from pathlib import Path

from tests.cli.running import run_process

HEAVY = ("numpy", "numba", "onnx", "onnxruntime", "scipy", "torch", "zmq", "pydantic")
HELP = f"""
import sys
sys.argv = ["cortexwire", "--help"]
from cortexwire.cli import main
try:
    main()
finally:
    print([name for name in {HEAVY} if name in sys.modules])
"""
ENGINE = """
import signal, sys, threading

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("scipy", "torch"):
            raise ImportError(f"{name} may not be imported by an engine")

sys.meta_path.insert(0, Refuse())
import zmq
from cortexwire.cli import main
from cortexwire.wire import PacketEncoder
from cortexwire.types import Rate
import numpy as np

def feed():
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.connect("ipc://FOLDER/in")
        encoder = PacketEncoder(Rate(30_000), 96, None, 0.25, epoch=1)
        for packet in range(60):
            push.send(encoder.wideband(packet * 600, np.zeros((600, 96), np.int16)))
        push.send(encoder.end(36_000))
    threading.Timer(0.5, signal.raise_signal, (signal.SIGINT,)).start()

threading.Timer(0.1, feed).start()
sys.argv = ["cortexwire", "engine", "--json", "--bundle", "reference", "--socket", "pull", "--bind",
            "--ingest", "ipc://FOLDER/in", "--output", "ipc://FOLDER/out", "--run-dir", "FOLDER/run"]
main()
"""


def test_help_imports_nothing_heavy() -> None:
    ran = run_process(HELP)
    assert ran.returncode == 0, ran.stderr
    assert "Examples" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "[]"


def test_an_engine_needs_neither_torch_nor_scipy(tmp_path: Path) -> None:
    ran = run_process(ENGINE.replace("FOLDER", str(tmp_path)))
    assert ran.returncode == 0, ran.stderr
    ready, stopped = map(json.loads, ran.stdout.splitlines())
    assert ready["ready"]["ingest"] == f"ipc://{tmp_path}/in"
    assert stopped["summary"]["counters"]["accepted"] == 61
