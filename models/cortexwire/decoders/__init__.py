"""What serving needs of a model: bundle, overlay, runtime session."""
