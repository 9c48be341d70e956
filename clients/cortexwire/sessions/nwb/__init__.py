"""NWB files as sessions, and the public reaching sessions of which there are MATLAB and NWB 1.0 files."""

from cortexwire.sessions.nwb.opening import open_nwb
from cortexwire.sessions.nwb.reaching import is_reaching, open_reaching
from cortexwire.sessions.nwb.streams import NwbStream, nwb_streams

__all__ = ["NwbStream", "is_reaching", "nwb_streams", "open_nwb", "open_reaching"]
