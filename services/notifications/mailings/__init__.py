"""The mailings, each a definition with its view; `app.py` lists those that are sent. How to add one: docs/howto."""
