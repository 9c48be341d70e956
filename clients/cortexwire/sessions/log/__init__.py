"""The log as the recorder leaves it: its records, what is wrong with them, and its streams as sessions."""

from cortexwire.sessions.log.faults import Fault, FaultKind
from cortexwire.sessions.log.log import Log, is_log, log_folder, open_log
from cortexwire.sessions.log.repair import repair_log
from cortexwire.sessions.log.session import LogSession, log_session
from cortexwire.sessions.log.verify import Verification, verify_log
from cortexwire.sessions.log.walk import LogRecord, Place, Walk

__all__ = [
    "Fault",
    "FaultKind",
    "Log",
    "LogRecord",
    "LogSession",
    "Place",
    "Verification",
    "Walk",
    "is_log",
    "log_folder",
    "log_session",
    "open_log",
    "repair_log",
    "verify_log",
]
