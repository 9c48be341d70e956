"""Recorded sessions, and their packets."""
