"""The connection to Valkey and Redis, piece by piece."""
