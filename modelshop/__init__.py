"""The client: a Python class and the `modelshop` command. It speaks the REST API and needs nothing of the server."""
