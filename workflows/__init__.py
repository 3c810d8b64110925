"""The business processes, each in a file that reads like it, and the engine that runs them."""
