"""What processes share: the database (any SQLAlchemy URL that is supported) and the blob root."""
