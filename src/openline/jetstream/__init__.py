"""What the broker and the presence of NATS share: where it is, how it is reached, and what is kept in JetStream."""
