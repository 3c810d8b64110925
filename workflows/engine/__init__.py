"""The durable layer over Celery; it knows nothing of sport.

Read it in the order in which an execution meets it:
definition, events, state, planner, canvas, runner, dispatch, sweep.
"""
