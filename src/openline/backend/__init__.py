"""Backend events: a service behind the hub is asked over HTTP what handlers are asked in an app."""

from openline.backend.events import BackendEvents

__all__ = ["BackendEvents"]
