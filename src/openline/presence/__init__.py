"""Presence: who is in a channel, across nodes."""
