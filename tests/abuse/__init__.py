"""What clients do that are broken or mean harm: on real servers and real sockets, beside clients that do neither."""
