"""Flower's configuration: it shows what runs, on this machine only, to whoever has its login.

Flower reads it where it is started, or where `--conf` says. What is on its command line goes before.
"""

from zea import logs
from zea.config import settings
from zea.stack.flower import history, login

logs.configure()

# Its /metrics and /healthcheck ask for no login, and its login can run tasks: nobody else is to reach it.
address = "127.0.0.1"
port = settings().flower_port
basic_auth = [login()]
# What it has seen is there again after a restart.
persistent = True
db = str(history())
state_save_interval = 5000  # milliseconds
