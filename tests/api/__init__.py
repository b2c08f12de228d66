"""The server HTTP API, asked as back ends ask it."""
