"""Model zoos: tasks found in a folder of labelled data, and many small networks trained on their domains.

A task is a label space with at least two domains; a zoo is what one seed makes of a task. Every model reads its inputs through the
product's own readers and encoders, so that it could be published as it is.
"""
