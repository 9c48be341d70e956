"""Supervision: the parts of the service as children, started again when they die or hang."""

from cortexwire.runtime.supervisor.notify import Notifier
from cortexwire.runtime.supervisor.parts import EnginePart, Part, WebPart
from cortexwire.runtime.supervisor.supervisor import Outcome, Supervisor

__all__ = ["EnginePart", "Notifier", "Outcome", "Part", "Supervisor", "WebPart"]
