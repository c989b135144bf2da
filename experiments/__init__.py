"""Experiments baked into the client image; each runs as `python -m experiments.<name>.entrypoint`."""
