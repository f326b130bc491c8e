"""Strict readers, one per accepted file format: untrusted bytes to Program. Nothing is unpickled, compiled or imported."""
