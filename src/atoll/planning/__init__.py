"""How many Edge TPUs a model, or several, need, and how they are arranged."""
