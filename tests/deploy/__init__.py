"""The configurations of `deploy/`, in real nginx and real HAProxy, with two real nodes behind."""
