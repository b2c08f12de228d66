"""Where the clients of a hub come in: a file for each kind of wire."""
