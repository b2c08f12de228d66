"""Wires: how bytes reach one client."""
