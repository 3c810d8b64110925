"""The embedded stack behind `zea up`: PostgreSQL, the broker, and every process of zea, on one machine."""
