"""The durable layer over Celery; it knows nothing of sport.

Read it in the order in which an execution meets it:
signature, nodes, definition, policy, events, state, planner, start, canvas, dispatch, runner, attempt, binding,
approvals, progress, sweep, interventions, archive.
"""
