"""Every speed claim as a script that anyone can run."""
