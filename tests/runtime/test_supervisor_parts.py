"""What a supervisor does about parts that die, hang, do not start, or do not end; with small real processes."""

import os
import signal
import time
from pathlib import Path

import pytest

from cortexwire.config import SupervisorSettings
from cortexwire.errors import StartupError
from cortexwire.runtime.children import ChildError
from cortexwire.runtime.supervisor import Part, WebPart
from cortexwire.runtime.supervisor.pulse import LONGEST_LOOK_S, Pulse
from cortexwire.runtime.supervisor.restarts import FIRST_PAUSE_S, LONGEST_PAUSE_S, Restarts
from tests.runtime.standins import SAYS_READY, WORKS, script, served, until


def counting(path: Path, then: str) -> str:
    return f"{SAYS_READY}open({str(path)!r}, 'a').write('x'); ready(); {then}"


def starts(path: Path) -> int:
    return len(path.read_text()) if path.exists() else 0


def test_the_first_death_in_a_row_is_answered_at_once_and_later_ones_after_growing_pauses() -> None:
    restarts = Restarts(most=4, settled_s=10.0)
    assert [restarts.died(0.0) for _ in range(5)] == [0.0, FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S, None]


def test_a_sound_run_ends_a_row_of_deaths_and_pauses_are_bounded() -> None:
    restarts = Restarts(most=1000, settled_s=10.0)
    for _ in range(500):
        restarts.died(9.9)
    assert restarts.died(9.9) == LONGEST_PAUSE_S
    assert restarts.died(10.0) == 0.0
    assert restarts.total == 502


def test_a_pulse_counts_silence_by_its_own_looks() -> None:
    beats = iter([None, 5, 5, 5, 6, 6])
    pulse = Pulse(lambda _pid: next(beats))
    pulse.begin(100.0)
    looks = [pulse.silent_s(1, now) for now in (100.1, 100.2, 100.3, 100.4, 100.5)]
    assert looks == pytest.approx([0.0, 0.0, 0.1, 0.2, 0.0])
    # Whoever did not look for an hour has seen half a second of silence, not an hour.
    assert pulse.silent_s(1, 3700.0) == LONGEST_LOOK_S


def test_a_killed_part_is_started_again_and_the_others_are_left_alone() -> None:
    with served([Part("first", script(WORKS), vital=True), Part("second", script(WORKS))]) as service:
        first, second = service.said["first"]["pid"], service.said["second"]["pid"]
        os.kill(second, signal.SIGKILL)
        again = until(lambda: service.happened("started again", "second"))[0]
        assert again["pid"] != second
        assert service.happened("died", "second")[0]["why"] == "signal SIGKILL"
        assert not service.happened("died", "first")
        os.kill(first, 0)
        assert service.end().restarts == {"first": 0, "second": 1}


