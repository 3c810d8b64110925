"""Celery's configuration: what workers, beat, Flower and every publisher share."""

from zea import config

broker_url = config.redis_url()
broker_use_ssl = config.broker_tls()
# Progress is kept in PostgreSQL alone: nothing is stored in a result backend, so nothing there can be lost or expire.
result_backend = "disabled://"
task_ignore_result = True

# A publish is bounded to a second in every failure, by being tried once and not waited for longer than it should take:
# the outbox (workflow_executions.due_at) repeats what was not sent. Workers look for a lost broker by rules of their
# own, see tasks/consumer.py.
task_publish_retry = False
broker_transport_options = {
    "max_retries": 0,
    "socket_connect_timeout": 0.3,
    "socket_timeout": 0.4,
    "socket_keepalive": True,
    "retry_on_timeout": False,
    "queue_order_strategy": "priority",
}
# As many as a process has threads that publish (zea.db.POOL_SIZE): none waits for another's turn to be told no.
broker_pool_limit = 20
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# A broker that is full, or cannot write to its disk, refuses: the worker tries again instead of ending.
broker_channel_error_retry = True

# A message is acknowledged when its work is committed; a second delivery finds the step done and changes nothing.
task_acks_late = True
task_reject_on_worker_lost = False
worker_prefetch_multiplier = 1

# How long a worker that is told to stop lets its running steps go on; what does not end in time is rolled back and put
# back into its queue.
worker_soft_shutdown_timeout = 3.0

# What a person waits for has a queue of its own, so that it never stands behind what nobody waits for. A slow mail
# server holds up neither bookings nor sweeps, because the sweeper has a process to spare; a report of a million
# sessions holds up nothing, because reports have a worker of their own.
task_default_queue = "workflows"
# The first pattern that fits counts.
task_routes = {
    "payment_report.*": {"queue": "reports"},
    "reports.*": {"queue": "sweeps"},
    "*.notify_*": {"queue": "notifications"},
    "notifications.deliver": {"queue": "mail"},
    "sweep.*": {"queue": "sweeps"},
}

# Flower shows what runs. Events for what is sent would double a publish's cost, and a request waits for its publish.
worker_send_task_events = True
worker_consumer = "tasks.consumer:PromptConsumer"
task_send_sent_event = False

timezone = "UTC"
enable_utc = True
worker_hijack_root_logger = False
