"""The routes: what opens a line, whatever its wire."""
