"""Names of the worker's tasks. The web sends by name and never imports them; a test asserts that the worker has each."""

SEARCH_RUN = "search.run"
SAMPLESET_CHECK = "search.sampleset_check"