def test_a_part_that_lives_and_does_nothing_is_killed_and_started_again(tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    beats = f"""
ready()
while True:
    open({str(beat)!r}, 'w').write(f'{{os.getpid()}} {{time.monotonic_ns()}}')
    time.sleep(0.05)
"""

    def read(pid: int) -> int | None:
        words = beat.read_text().split() if beat.exists() else []
        return int(words[1]) if len(words) == 2 and words[0] == str(pid) else None

    part = Part("beating", script(SAYS_READY + beats), beat=read)
    with served([part], SupervisorSettings(hung_after_ms=500)) as service:
        pid = service.said["beating"]["pid"]
        until(lambda: read(pid))
        os.kill(pid, signal.SIGSTOP)
        until(lambda: service.happened("started again"))
        assert "hung: no heartbeat for" in service.happened("died")[0]["why"]


def test_a_vital_part_that_keeps_dying_ends_the_service_with_the_reason(tmp_path: Path) -> None:
    count = tmp_path / "starts"
    dies = counting(count, "print('cannot go on: no tape', file=sys.stderr); os._exit(3)")
    parts = [Part("tape", script(dies), vital=True), Part("other", script(WORKS))]
    with served(parts, SupervisorSettings(most_restarts=2)) as service:
        service.wait()
        assert isinstance(service.error, ChildError)
        assert str(service.error).startswith("the tape died 3 times in a row; the last time: exit code 3")
        assert "cannot go on: no tape" in str(service.error)
        assert starts(count) == 3


def test_another_part_that_keeps_dying_is_given_up_and_the_service_goes_on(tmp_path: Path) -> None:
    count = tmp_path / "starts"
    dies = counting(count, "os._exit(3)")
    parts = [Part("vital", script(WORKS), vital=True), Part("other", script(dies))]
    with served(parts, SupervisorSettings(most_restarts=1)) as service:
        until(lambda: service.happened("given up", "other"))
        os.kill(service.said["vital"]["pid"], 0)
        assert service.end().code == 0


def test_all_that_keeps_parts_from_starting_is_said_together_and_nothing_is_left_running(tmp_path: Path) -> None:
    two = "import sys; sys.exit('cortexwire: 2 problem(s) at start-up:\\n  - no tape\\n  - no ink')"
    late = "import time; time.sleep(60)"
    parts = [
        Part("printer", script(two), vital=True),
        Part("other", script(WORKS)),
        Part("late", script(late), start_s=0.2),
        Part("mute", script("raise SystemExit(4)")),
    ]
    with served(parts) as service:
        service.wait()
        assert isinstance(service.error, StartupError)
        assert service.error.problems == (
            "printer: no tape",
            "printer: no ink",
            "late: not ready within 0.2 s",
            "mute: ended with exit code 4",
        )
        assert not service.said


def test_parts_end_in_the_order_in_which_they_are_given() -> None:
    parts = [Part(name, script(WORKS), vital=name == "b") for name in ("b", "a", "c")]
    with served(parts) as service:
        ended = {name: said["at"] for name, said in service.end().summaries.items()}
        assert sorted(ended, key=ended.__getitem__) == ["b", "a", "c"]


def test_a_part_that_does_not_end_is_ended_by_force_in_time_or_at_a_second_request() -> None:
    deaf = SAYS_READY + "signal.signal(signal.SIGINT, signal.SIG_IGN); ready(); signal.pause()"
    with served([Part("deaf", script(deaf), vital=True, stop_s=0.1)]) as service:
        assert service.end().code == 128 + signal.SIGKILL
    with served([Part("deaf", script(deaf), vital=True, stop_s=1000)]) as service:
        service.stop.set()
        time.sleep(0.2)
        assert service.thread.is_alive()
        service.force.set()
        service.wait()
        assert service.happened("ended by force", "deaf")


def test_a_vital_part_that_ends_in_good_order_ends_the_service() -> None:
    with served([Part("vital", script(WORKS), vital=True), Part("other", script(WORKS))]) as service:
        os.kill(service.said["vital"]["pid"], signal.SIGINT)
        service.wait()
        assert service.outcome is not None
        assert service.outcome.code == 0


def test_a_stop_while_parts_start_ends_them() -> None:
    with served([Part("slow", script("import time; time.sleep(60)"), vital=True)], ready=False) as service:
        outcome = service.end()
        assert outcome.code != 0
        assert not service.said


def test_what_parts_log_is_passed_on_under_their_names() -> None:
    logs = (
        SAYS_READY
        + """
print(json.dumps({"event": "tape low", "level": "warning", "timestamp": "2020", "left_m": 3}), file=sys.stderr)
print("no log at all", file=sys.stderr, flush=True)
ready(); signal.pause()
"""
    )
    with served([Part("tape", script(logs))]) as service:
        event = until(lambda: service.happened("tape low"))[0]
        assert {"part": "tape", "left_m": 3, "level": "warning", "timestamp": "2020"}.items() <= event.items()
        assert until(lambda: service.happened("no log at all", "tape"))


def test_a_web_server_that_no_longer_answers_is_killed_and_started_again() -> None:
    answers = (
        SAYS_READY
        + """
from http.server import BaseHTTPRequestHandler, HTTPServer
server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
ready(url=f"http://127.0.0.1:{server.server_port}")
server.serve_forever()
"""
    )
    part = WebPart("web", script(answers))
    part.hung_after_s = 3.0
    with served([part]) as service:
        pid = service.said["web"]["pid"]
        # It answers that it has no such thing, which is an answer.
        until(lambda: part.beat is not None and part.beat(pid))
        os.kill(pid, signal.SIGSTOP)
        until(lambda: service.happened("started again"))
        assert "hung" in service.happened("died")[0]["why"]


def test_a_part_that_closes_its_output_and_lives_is_left_alone() -> None:
    closes = SAYS_READY + "ready(); os.close(1); os.close(2); signal.pause()"
    with served([Part("quiet", script(closes), vital=True)]) as service:
        time.sleep(0.3)
        assert not service.happened("died")
        service.end()
