"""Programs and an API that speak the protocol: replay, simulator, subscriber, rig."""
