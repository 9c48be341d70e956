"""The dashboard beside drawn data: states that no rig can be made to show at will, and as many channels as wanted."""
