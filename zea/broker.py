"""The Celery application object. It has no tasks: who dispatches does so by task name."""

from celery import Celery

app = Celery("zea")
app.config_from_object("celeryconfig")
