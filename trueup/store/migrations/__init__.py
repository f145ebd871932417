"""Alembic's scripts. How to add one is in ``env.py``."""
