"""One suite of scenarios, run with a released client against one program on three servers."""
