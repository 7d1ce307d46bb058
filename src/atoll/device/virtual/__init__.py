"""The virtual Edge TPU: a delegate that runs a region on the CPU."""
