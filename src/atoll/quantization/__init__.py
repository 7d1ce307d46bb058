"""Float values → 8 bits: ranges, scales and zero points."""
