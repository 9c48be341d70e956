"""Export to NWB: what was recorded and what was decoded, as one file that other tools read and archives take."""

from cortexwire.runtime.nwb_export.crossings import Crossings, find_crossings
from cortexwire.runtime.nwb_export.logged import logged_recording
from cortexwire.runtime.nwb_export.offline import decoded_recording, session_crossings
from cortexwire.runtime.nwb_export.recording import MARK_DTYPE, Recording, Subject
from cortexwire.runtime.nwb_export.writing import export_nwb, require_pynwb

__all__ = [
    "MARK_DTYPE",
    "Crossings",
    "Recording",
    "Subject",
    "decoded_recording",
    "export_nwb",
    "find_crossings",
    "logged_recording",
    "require_pynwb",
    "session_crossings",
]
