"""Programs and an API that speak the protocol: replay, simulator, subscriber, rig."""

from cortexwire.clients.rig import Rig
from cortexwire.clients.subscriber import Subscriber

__all__ = ["Rig", "Subscriber"]
