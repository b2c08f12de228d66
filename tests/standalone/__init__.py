"""`openline serve` as its users have it: a process of its own, with the released SDKs as its clients."""
