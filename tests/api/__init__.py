"""The REST API: its schema, its scopes, its behaviour under strange input."""
