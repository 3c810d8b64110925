"""The sports-coaching platform: accounts, slots, bookings, credits, and the doors to them (HTTP, command line)."""

__version__ = "0.1.0"
