"""Programs and an API that speak the protocol: replay, simulator, subscriber, rig."""

from cortexwire.clients.curve import CurveClient
from cortexwire.clients.rig import Rig
from cortexwire.clients.subscriber import Subscriber

__all__ = ["CurveClient", "Rig", "Subscriber"]
