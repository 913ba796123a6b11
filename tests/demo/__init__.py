"""What `make run` shows: the whole of dbaudit on a real PostgreSQL, in one folder."""
