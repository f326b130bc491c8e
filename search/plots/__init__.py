"""Plots drawn on the server: numbers in, marks with coordinates out. One template draws them all, beside a table twin."""
