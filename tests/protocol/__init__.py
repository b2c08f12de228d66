"""Tests of the protocol's messages and their two encodings."""
