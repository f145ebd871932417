"""Training data: which rows, who may see them, and the files that they are trained from."""
