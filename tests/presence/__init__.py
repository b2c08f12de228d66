"""Tests of the presence."""
