"""Hot swaps asked for over the API, of a real engine: each job tells what became of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cortexwire.config import ApiSettings
from cortexwire.decoders import Bundle
from cortexwire.pipeline.commands import ActivateBundle, StageBundle
from cortexwire.runtime.control import ControlClient
from cortexwire.runtime.rundir import RunDir
from cortexwire.training import seeded_bundle
from tests.api.serving import GENEROUS, Served, serving
from tests.runtime.test_swap_live import STREAM, running, settings_of


def bundle(folder: Path, name: str, seed: int) -> Bundle:
    folder.mkdir(exist_ok=True)
    return seeded_bundle(folder / name, seed=seed, stream=STREAM, history=4)


@contextmanager
def swapping(folder: Path) -> Iterator[Served]:
    """A real engine that decodes `old`, and an API that offers `new` and `other`."""
    old = bundle(folder, "old", 1)
    api = ApiSettings(bind="127.0.0.1:0", bundles=folder / "offered", **GENEROUS)
    settings = settings_of(folder, old, api=api)
    with running(settings) as rig, serving(settings) as served:
        rig.state(lambda state: state["state"] == "running" and state["bin"] > 0)
        yield served


def ended(api: Served, path: str, body: object = None) -> Any:
    """The job that a request begins, once it is over."""
    answer = api.post(path, body)
    assert answer.status_code == 202, answer.text
    return api.until(answer.headers["location"], lambda job: job["state"] != "running")


def test_a_staged_bundle_is_followed_until_it_is_ready_whatever_was_staged_before(tmp_path: Path) -> None:
    new, other = bundle(tmp_path / "offered", "new", 2), bundle(tmp_path / "offered", "other", 3)
    with swapping(tmp_path) as api:
        for name, wanted in (("new", new), ("other", other), ("new", new)):
            job = ended(api, "/v1/bundle/stage", {"name": name})
            assert (job["state"], job["problem"]) == ("done", None)
            assert job["result"]["bundle_hash"] == f"{wanted.hash:016x}"
        refused = ended(api, "/v1/bundle/stage", {"name": "new", "sha256": "0" * 64})
        assert refused["state"] == "failed"
        assert "expected sha256 0000" in refused["problem"]


def test_a_takeover_is_done_only_if_it_happened(tmp_path: Path) -> None:
    new = bundle(tmp_path / "offered", "new", 2)
    with swapping(tmp_path) as api:
        assert ended(api, "/v1/bundle/stage", {"name": "new"})["state"] == "done"
        here = api.get("/v1/state").json()["engine"]["bin"]
        began = api.post("/v1/bundle/activate", {"at_bin": here + 100_000}).headers["location"]
        assert api.post("/v1/bundle/rollback").status_code == 200
        job = api.until(began, lambda job: job["state"] != "running")
        assert job["state"] == "failed"
        assert f"did not take over at bin {here + 100_000}" in job["problem"]
        done = ended(api, "/v1/bundle/activate", {"crossfade_bins": 3})
        assert (done["state"], done["result"]["bundle_hash"]) == ("done", f"{new.hash:016x}")
        assert api.post("/v1/bundle/activate").status_code in (409, 422)


def test_a_bundle_that_is_on_offer_is_offered_once_wherever_the_engine_took_it_from(tmp_path: Path) -> None:
    bundle(tmp_path / "offered", "same", 1)
    with swapping(tmp_path) as api:
        api.until("/v1/state", lambda state: state["engine"]["bundle_name"])
        assert [entry["name"] for entry in api.get("/v1/bundles").json()["bundles"]] == ["same", "reference"]


def test_the_neutral_stop_and_the_bundle_show_whoever_asked_for_them(tmp_path: Path) -> None:
    """The page may come long after, and a bundle need not be on offer."""
    new = bundle(tmp_path / "elsewhere", "new", 2)
    with swapping(tmp_path) as api:
        with ControlClient(RunDir(api.folder).control_endpoint) as operator:
            for on in (True, False):
                assert operator.send({"command": "neutral", "on": on}).problem is None
                api.until("/v1/state", lambda state, on=on: state["engine"]["neutral"] is on)  # type: ignore[misc]
            assert operator.send(StageBundle(str(new.path))).problem is None
            while (operator.state().state or {})["candidate"]["phase"] != "ready":
                time.sleep(0.05)
            assert operator.send(ActivateBundle()).problem is None
        state = api.until("/v1/state", lambda state: state["engine"]["bundle_hash"] == f"{new.hash:016x}")
        engine = state["engine"]
        assert (engine["bundle_name"], engine["bin_ms"]) == (new.manifest.name, 20.0)
        assert engine["unit"] == new.manifest.velocity.unit
