"""What a probe set is made of, and when answers on it are too good. Free of torch and SciPy: the web uses it."""
