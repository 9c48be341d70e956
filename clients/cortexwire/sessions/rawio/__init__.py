"""What acquisition systems write, read through `neo.rawio`: lazily, by stream and by stretch without a gap."""

from cortexwire.sessions.rawio.formats import Format, recognise
from cortexwire.sessions.rawio.opening import StreamChoiceError, open_rawio
from cortexwire.sessions.rawio.recording import RawRecording

__all__ = ["Format", "RawRecording", "StreamChoiceError", "open_rawio", "recognise"]
