"""The tests of Openline: they mirror src/openline, file by file."""
