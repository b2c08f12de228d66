"""Tests of what the broker and the presence of NATS share."""
