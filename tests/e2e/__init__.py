"""The product in a browser, against whole systems."""
