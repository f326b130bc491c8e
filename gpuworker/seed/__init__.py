"""The demo catalog: built by `./dev seed` from data that the dependencies ship, published by `manage.py seed`."""
