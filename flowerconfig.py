"""Flower's configuration: it shows what runs, on this machine only, to whoever has its login.

Flower reads it wherever it is started, because `tasks` says where it is. What is on its command line goes before.
"""

import sys

from zea import logs
from zea.config import settings
from zea.errors import ConfigurationError
from zea.stack import flower

logs.configure()

# Its /metrics and /healthcheck ask for no login, and its login can run tasks: nobody else is to reach it.
address = "127.0.0.1"
port = settings().flower_port
try:
    basic_auth = [flower.login(settings())]
except ConfigurationError as error:
    sys.exit(f"zea: {error.message}")
# What it has seen is there again after a restart.
persistent = True
db = str(flower.history(settings()))
state_save_interval = 5000  # milliseconds

if settings().flower_basic_auth is None:
    sys.stderr.write(f"ZEA_FLOWER_BASIC_AUTH is not set: the login is {basic_auth[0]} until Flower ends.\n")
