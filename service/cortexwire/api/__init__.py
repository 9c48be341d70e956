"""The API: a process of its own that tells what an engine does, and hands it commands, without its ever waiting.

It reads what the engine leaves in the run directory (telemetry map, tap) and asks over its control socket; nothing
here runs in the engine's process.
"""
