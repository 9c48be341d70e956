"""Fitting decoders and exporting them as bundles."""
