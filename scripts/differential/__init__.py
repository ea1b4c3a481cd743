"""The same programs on Granule and on Linux: scripts/diff."""
