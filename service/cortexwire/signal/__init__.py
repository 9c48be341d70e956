"""The signal chain: causal stages and the fused front end."""
