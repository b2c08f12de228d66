"""Backend events: a hub whose handlers are another service, over real HTTP."""
