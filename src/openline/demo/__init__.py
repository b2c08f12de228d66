"""The demo: a chat on Openline, written as an app would be, on the public names only.

`app` puts it together, `chat` declares the hub and its channels, `rooms` knows which rooms there are, `visitors` makes
the tokens, `pages` serves what `make web` built.
"""
