"""The test suites SDKs are published with, run against `openline serve` as they are; nothing of them is kept here."""
