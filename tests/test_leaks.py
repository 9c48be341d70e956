import subprocess
import sys
import threading

import zmq

from tests.leaks import Census


def test_an_open_socket_and_its_context_are_found() -> None:
    before = Census.take()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.PUB)
    assert [name.split()[1] for name in Census.take().since(before)] == ["Context", "Socket"]
    socket.close()
    context.term()
    assert Census.take().since(before) == []


def test_a_daemon_thread_of_ours_is_found() -> None:
    before = Census.take()
    release = threading.Event()

    def wait() -> None:
        release.wait()

    thread = threading.Thread(target=wait, name="of ours", daemon=True)
    thread.start()
    assert Census.take().since(before) == ["thread 'of ours'"]
    release.set()
    thread.join()
    assert Census.take().since(before) == []


def test_a_process_is_found_even_when_its_parent_has_ended() -> None:
    before = Census.take()
    sleeper = "import sys; print(flush=True); sys.stdin.read()"
    parent = (
        f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {sleeper!r}]); child.returncode = 0"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.wait()
        assert len(Census.take().since(before)) == 1
