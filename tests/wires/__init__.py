"""Tests of the wires, and the servers and the client they use."""
