"""The Centrifuge client protocol: its messages and their two encodings. No I/O and no clock here."""
