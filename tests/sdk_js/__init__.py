"""Scenarios with the released JavaScript SDK, run by node's own test runner; each is reported as a test of its own."""
