"""Brokers carry publications between nodes and keep history. One third-party client, one file."""
