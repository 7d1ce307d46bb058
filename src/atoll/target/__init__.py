"""The Edge TPU as data: what the stages know about the chip."""
