"""The connection to Valkey and Redis: addresses, lines, topology, commands and pub/sub."""
