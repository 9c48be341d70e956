"""Publisher: sends outputs without ever waiting, on queues so short that nobody is served old velocities.

The queue of each subscriber holds `high_water_bins` bins of at most `MESSAGES_PER_BIN` messages, though never less than
`BURST`, and the kernel's send buffer is kept small; what a subscriber does not take in time is dropped for that
subscriber alone. A full queue drops what is newest, so it has to hold what one packet of several bins, or the end of a
stall, brings about at once. A subscriber that wants only the newest message sets `ZMQ_CONFLATE`, which works because an
output is a single frame.
"""

import zmq

from cortexwire.config import OutputSocketSettings
from cortexwire.errors import ConfigError
from cortexwire.runtime.curve import CurveServer
from cortexwire.runtime.rundir import SocketFile

MESSAGES_PER_BIN = 2
"""A decoded and a safe message."""
BURST = 64
"""Messages that may be sent at once, before the I/O thread takes the first of them."""
_SEND_BUFFER_BYTES = 16 * 1024


class Publisher:
    """A PUB socket for one thread.

    Attributes:
        sent: Messages handed to the socket.
        sent_bytes: Their length together.

    Args:
        settings: Endpoint, bind or connect, depth of the queues.
        context: ZeroMQ context whose I/O thread serves the socket.
        outputs_per_bin: Outputs that come in the time of a bin, so that a queue holds as much time however many.
        curve: Protects it where other machines reach it.

    Raises:
        ConfigError: The endpoint cannot be bound or connected to.
    """

    def __init__(
        self,
        settings: OutputSocketSettings,
        context: zmq.Context[zmq.Socket[bytes]],
        outputs_per_bin: int = 1,
        curve: CurveServer | None = None,
    ) -> None:
        self.sent = 0
        self.sent_bytes = 0
        self._socket = context.socket(zmq.PUB)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.SNDHWM, max(BURST, settings.high_water_bins * MESSAGES_PER_BIN) * outputs_per_bin)
        self._socket.set(zmq.SNDBUF, _SEND_BUFFER_BYTES * settings.high_water_bins)
        if curve is not None:
            curve.secure(self._socket, settings.endpoint)
        try:
            if settings.bind:
                self._socket.bind(settings.endpoint)
            else:
                self._socket.connect(settings.endpoint)
        except zmq.ZMQError as error:
            self._socket.close()
            verb = "bind" if settings.bind else "connect to"
            raise ConfigError(
                f"output.endpoint: cannot {verb} {settings.endpoint}: {zmq.strerror(error.errno or 0)}"
            ) from error
        self.endpoint = self._socket.get_string(zmq.LAST_ENDPOINT)
        self._file = SocketFile(self.endpoint) if settings.bind else None

    def send(self, message: bytes | bytearray) -> None:
        """Hand one message to every subscriber whose queue has room; never waits."""
        self._socket.send(message, zmq.NOBLOCK)
        self.sent += 1
        self.sent_bytes += len(message)

    def close(self) -> None:
        """Close the socket; what is queued is dropped."""
        if self._file is not None:
            self._file.remove()
        self._socket.close()
