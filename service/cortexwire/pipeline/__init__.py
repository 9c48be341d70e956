"""The engine's logic as one pure object."""
