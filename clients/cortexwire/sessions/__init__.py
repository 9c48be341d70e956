"""Recorded sessions, and their packets."""

from cortexwire.sessions.opening import open_session
from cortexwire.sessions.packets import session_packets
from cortexwire.sessions.recorded import RecordedSession
from cortexwire.sessions.session import SPIKE_DTYPE, TRIAL_DTYPE, Session

__all__ = ["SPIKE_DTYPE", "TRIAL_DTYPE", "RecordedSession", "Session", "open_session", "session_packets"]
