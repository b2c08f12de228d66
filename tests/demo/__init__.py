"""The demo's server side; its page is driven in tests/browser."""
