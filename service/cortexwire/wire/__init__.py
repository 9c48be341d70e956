"""The wire protocol: bytes to packets, outputs and records, and back; pure."""
