import os
from pathlib import Path

import pytest

from cortexwire.config import EngineConfig, default_run_dir, load_config, nested
from cortexwire.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    file = folder / "engine.toml"
    file.write_text(text)
    return file


def test_everything_has_a_default() -> None:
    config = load_config(env={})
    assert config.ingest.endpoint == "tcp://127.0.0.1:5555"
    assert not config.armed
    assert config == EngineConfig(run_dir=config.run_dir)


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    file = written(tmp_path, "armed = true\n[tap]\nmegabytes = 1\nenabled = false\n[ingest]\nhigh_water_ms = 5.0\n")
    env = {"CORTEXWIRE_TAP__MEGABYTES": "2", "CORTEXWIRE_INGEST__HIGH_WATER_MS": "6.5"}
    config = load_config(file, env, {"tap.megabytes": 3})
    assert config.tap.megabytes == 3
    assert config.ingest.high_water_ms == 6.5
    assert config.armed
    assert not config.tap.enabled


def test_flags_that_were_not_given_change_nothing() -> None:
    config = load_config(env={"CORTEXWIRE_ARMED": "yes"}, flags={"armed": None, "tap": {"megabytes": 8}})
    assert config.armed
    assert config.tap.megabytes == 8


def test_the_environment_speaks_json_where_a_value_has_parts() -> None:
    env = {
        "CORTEXWIRE_PIPELINE__OUTPUT__GAIN": "[[1, 0], [0, 2]]",
        "CORTEXWIRE_FRONT_END__REFERENCE": '{"mode": "median"}',
        "CORTEXWIRE_FRONT_END__BIN_MS": "10",
        "CORTEXWIRE_REALTIME__CPU": "null",
        "CORTEXWIRE_RUN_DIR": "{odd",
    }
    config = load_config(env=env)
    assert config.pipeline.output.gain == ((1.0, 0.0), (0.0, 2.0))
    assert config.front_end == {"reference": {"mode": "median"}, "bin_ms": "10"}
    assert config.realtime.cpu is None
    assert config.run_dir == Path("{odd")


def test_a_table_in_the_environment_is_laid_over_that_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, '[ingest]\nendpoint = "ipc:///a"\nsocket = "pull"\n')
    config = load_config(file, {"CORTEXWIRE_INGEST": '{"socket": "sub"}'})
    assert (config.ingest.endpoint, config.ingest.socket) == ("ipc:///a", "sub")


def test_every_fault_is_named_with_its_key_and_the_place_that_it_came_from(tmp_path: Path) -> None:
    file = written(tmp_path, 'armd = true\n[ingest]\nendpoint = "udp://x"\n[pipeline.safety]\nhold_ms = -1\n')
    env = {"CORTEXWIRE_TAP__MEGABYTES": "many", "CORTEXWIRE_PIPELINE__OUTPUT__GAIN": '["a"]'}
    with pytest.raises(ConfigError) as raised:
        load_config(file, env, {"output.high_water_bins": 0})
    message = str(raised.value)
    assert f"ingest.endpoint (in {file}): expected tcp://HOST:PORT or ipc://PATH, got 'udp://x'" in message
    assert f"armd (in {file}): there is no such setting" in message
    assert f"pipeline.safety.hold_ms (in {file}): " in message
    assert "tap.megabytes (from environment variable CORTEXWIRE_TAP__MEGABYTES): " in message
    assert "pipeline.output.gain (from environment variable CORTEXWIRE_PIPELINE__OUTPUT__GAIN): " in message
    assert "output.high_water_bins (from a flag): " in message


def test_a_value_in_the_place_of_a_table_is_named() -> None:
    with pytest.raises(ConfigError, match=r"tap \(from environment variable CORTEXWIRE_TAP\): .*got 'x'"):
        load_config(env={"CORTEXWIRE_TAP": "x"}, flags={"ingest.bind": True})
    with pytest.raises(ConfigError, match=r"^tap \(from a flag\): .*got 3$"):
        load_config(flags={"tap": 3}, env={})


def test_a_table_in_the_place_of_a_value_is_named() -> None:
    with pytest.raises(ConfigError, match=r"pipeline\.output\.gain \(from environment variable CORTEXWIRE_.*__X\): "):
        load_config(env={"CORTEXWIRE_PIPELINE__OUTPUT__GAIN__X": "1"})


def test_an_unknown_variable_is_refused_and_the_nearest_one_named() -> None:
    with pytest.raises(ConfigError, match="did you mean CORTEXWIRE_ARMED"):
        load_config(env={"CORTEXWIRE_ARMD": "1"})
    with pytest.raises(ConfigError, match=r"there is no setting 'zzz'$"):
        load_config(env={"CORTEXWIRE_ZZZ__Y": "1"})
    with pytest.raises(ConfigError, match=r"ingest\.prt \(from environment variable CORTEXWIRE_INGEST__PRT\)"):
        load_config(env={"CORTEXWIRE_INGEST__PRT": "1"})


def test_variables_that_are_no_settings_are_left_alone() -> None:
    assert load_config(env={"CORTEXWIRE_CACHE": "/c", "CORTEXWIRE_DATA": "/d", "PATH": "/bin"}).tap.enabled


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.toml: No such file"):
        load_config(tmp_path / "absent.toml", {})
    with pytest.raises(ConfigError, match=r"engine.toml: expected TOML"):
        load_config(written(tmp_path, "armed = = 1"), {})


def test_an_overlay_without_a_bundle_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^overlay: expected a bundle"):
        load_config(env={}, flags={"overlay": "day.npz"})


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTEXWIRE_TAP__MEGABYTES", "5")
    assert load_config().tap.megabytes == 5


def test_the_run_directory_is_the_users_own(tmp_path: Path) -> None:
    assert default_run_dir({"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "cortexwire"
    assert str(os.getuid()) in default_run_dir({"XDG_RUNTIME_DIR": str(tmp_path / "absent")}).name
    assert load_config(env={"XDG_RUNTIME_DIR": str(tmp_path)}).run_dir == tmp_path / "cortexwire"


def test_the_description_lists_every_key_once() -> None:
    lines = load_config(env={}, flags={"bundle": "b", "front_end.reference.mode": "mean"}).describe().splitlines()
    assert "bundle = b" in lines
    assert "front_end.reference.mode = mean" in lines
    assert "pipeline.safety.hold_ms = 100.0" in lines
    keys = [line.partition(" = ")[0] for line in lines]
    assert len(keys) == len(set(keys))


def test_assignments_go_before_flags_and_read_values_as_the_environment_does() -> None:
    found = load_config(
        env={},
        flags={"ingest.bind": False, "bundle": "b"},
        assignments=("ingest.bind=true", "pipeline.deadline.deadline_ms=null", "pipeline.output.gain=[[1, 0], [0, 2]]"),
    )
    assert found.ingest.bind
    assert found.pipeline.deadline.deadline_ms is None
    assert found.pipeline.output.gain == ((1.0, 0.0), (0.0, 2.0))
    assert found.bundle == Path("b")


@pytest.mark.parametrize("text", ["armed", "=true", ""])
def test_an_assignment_without_a_key_or_value_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected KEY=VALUE"):
        load_config(env={}, assignments=(text,))


def test_a_wrong_assignment_names_where_it_came_from() -> None:
    with pytest.raises(ConfigError, match=r"ingest\.endpont \(from --set\): there is no such setting"):
        load_config(env={}, assignments=("ingest.endpont=tcp://a:1",))


def test_values_by_path_become_a_tree() -> None:
    assert nested({"a.b": 1, "a.c": 2, "d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}
