"""The servers that are measured, one file for each: the same room, as the makers of each library would write it."""
