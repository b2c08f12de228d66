"""The server HTTP API: what back ends in any language ask of a hub."""
