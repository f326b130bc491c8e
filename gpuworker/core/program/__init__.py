"""The model representation: programs, their operators, keys, execution and the tensor store."""
