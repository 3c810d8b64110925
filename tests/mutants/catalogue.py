"""The protections of zea, each with the source without it and the test that must go red then.

docs/reliability.md shows them as tables, which `python -m tests.mutants --table` prints.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """A protection, what goes wrong without it, and how it is taken out: ``old`` becomes ``new`` in ``file``.

    ``old`` stands in the file exactly once. One of ``tests``, named as pytest does, must fail; they are the cheapest.
    """

    name: str
    protection: str
    without: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def staleness(self, root: Path) -> str | None:
        """Why it cannot be applied any more, or None."""
        found = (root / self.file).read_text().count(self.old)
        return (
            None if found == 1 else f"{self.name}: its anchor is stale, {self.file} has it {found} times:\n{self.old}"
        )

    def applied_to(self, source: str) -> str:
        assert source.count(self.old) == 1, f"{self.name}: its anchor is stale"
        return source.replace(self.old, self.new)

    def row(self) -> str:
        """A row of the table in docs/reliability.md."""
        tests = "<br>".join(f"`{test.removeprefix('tests/')}`" for test in self.tests)
        return f"| `{self.name}` | {self.protection} | {self.without} | `{self.file}` | {tests} |"


HEAD = "| mutant | protection | without it | lives in | goes red |\n|---|---|---|---|---|"

RUNNER = "tests/integration/test_runner.py::"
FAILURES = "tests/integration/test_failures.py::"
PROTECTIONS = "tests/integration/test_protections.py::"
DATABASE = "tests/integration/test_database.py::"
OUTAGE_TESTS = "tests/e2e/test_outages.py::"
FAULTS = "tests/e2e/test_faults.py::"
STORE = "workflows/engine/store.py"
BACKLOG = "workflows/engine/backlog.py"
SWEEP = "workflows/engine/sweep.py"

CLAIM = (
    Mutant(
        "claim_without_lock",
        "A delivery takes an advisory lock, without waiting for it.",
        "A duplicate waits for the whole step, or runs a branch a second time beside the first.",
        STORE,
        "SELECT pg_try_advisory_xact_lock(%(key)s) AS claimed",
        "SELECT %(key)s::bigint IS NOT NULL AS claimed",
        (PROTECTIONS + "TestClaim::test_a_duplicate_is_told_at_once",),
    ),
    Mutant(
        "row_without_the_lock",
        "The row is locked only if the advisory lock was got.",
        "A duplicate waits for the row, and holds a process, for as long as the step runs.",
        STORE,
        "WHERE claim.claimed AND id = %(id)s",
        "WHERE id = %(id)s",
        (PROTECTIONS + "TestClaim::test_a_duplicate_is_told_at_once",),
    ),
    Mutant(
        "lock_and_row_at_once",
        "Lock and row are two levels of one statement, the lock first.",
        "In one target list a duplicate waits for the whole step, and is dropped even if the holder rolls back.",
        STORE,
        """        WITH claim AS MATERIALIZED (
            SELECT pg_try_advisory_xact_lock(%(key)s) AS claimed, clock_timestamp() AS now,
                {LIMITS}{TRANSACTION_LIMIT if whole_transaction else ""}
        )
        SELECT claim.claimed, claim.now, execution.*
        FROM claim LEFT JOIN LATERAL (
            SELECT {COLUMNS} FROM workflow_executions
            WHERE claim.claimed AND id = %(id)s {"FOR NO KEY UPDATE" if with_row else ""}
        ) AS execution ON true""",
        """        SELECT pg_try_advisory_xact_lock(%(key)s) AS claimed, clock_timestamp() AS now,
            {LIMITS}{TRANSACTION_LIMIT if whole_transaction else ""}, {COLUMNS}
        FROM workflow_executions
        WHERE id = %(id)s {"FOR NO KEY UPDATE" if with_row else ""}""",
        (PROTECTIONS + "TestClaim::test_a_duplicate_is_told_at_once",),
    ),
    Mutant(
        "claim_reads_stale_row",
        "A unit that runs alone locks the row as it reads it.",
        "It acts on a row that somebody else is changing: a snapshot from before.",
        STORE,
        'WHERE claim.claimed AND id = %(id)s {"FOR NO KEY UPDATE" if with_row else ""}',
        "WHERE claim.claimed AND id = %(id)s",
        (RUNNER + "test_a_claim_reads_the_row_as_it_is_when_the_lock_is_got",),
    ),
    Mutant(
        "claim_without_statement_timeout",
        "A statement under a claim ends with the step's time.",
        "A statement that hangs keeps its claim for ever (servers before 17).",
        STORE,
        "    set_config('statement_timeout', %(limit)s, true),\n",
        "",
        (PROTECTIONS + "TestClaim::test_ends_a_statement_that_takes_too_long",),
    ),
    Mutant(
        "claim_without_idle_timeout",
        "Whoever idles under a claim loses its connection when the step's time is over.",
        "A frozen or cut-off worker keeps its claim for ever (servers before 17).",
        STORE,
        "    set_config('idle_in_transaction_session_timeout', %(limit)s, true),\n",
        "",
        (PROTECTIONS + "TestClaim::test_is_taken_from_whoever_stands_still",),
    ),
    Mutant(
        "claim_without_lock_timeout",
        "Waiting for a lock under a claim ends with the step's time.",
        "Nothing else, as long as the limit of a statement is as low: a second line.",
        STORE,
        """
    set_config('lock_timeout', %(limit)s, true),""",
        "",
        (PROTECTIONS + "TestClaim::test_bounds_how_long_it_waits_for_a_lock",),
    ),
    Mutant(
        "claim_of_the_dead",
        "The server looks, while a statement waits, whether whoever sent it is still there.",
        "A killed worker's statement that waits for a lock keeps its claim.",
        STORE,
        """,
    set_config('client_connection_check_interval', '2000', true)""",
        "",
        (
            "tests/e2e/test_faults.py::TestWithFewProcesses::test_the_claim_of_a_killed_worker_is_free_before_its_statement_would_have_ended",
        ),
    ),
    Mutant(
        "claim_in_a_pipeline",
        "On servers before 17 the claim is no pipeline, after which they count no idle time.",
        "A worker that freezes right after its claim keeps it for ever (servers before 17).",
        STORE,
        "with driver.pipeline() if limits_whole else nullcontext():",
        "with driver.pipeline():",
        (PROTECTIONS + "TestClaim::test_is_taken_from_whoever_stands_still",),
    ),
    Mutant(
        "claim_without_transaction_timeout",
        "The whole transaction of a claim ends with the step's time (servers from 17).",
        "A step that never stands still and never ends keeps its claim for ever.",
        STORE,
        """TRANSACTION_LIMIT = ", set_config('transaction_timeout', %(whole_limit)s, true)\"""",
        'TRANSACTION_LIMIT = ""',
        (PROTECTIONS + "TestClaim::test_is_taken_from_whoever_is_busy_for_too_long",),
    ),
    Mutant(
        "connection_without_keepalives",
        "Connections ask after the other side when they are idle.",
        "A worker cut off from the database waits for an answer until its system gives up, hours later.",
        "zea/db.py",
        '    "keepalives": 1,\n    "keepalives_idle": 10,\n',
        "",
        (PROTECTIONS + "TestClaim::test_the_connection_tells_when_the_other_side_is_gone",),
    ),
    Mutant(
        "task_without_time_limit",
        "Celery ends the process of a step that takes twice its time.",
        "A step that loops without talking to the database keeps its process for ever.",
        "tasks/steps.py",
        "bind=True, time_limit=backstop)",
        "bind=True)",
        (PROTECTIONS + "TestTask::test_one_that_does_not_talk_to_the_database_any_more_is_ended",),
    ),
    Mutant(
        "clock_of_the_process",
        "Every moment is one of the database's clock.",
        "Events, back-offs and deadlines jump by as much as the workers' clocks differ.",
        "workflows/engine/runner.py",
        "clock = Clock(claim.now)",
        'clock = Clock(__import__("zea.clock").clock.now())',
        (PROTECTIONS + "TestClaim::test_moments_are_those_of_the_databases_clock",),
    ),
)

TRANSACTION = (
    Mutant(
        "no_savepoint",
        "What a failed attempt did is undone before its failure is recorded.",
        "The first steps of a block that failed stay: a slot is taken and not paid for.",
        "zea/db.py",
        '    driver_connection(db).execute(f"ROLLBACK TO {SAVEPOINT}")\n',
        "",
        (RUNNER + "test_a_refusal_undoes_the_block_and_is_never_resumable",),
    ),
    Mutant(
        "session_kept_after_failure",
        "What a failed attempt had added to its session is forgotten.",
        "It is written after all, when the failure is committed.",
        "zea/db.py",
        "    db.expunge_all()\n",
        "",
        (PROTECTIONS + "TestClaim::test_what_a_failed_attempt_had_only_planned_to_write_is_not_written",),
    ),
    Mutant(
        "failed_block_keeps_its_steps",
        "A failed block has completed none of its steps.",
        "Steps whose effects were rolled back count as done, and are never run again.",
        "workflows/engine/attempt.py",
        "self.facts = [self._failed(",
        "self.facts += [self._failed(",
        (RUNNER + "test_a_refusal_undoes_the_block_and_is_never_resumable",),
    ),
    Mutant(
        "failed_block_keeps_its_secrets",
        "A failed block keeps no personal values.",
        "They outlive what was rolled back, and the next attempt collides with them.",
        "workflows/engine/attempt.py",
        "        self.private.clear()\n",
        "",
        (PROTECTIONS + "TestClaim::test_personal_values_of_a_failed_attempt_are_not_kept",),
    ),
    Mutant(
        "gone_transaction_not_recorded",
        "A failure that took its transaction along is recorded by a new claim.",
        "A step whose connection was lost is not tried again until a sweep finds it, and never counts as failed.",
        "workflows/engine/runner.py",
        "            gone = error\n",
        "            raise StaleMessage(str(error)) from error\n",
        (RUNNER + "test_a_lost_connection_undoes_the_step_and_it_is_tried_again",),
    ),
    Mutant(
        "flush_error_in_dead_session",
        "A session that a failed flush has rolled back is not written to.",
        "The failure is recorded nowhere, and the step is sent again for ever.",
        "zea/db.py",
        "if not db.is_active or connection(db).invalidated",
        "if connection(db).invalidated",
        (RUNNER + "test_a_flush_that_fails_takes_the_transaction_along_and_is_recorded_all_the_same",),
    ),
    Mutant(
        "step_completed_twice",
        "A unique index allows one `step.completed` of a step.",
        "Should all else fail, a step is completed twice.",
        "migrations/versions/2026_11_25_initial.py",
        """        "uq_workflow_events_step_completed",
        "workflow_events",
        ["execution_id", "step"],
        unique=True,""",
        """        "uq_workflow_events_step_completed",
        "workflow_events",
        ["execution_id", "step"],
        unique=False,""",
        (PROTECTIONS + "TestSchema::test_a_step_is_completed_once_and_compensated_once[step.completed]",),
    ),
    Mutant(
        "step_compensated_twice",
        "A unique index allows one `step.compensated` of a step.",
        "Should all else fail, a step is undone twice.",
        "migrations/versions/2026_11_26_failures.py",
        """        "workflow_events",
        ["execution_id", "step"],
        unique=True,""",
        """        "workflow_events",
        ["execution_id", "step"],
        unique=False,""",
        (PROTECTIONS + "TestSchema::test_a_step_is_completed_once_and_compensated_once[step.compensated]",),
    ),
    Mutant(
        "record_over_a_newer_row",
        "Events are recorded only onto the position that they follow.",
        "What somebody else recorded meanwhile is written over.",
        STORE,
        "WHERE id = %(id)s AND position = %(expected)s",
        "WHERE id = %(id)s AND %(expected)s::int IS NOT NULL",
        (RUNNER + "test_a_row_that_moved_on_is_not_written_over",),
    ),
    Mutant(
        "events_can_be_changed",
        "A trigger refuses UPDATE and DELETE of events and of the credits' ledger.",
        "History can be rewritten by a mistyped statement.",
        "migrations/versions/2026_11_25_initial.py",
        "_append_only BEFORE UPDATE OR DELETE ON {table}",
        "_append_only BEFORE INSERT ON {table}",
        (RUNNER + "test_events_cannot_be_changed_or_removed",),
    ),
    Mutant(
        "events_can_be_truncated",
        "Another trigger refuses TRUNCATE, which a row's trigger does not see.",
        "History can be emptied in one statement.",
        "migrations/versions/2026_11_25_initial.py",
        """        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
""",
        "",
        (RUNNER + "test_events_cannot_be_changed_or_removed",),
    ),
)

DELIVERY = (
    Mutant(
        "epoch_not_checked",
        "A message of another epoch is not acted on.",
        "A message from before a resume or a cancellation runs what was given up.",
        "workflows/engine/runner.py",
        "if execution.epoch != delivery.epoch or unit not in",
        "if unit not in",
        (RUNNER + "test_a_message_of_another_epoch_is_not_acted_on",),
    ),
    Mutant(
        "step_not_checked",
        "A message is acted on only if its unit is among the next moves.",
        "A step runs again, or before its turn.",
        "workflows/engine/runner.py",
        "if execution.epoch != delivery.epoch or unit not in next_moves(workflow, execution.current):",
        "if execution.epoch != delivery.epoch:",
        (RUNNER + "test_a_second_delivery_changes_nothing",),
    ),
    Mutant(
        "resume_keeps_epoch",
        "Resuming raises the epoch.",
        "Messages from before the failure run beside the new ones.",
        "workflows/engine/state.py",
        "running = replace(state, status=status, epoch=state.epoch + 1,",
        "running = replace(state, status=status,",
        (FAILURES + "TestResume::test_runs_what_failed_and_nothing_else",),
    ),
    Mutant(
        "compensation_keeps_epoch",
        "Compensation raises the epoch.",
        "Messages from before it are told apart only by their step's name: a second line.",
        "workflows/engine/state.py",
        "compensating=True, epoch=state.epoch + 1)",
        "compensating=True)",
        (FAILURES + "TestCompensation::test_undoes_what_was_completed_newest_first",),
    ),
    Mutant(
        "duplicate_returns",
        "A duplicate ends with Celery's `Ignore`.",
        "If it returned, Celery would publish the rest of its chain again.",
        "tasks/steps.py",
        "            raise Ignore(stale.message) from stale\n",
        "            return stale.message\n",
        (PROTECTIONS + "TestTask::test_a_duplicate_sends_nothing",),
    ),
    Mutant(
        "chain_goes_on_after_failure",
        "The chain of a step that failed is cut off.",
        "Celery publishes what follows a failure.",
        "tasks/steps.py",
        "            self.request.chain = None\n",
        "            pass\n",
        (PROTECTIONS + "TestTask::test_a_failure_sends_nothing",),
    ),
    Mutant(
        "any_chain_is_trusted",
        "Celery's hop goes on only if it leads to what follows.",
        "What no chain carries waits for a sweep, or the wrong thing is sent.",
        "workflows/engine/runner.py",
        "chain_continues = delivery.carried == {workflow.task_name(each) for each in following}",
        "chain_continues = bool(delivery.carried)",
        (RUNNER + "test_what_no_chain_carries_is_published",),
    ),
    Mutant(
        "published_besides_the_chain",
        "What Celery's chain carries is not published again.",
        "Each hop is sent twice: half of all messages are duplicates.",
        "workflows/engine/runner.py",
        "    if not chain_continues:\n        progress.publish(following)",
        "    progress.publish(following)",
        (RUNNER + "test_what_celerys_chain_carries_is_not_published_again",),
    ),
    Mutant(
        "early_acknowledgement",
        "A message is acknowledged when its work is committed.",
        "A worker that is told to stop loses what it could not finish, until a sweep finds it.",
        "celeryconfig.py",
        "task_acks_late = True",
        "task_acks_late = False",
        ("tests/e2e/test_stopping.py::test_a_step_that_a_worker_could_not_finish_is_run_by_the_next_one",),
    ),
)

JOIN = (
    Mutant(
        "branch_closes_without_the_row",
        "A branch closes with the execution's row locked.",
        "Two branches that end at once each see the other missing, and nobody continues.",
        "workflows/engine/runner.py",
        "can decide the join.\n                workflow, unit, execution = self._wanted(delivery, store.lock(db, ",
        "can decide the join.\n                workflow, unit, execution = self._wanted(delivery, store.read(db, ",
        (RUNNER + "test_branches_that_end_at_the_same_instant_continue_once",),
    ),
    Mutant(
        "branch_closes_unasked",
        "A branch looks again, when it closes, whether it is still wanted.",
        "A branch that ran while the execution was cancelled leaves its effect.",
        "workflows/engine/runner.py",
        "can decide the join.\n                workflow, unit, execution = "
        "self._wanted(delivery, store.lock(db, delivery.execution_id))",
        "can decide the join.\n                execution = store.lock(db, delivery.execution_id) or execution",
        (FAILURES + "TestCancel::test_a_branch_that_runs_meanwhile_leaves_no_effect",),
    ),
)

OUTBOX = (
    Mutant(
        "start_is_not_due",
        "The commit of a start sets when it is due.",
        "An execution whose first message is lost is never looked at again; the check `never_forgotten` refuses it.",
        STORE,
        "               now + %(patience)s, now\n",
        "               NULL::timestamptz, now + %(patience)s - %(patience)s\n",
        (RUNNER + "test_an_execution_runs_to_its_end_and_its_events_give_its_row_again",),
    ),
    Mutant(
        "step_is_not_due",
        "Each commit that leaves something to run sets when it is due.",
        "What follows a step whose message is lost never runs; the check `never_forgotten` refuses it.",
        STORE,
        "due_at = clock_timestamp() + %(delay)s + %(patience)s",
        "due_at = CASE WHEN %(patience)s::interval < interval '0' THEN clock_timestamp() END",
        (RUNNER + "test_an_execution_runs_to_its_end_and_its_events_give_its_row_again",),
    ),
    Mutant(
        "can_be_forgotten",
        "A check refuses an execution that has not ended and that nothing will look at again.",
        "A mistake in the engine loses executions without a sound.",
        "migrations/versions/2026_11_26_failures.py",
        '"completed_at IS NOT NULL OR due_at IS NOT NULL OR wakes_at IS NOT NULL"',
        '"completed_at IS NULL OR completed_at IS NOT NULL"',
        (FAILURES + "test_no_execution_can_be_forgotten",),
    ),
    Mutant(
        "ended_can_be_due",
        "A check refuses an execution that has ended and is due.",
        "Sweeps take it up for ever.",
        "migrations/versions/2026_11_26_failures.py",
        '"completed_at IS NULL OR (due_at IS NULL AND wakes_at IS NULL)"',
        '"completed_at IS NULL OR completed_at IS NOT NULL"',
        (PROTECTIONS + "TestSchema::test_what_has_ended_is_not_due",),
    ),
    Mutant(
        "published_before_the_commit",
        "Messages are sent after the commit, never before it or without it.",
        "A worker finds no row yet, or acts on what was rolled back.",
        "workflows/engine/dispatch.py",
        "        after_commit(db, lambda: _publish(signature, delay))\n",
        "        _publish(signature, delay)\n",
        (RUNNER + "test_an_execution_that_is_rolled_back_is_not_dispatched",),
    ),
    Mutant(
        "announced_before_the_commit",
        "Whoever waits is told after the commit.",
        "A caller is told of a confirmation that is then rolled back.",
        "workflows/engine/dispatch.py",
        "    after_commit(db, lambda: _announce(standing))\n",
        "    _announce(standing)\n",
        (PROTECTIONS + "TestStart::test_what_is_announced_is_committed",),
    ),
    Mutant(
        "start_in_a_transaction_of_its_own",
        "A start joins the caller's transaction.",
        "What the caller rolls back runs all the same.",
        "workflows/engine/client.py",
        "with nullcontext(db) if db else database.transaction() as handle:\n            return start(",
        "with database.transaction() as handle:\n            return start(",
        (PROTECTIONS + "TestStart::test_in_a_callers_transaction_ends_with_it",),
    ),
    Mutant(
        "answered_before_the_commit",
        "A request is answered after its commit.",
        "A commit that fails has been answered with success.",
        "zea/api/deps.py",
        '''def database(_: Annotated[None, Depends(turn, scope="function")]) -> Iterator[Session]:
    """The request's unit of work. No connection is taken before the first statement."""
    with transaction() as db:
        yield db


# The scope matters: without it FastAPI would commit after the answer is out, and a commit that fails would have been
# answered with success.
Db = Annotated[Session, Depends(database, scope="function")]''',
        '''def database(_: Annotated[None, Depends(turn)]) -> Iterator[Session]:
    """The request's unit of work. No connection is taken before the first statement."""
    with transaction() as db:
        yield db


# The scope matters: without it FastAPI would commit after the answer is out, and a commit that fails would have been
# answered with success.
Db = Annotated[Session, Depends(database)]''',
        ("tests/integration/test_accounts_api.py::test_a_commit_that_fails_is_never_answered_with_success",),
    ),
    Mutant(
        "publish_waits_for_a_silent_broker",
        "A publish gives up on a broker that is silent.",
        "With a frozen broker every request and every step hangs.",
        "celeryconfig.py",
        '    "socket_timeout": 0.4,\n',
        "",
        (PROTECTIONS + "TestBroker::test_that_is_silent_holds_nobody_up",),
    ),
    Mutant(
        "publish_waits_for_an_absent_broker",
        "A publish tries to connect once.",
        "While the broker is down every request and every step stands still.",
        "celeryconfig.py",
        '    "max_retries": 0,\n',
        "",
        (PROTECTIONS + "TestBroker::test_that_is_away_holds_nobody_up",),
    ),
    Mutant(
        "publish_is_repeated",
        "What could not be sent is left to the sweep.",
        "The publisher tries again by itself, and the request waits.",
        "celeryconfig.py",
        "task_publish_retry = False",
        "task_publish_retry = True",
        (PROTECTIONS + "TestBroker::test_that_is_silent_holds_nobody_up",),
    ),
)

SWEEPS = (
    Mutant(
        "sweep_waits_for_held_rows",
        "A sweep passes over a row that is held.",
        "One long step holds up the sweep, and with it everything that is lost.",
        BACKLOG,
        'LOCK_IF_DUE = f"{store.READ} AND due_at <= clock_timestamp() FOR NO KEY UPDATE SKIP LOCKED"',
        'LOCK_IF_DUE = f"{store.READ} AND due_at <= clock_timestamp() FOR NO KEY UPDATE"',
        (PROTECTIONS + "TestSweep::test_a_row_that_is_held_is_passed_over[lock_if_due]",),
    ),
    Mutant(
        "timers_wait_for_held_rows",
        "So does the one that fires timers.",
        "One long step holds up all timers.",
        BACKLOG,
        'LOCK_IF_AWAKE = f"{store.READ} AND wakes_at <= clock_timestamp() FOR NO KEY UPDATE SKIP LOCKED"',
        'LOCK_IF_AWAKE = f"{store.READ} AND wakes_at <= clock_timestamp() FOR NO KEY UPDATE"',
        (PROTECTIONS + "TestSweep::test_a_row_that_is_held_is_passed_over[lock_if_awake]",),
    ),
    Mutant(
        "two_sweeps_send_twice",
        "A row that was found due is looked at again once it is locked.",
        "Two sweeps, or two beats, send everything twice.",
        BACKLOG,
        'LOCK_IF_DUE = f"{store.READ} AND due_at <= clock_timestamp() FOR',
        'LOCK_IF_DUE = f"{store.READ} FOR',
        (PROTECTIONS + "TestSweep::test_a_second_sweep_that_found_the_same_does_nothing",),
    ),
    Mutant(
        "two_sweeps_fire_twice",
        "So is one whose timer was found to have to fire.",
        "Two sweeps let a timer fire twice, or before its moment.",
        BACKLOG,
        'LOCK_IF_AWAKE = f"{store.READ} AND wakes_at <= clock_timestamp() FOR',
        'LOCK_IF_AWAKE = f"{store.READ} FOR',
        (PROTECTIONS + "TestSweep::test_a_timer_fires_once_and_not_before_its_moment",),
    ),
    Mutant(
        "bad_row_stops_the_sweep",
        "A row that cannot be driven on is put off alone.",
        "One damaged execution ends every pass before the others have their turn.",
        SWEEP,
        "    except Exception:\n",
        "    except ZeroDivisionError:\n",
        (RUNNER + "test_one_bad_row_is_put_off_alone",),
    ),
    Mutant(
        "running_steps_are_sent_again",
        "What is claimed, as pg_locks says, is not sent again.",
        "Every step that takes longer than five seconds is delivered again and again.",
        SWEEP,
        "if store.claim_key(progress.execution.id, unit.name) not in held)",
        ")",
        (RUNNER + "test_the_sweep_leaves_a_step_that_is_running_alone",),
    ),
    Mutant(
        "no_probe",
        "Only what a probe has overtaken in its queue is lost.",
        "A long line is sent again in every pass, and grows by itself.",
        BACKLOG,
        """          WHERE queue = ANY (queues) AND passed_at > dispatched_at + %(publishing)s
      ))""",
        "      ))",
        (FAILURES + "TestSweep::test_leaves_alone_what_no_probe_has_overtaken",),
    ),
    Mutant(
        "probe_without_margin",
        "A probe proves nothing about what was sent within two seconds before it.",
        "A message that is still being published is taken for lost.",
        SWEEP,
        "PUBLISHING = timedelta(seconds=2)",
        "PUBLISHING = timedelta(0)",
        (FAILURES + "TestSweep::test_a_probe_sent_with_the_message_proves_nothing",),
    ),
    Mutant(
        "probe_of_another_queue",
        "Of several units only those are lost whose own queue was overtaken.",
        "A quiet queue's probe has the messages of a busy one sent again.",
        SWEEP,
        "if not overtaken or progress.queue_of(unit) in overtaken",
        "if True",
        (PROTECTIONS + "TestSweep::test_of_two_units_only_the_one_whose_queue_was_overtaken_is_lost",),
    ),
    Mutant(
        "probe_in_every_sweep",
        "A queue is probed once in an interval.",
        "With every beat more, and every second in which a queue is not worked off, there are more probes in it.",
        BACKLOG,
        """    WHERE known.probed_at <= clock_timestamp() - greatest(
        %(interval)s, least((known.probed_at - coalesce(known.passed_at, known.probed_at)) / 10, %(longest)s)
    )
""",
        "",
        (FAILURES + "TestSweep::test_does_not_look_twice_as_long_lines_cost_nothing",),
    ),
    Mutant(
        "long_line_is_probed_late",
        "However long a queue is, it is probed every five seconds at least.",
        "After a long line was lost, it takes a tenth of its length more to find that out.",
        BACKLOG,
        "least((known.probed_at - coalesce(known.passed_at, known.probed_at)) / 10, %(longest)s)",
        "least((known.probed_at - coalesce(known.passed_at, known.probed_at)) / 10, 100 * %(longest)s)",
        (PROTECTIONS + "TestSweep::test_a_long_line_puts_the_next_probe_off_for_seconds_only",),
    ),
    Mutant(
        "late_probe_turns_back",
        "A probe that comes late changes nothing.",
        "What was overtaken is taken for waiting in line again.",
        BACKLOG,
        "SET passed_at = greatest(passed_at, %(probed_at)s)",
        "SET passed_at = %(probed_at)s",
        (PROTECTIONS + "TestSweep::test_a_probe_that_comes_late_does_not_turn_the_clock_back",),
    ),
    Mutant(
        "unknown_version_is_sent",
        "Versions that this process does not know are left alone.",
        "An older release puts a newer one's executions off, or counts them as failed.",
        BACKLOG,
        """    WHERE due_at <= statement_timestamp()
      AND {KNOWN}
""",
        "    WHERE due_at <= statement_timestamp()\n",
        (RUNNER + "test_the_sweep_never_touches_the_versions_it_does_not_know",),
    ),
    Mutant(
        "unknown_version_is_woken",
        "Their timers are, too.",
        "An older release fires timers of steps that it does not know.",
        BACKLOG,
        """    WHERE wakes_at <= statement_timestamp()
      AND {KNOWN}
""",
        "    WHERE wakes_at <= statement_timestamp()\n",
        (PROTECTIONS + "TestSweep::test_timers_of_unknown_versions_are_left_alone",),
    ),
    Mutant(
        "sent_again_without_patience",
        "What is lost again and again is sent less and less often.",
        "A queue that loses messages is filled with duplicates at full speed.",
        SWEEP,
        "progress.record(patience_after(dispatches), dispatches=dispatches)",
        "progress.record(dispatches=dispatches)",
        (RUNNER + "test_the_sweep_dispatches_what_is_due_again_and_waits_longer_each_time",),
    ),
    Mutant(
        "undecided_stays_undecided",
        "What is due and has nothing to run is planned again.",
        "An execution whose end was not seen never ends.",
        SWEEP,
        "what it comes to was not seen, and is decided now.\n    progress.conclude()\n",
        "what it comes to was not seen, and is decided now.\n",
        (FAILURES + "TestSweep::test_decides_what_was_left_undecided",),
    ),
    Mutant(
        "sweep_reads_what_waits",
        "An index holds what is due and nothing else.",
        "A pass costs as much as all executions that wait.",
        "migrations/versions/2026_11_25_initial.py",
        """        "ix_workflow_executions_due_at",
        "workflow_executions",
        ["due_at"],""",
        """        "ix_workflow_executions_due_at",
        "workflow_executions",
        ["epoch"],""",
        (FAILURES + "TestSweep::test_reads_only_what_is_due[due]",),
    ),
    Mutant(
        "sweep_reads_the_whole_index",
        "The moment that a sweep compares with stands still during its query.",
        "PostgreSQL compares an index with no other: a pass reads all that wait.",
        BACKLOG,
        "    WHERE wakes_at <= statement_timestamp()",
        "    WHERE wakes_at <= clock_timestamp()",
        (FAILURES + "TestSweep::test_reads_only_what_is_due[awake]",),
    ),
    Mutant(
        "sweeps_stand_in_line",
        "Sweeps have a queue and a worker of their own.",
        "Behind a long line of steps nothing is looked after.",
        "celeryconfig.py",
        '    "sweep.*": {"queue": "sweeps"},\n',
        "",
        (PROTECTIONS + "TestTask::test_sweeps_never_stand_behind_steps",),
    ),
    Mutant(
        "ticks_pile_up",
        "Beat's ticks expire before the next one.",
        "After an outage of the sweeper all that it missed is done at once, tick by tick.",
        "tasks/schedule.py",
        '"options": {"expires": interval, "ignore_result": True}',
        '"options": {"ignore_result": True}',
        (PROTECTIONS + "TestTask::test_beats_ticks_expire_before_the_next_one",),
    ),
)

ATTEMPTS = (
    Mutant(
        "repeated_step_says_nothing",
        "A step that was sent or delivered again commits that it has started before it runs.",
        "A step that kills its worker is sent again for ever.",
        "workflows/engine/runner.py",
        "says_so = delivery.repeated or self.registry.is_long(",
        "says_so = self.registry.is_long(",
        (FAILURES + "TestVanishedAttempts::test_a_repeated_one_and_a_long_step_do",),
    ),
    Mutant(
        "long_step_says_nothing",
        "So does a step that may take more than ten seconds.",
        "Nobody can see whether it has begun, and its first vanished attempt is not counted.",
        "workflows/engine/runner.py",
        "says_so = delivery.repeated or self.registry.is_long(delivery.workflow_name, delivery.unit_name)",
        "says_so = delivery.repeated",
        (FAILURES + "TestVanishedAttempts::test_a_repeated_one_and_a_long_step_do",),
    ),
    Mutant(
        "sent_again_looks_like_the_first",
        "A message that a sweep has sent says so.",
        "It is taken for a first delivery, and what vanishes is never counted.",
        "tasks/steps.py",
        'repeated=dispatches > 0 or bool(self.request.delivery_info.get("redelivered"))',
        'repeated=bool(self.request.delivery_info.get("redelivered"))',
        (PROTECTIONS + "TestTask::test_one_that_was_sent_or_delivered_again_says_that_it_has_started",),
    ),
    Mutant(
        "redelivered_looks_like_the_first",
        "A message that the broker delivers again counts as repeated.",
        "A step that kills its worker comes back as if it were new.",
        "tasks/steps.py",
        'repeated=dispatches > 0 or bool(self.request.delivery_info.get("redelivered"))',
        "repeated=dispatches > 0",
        (PROTECTIONS + "TestTask::test_one_that_was_sent_or_delivered_again_says_that_it_has_started",),
    ),
    Mutant(
        "poison_is_never_given_up",
        "Five attempts that vanish end a step as `worker_lost`.",
        "A step that kills its worker does so for ever.",
        "workflows/engine/runner.py",
        "if begun.vanished < MAXIMUM_VANISHED:",
        "if begun.vanished >= 0:",
        (FAILURES + "TestVanishedAttempts::test_are_counted_and_end_as_worker_lost",),
    ),
    Mutant(
        "poison_in_a_hot_loop",
        "The broker does not give a message back by itself when a step has killed its process.",
        "The step kills one process after the other, as fast as they can be started.",
        "celeryconfig.py",
        "task_reject_on_worker_lost = False",
        "task_reject_on_worker_lost = True",
        (FAULTS + "TestWithFewProcesses::test_a_step_that_kills_its_process_is_given_up_and_can_be_resumed",),
    ),
    Mutant(
        "nothing_passes",
        "Deadlocks, serialization failures and timeouts are tried again.",
        "What would succeed a moment later fails the execution.",
        "workflows/engine/failures.py",
        "    if state in TRANSIENT_KINDS:\n",
        "    if not state:\n",
        (RUNNER + "test_a_deadlock_is_retried_with_the_next_attempt",),
    ),
    Mutant(
        "busy_is_an_end",
        "So is what finds somebody busy, or a server away.",
        "A moment in which something is away fails the execution.",
        "workflows/engine/failures.py",
        "        case Busy() | Unreachable():\n",
        "        case Busy() if not error.args:\n",
        (PROTECTIONS + "TestStep::test_that_finds_somebody_busy_or_away_is_tried_again",),
    ),
    Mutant(
        "lost_connection_is_final",
        "So is a step whose connection was lost.",
        "A restart of the database fails everything that is running.",
        "workflows/engine/failures.py",
        '"The connection to the database was lost.", transient=True)',
        '"The connection to the database was lost.")',
        (RUNNER + "test_a_lost_connection_undoes_the_step_and_it_is_tried_again",),
    ),
    Mutant(
        "tried_without_end",
        "A step is tried as often as its policy says.",
        "What never succeeds is tried for ever, and nobody is told.",
        "workflows/engine/attempt.py",
        "if failure.transient and failures < step.retry.attempts:",
        "if failure.transient:",
        (FAILURES + "TestRetry::test_ends_with_the_attempts_of_the_policy[40P01-deadlock]",),
    ),
    Mutant(
        "no_back_off",
        "Each wait is twice as long as the last one.",
        "What cannot keep up is asked again at full speed.",
        "workflows/engine/policy.py",
        "doubled = self.first_delay * float(2 ** min(failures - 1, 30))",
        "doubled = self.first_delay",
        (FAILURES + "TestRetry::test_waits_longer_each_time",),
    ),
    Mutant(
        "no_jitter",
        "Waits differ by a quarter.",
        "Those who deadlocked with each other come back together, and do so again.",
        "workflows/engine/policy.py",
        " * uniform(1 - JITTER, 1 + JITTER)",
        "",
        (PROTECTIONS + "TestRetry::test_those_who_failed_together_do_not_come_back_together",),
    ),
    Mutant(
        "long_countdown",
        "A wait of more than thirty seconds is a timer in the database.",
        "A worker keeps the message in its memory, and it is delivered again or lost when that takes long.",
        "workflows/engine/progress.py",
        "        if delay <= LONGEST_COUNTDOWN:\n",
        "        if delay:\n",
        (FAILURES + "TestRetry::test_over_thirty_seconds_is_a_timer_and_no_message",),
    ),
    Mutant(
        "timer_outlives_its_execution",
        "When an execution ends or is undone, nothing is waited for any more.",
        "A timer starts a step of what was cancelled; the check `ended_is_not_due` refuses it.",
        "workflows/engine/progress.py",
        "        for timer in sorted(self.state.timers):\n            self.add(TimerCancelled(timer))\n",
        "",
        (FAILURES + "TestCancel::test_cancels_timers_along",),
    ),
)

PEOPLE = (
    Mutant(
        "refusal_is_resumed",
        "A refusal is never resumable.",
        "What the caller was told was refused happens later.",
        "workflows/engine/failures.py",
        "resumable=not isinstance(error, Refusal))",
        "resumable=True)",
        (RUNNER + "test_a_refusal_undoes_the_block_and_is_never_resumable",),
    ),
    Mutant(
        "refusal_of_another_branch_is_resumed",
        "Nor is it if another branch failed as well.",
        "The same, when the first failure in the flow's order can be resumed.",
        "workflows/engine/planner.py",
        "all(step.resumable for _, step in failed)",
        "any(step.resumable for _, step in failed)",
        (FAILURES + "TestResume::test_is_refused_for_a_refusal_whichever_branch_it_came_from",),
    ),
    Mutant(
        "undone_is_resumed",
        "What was undone is never resumable.",
        "The steps that are left run without those before them.",
        "workflows/engine/planner.py",
        "resumable = not state.compensating and all(",
        "resumable = all(",
        (FAILURES + "TestResume::test_is_refused_for_what_was_undone_runs_or_does_not_exist",),
    ),
    Mutant(
        "resume_does_not_ask",
        "Resuming asks whether it may.",
        "A refusal, or what was undone, is taken up again by a person's click.",
        "workflows/engine/interventions.py",
        "    if obstacle := _obstacle_to_resume(progress.state):\n",
        "    if (obstacle := _obstacle_to_resume(progress.state)) is None and obstacle:\n",
        (FAILURES + "TestResume::test_is_refused_for_a_refusal_whichever_branch_it_came_from",),
    ),
    Mutant(
        "undone_oldest_first",
        "What was completed last is undone first.",
        "An undo finds undone what it builds on.",
        "workflows/engine/planner.py",
        "key=position, reverse=True)",
        "key=position)",
        (FAILURES + "TestCompensation::test_undoes_what_was_completed_newest_first",),
    ),
    Mutant(
        "block_undone_oldest_first",
        "So are the steps of a block.",
        "The same, inside of a block.",
        "workflows/engine/definition.py",
        "for each in reversed(unit.steps) if each.undo",
        "for each in unit.steps if each.undo",
        (PROTECTIONS + "TestInterventions::test_a_block_is_undone_as_a_whole_or_not_at_all",),
    ),
    Mutant(
        "block_undone_in_part",
        "A block is undone in one transaction, or not at all.",
        "Its undo fails in the middle, and what counts as undone is not.",
        "workflows/engine/attempt.py",
        "self.facts = [self._failed(",
        "self.facts += [self._failed(",
        (PROTECTIONS + "TestInterventions::test_a_block_is_undone_as_a_whole_or_not_at_all",),
    ),
    Mutant(
        "undone_while_others_run",
        "Compensation begins when no other branch has anything to run.",
        "A branch completes after what it builds on was undone, and is never undone itself.",
        "workflows/engine/planner.py",
        "in (ExecutionStatus.RUNNING, ExecutionStatus.COMPENSATING) or next_moves(workflow, state):",
        "in (ExecutionStatus.RUNNING, ExecutionStatus.COMPENSATING):",
        (FAILURES + "TestCompensation::test_waits_until_the_other_branches_have_ended",),
    ),
    Mutant(
        "taken_over_is_undone",
        "A rerun never undoes what it took over.",
        "The effects of another execution are undone.",
        "workflows/engine/planner.py",
        "return state.step(unit.steps[-1].name).status is StepStatus.COMPLETED and",
        "return state.step(unit.steps[-1].name).status in DONE and",
        (FAILURES + "TestRerun::test_never_undoes_what_it_took_over",),
    ),
    Mutant(
        "cancelled_without_the_row",
        "A cancellation takes the execution's row.",
        "It is decided on what a running step is about to change.",
        "workflows/engine/interventions.py",
        "    return store.found(store.lock_within(db, execution_id, STEP_PATIENCE), execution_id)\n",
        "    return store.found(store.read(db, execution_id), execution_id)\n",
        (PROTECTIONS + "TestInterventions::test_a_cancellation_waits_for_the_step_that_holds_the_row",),
    ),
    Mutant(
        "rerun_of_what_runs",
        "Only what has ended is run anew.",
        "Two executions do the same work at once.",
        "workflows/engine/interventions.py",
        "    if old.status not in ENDED:\n",
        "    if old.status in ():\n",
        (FAILURES + "TestRerun::test_is_refused_where_what_it_builds_on_does_not_stand",),
    ),
    Mutant(
        "rerun_from_nowhere",
        "A rerun from a step is refused if not all stands that the step builds on.",
        "It begins somewhere else than was asked for.",
        "workflows/engine/interventions.py",
        "    if unit not in progress.moves:\n",
        "    if unit is None:\n",
        (FAILURES + "TestRerun::test_is_refused_where_what_it_builds_on_does_not_stand",),
    ),
    Mutant(
        "rerun_forgets_what_is_personal",
        "A rerun is given the personal values of what it repeats.",
        "Its steps fail for want of them.",
        "workflows/engine/interventions.py",
        "    store.copy_private(db, old.id, new.id, [INPUT, *kept])\n",
        "",
        (FAILURES + "TestRerun::test_whole_runs_everything_again_with_the_personal_values",),
    ),
)

STARTS = (
    Mutant(
        "start_key_ignored",
        "Two starts under one key are one execution.",
        "A caller who tries again starts a second one.",
        "workflows/engine/start.py",
        "if store.insert(db, workflow, execution_id, started, private, start_key, dispatched):",
        "if store.insert(db, workflow, execution_id, started, private, None, dispatched):",
        (RUNNER + "test_one_start_key_is_one_execution",),
    ),
    Mutant(
        "start_key_collides",
        "The second start joins the first.",
        "It fails with an error of the database.",
        STORE,
        "        ON CONFLICT (workflow, start_key) DO NOTHING\n",
        "",
        (RUNNER + "test_one_start_key_is_one_execution",),
    ),
    Mutant(
        "start_of_a_stranger",
        "Only what is in the catalog can be started.",
        "It is accepted, and no worker ever runs it.",
        "workflows/engine/client.py",
        "        if self.registry.get(workflow.name, workflow.version) is not workflow:\n",
        "        if not workflow:\n",
        (PROTECTIONS + "TestStart::test_of_what_no_worker_would_run_is_refused",),
    ),
    Mutant(
        "key_outlives_its_request",
        "An idempotency key is committed together with what it stands for.",
        "A request that failed has used up its key: a retry is sent to an execution that does not exist.",
        "zea/api/routes/booking_requests.py",
        "        known_id = claim(db, request, execution_id)\n",
        "        with transaction() as another:\n            known_id = claim(another, request, execution_id)\n",
        (PROTECTIONS + "TestStart::test_that_fails_leaves_its_idempotency_key_free",),
    ),
    Mutant(
        "key_stands_for_nothing",
        "A key that is known stands for its first request's execution.",
        "A client that tries again books twice.",
        "zea/api/idempotency.py",
        "    return first.execution_id\n",
        "    return execution_id\n",
        ("tests/integration/test_idempotency.py::test_a_known_key_stands_for_the_first_execution",),
    ),
    Mutant(
        "key_for_another_request",
        "A key that is known is refused for another request.",
        "A client is answered with something that it did not ask for.",
        "zea/api/idempotency.py",
        "    if not hmac.compare_digest(first.request_hash, request_hash):\n        raise IdempotencyKeyReused\n",
        "",
        ("tests/integration/test_idempotency.py::test_a_known_key_with_another_request_is_refused",),
    ),
    Mutant(
        "key_is_not_waited_for",
        "A second request under a key waits until the first is committed or rolled back.",
        "Two at once are both refused, or both accepted.",
        "zea/api/idempotency.py",
        "    statement = (\n        insert(IdempotencyKey)\n",
        '    db.execute(__import__("sqlalchemy").text("SET LOCAL lock_timeout = 1"))\n'
        "    statement = (\n        insert(IdempotencyKey)\n",
        ("tests/integration/test_idempotency.py::test_a_second_request_waits_for_the_first_and_joins_it",),
    ),
    Mutant(
        "definition_can_change",
        "A definition that is registered does not change.",
        "Executions that are under way go on by another flow than the one that they were started on.",
        "workflows/engine/registry.py",
        '            if registered and registered["fingerprint"] != workflow.fingerprint:\n',
        "            if not workflow:\n",
        (RUNNER + "test_a_definition_that_changed_without_a_new_version_is_refused",),
    ),
    Mutant(
        "worker_starts_all_the_same",
        "A worker with another definition does not start.",
        "It finishes executions wrongly.",
        "tasks/process.py",
        '        sys.exit(f"zea: {error.message}")\n',
        '        logging.error("zea: %s", error.message)\n',
        (PROTECTIONS + "TestProcess::test_a_worker_with_another_definition_does_not_start",),
    ),
    Mutant(
        "api_starts_all_the_same",
        "Nor does an API.",
        "It starts executions by another flow than the workers know.",
        "zea/api/app.py",
        "    await run_in_threadpool(_check_definitions)\n",
        "",
        (PROTECTIONS + "TestProcess::test_an_api_with_another_definition_does_not_start",),
    ),
    Mutant(
        "unbound_argument",
        "A step that takes what nothing before it returns is refused when it is imported.",
        "It fails in the middle of an execution.",
        "workflows/engine/definition.py",
        "        if field.required and field.name not in visible:\n",
        "        if field.required and not field.name:\n",
        ("tests/unit/test_definition.py::test_a_name_that_nothing_returns_is_refused",),
    ),
)

PROCESSES = (
    Mutant(
        "frozen_process_keeps_its_locks",
        "Whoever stands still in any transaction for a minute loses its connection.",
        "The rows that a frozen sweeper or API process holds are held for ever.",
        "zea/db.py",
        '    event.listen(made, "connect", _limit_idling)\n',
        "",
        (DATABASE + "test_whoever_stands_still_in_a_transaction_loses_the_connection",),
    ),
    Mutant(
        "silent_server_is_waited_for",
        "What was sent to a server that answers nothing is given up after ten seconds.",
        "Whoever has sent something to a server that is cut off waits for a quarter of an hour.",
        "zea/db.py",
        '    "tcp_user_timeout": 10_000,  # milliseconds\n',
        "",
        (DATABASE + "test_a_server_that_answers_nothing_is_given_up_after_ten_seconds",),
    ),
    Mutant(
        "connection_of_the_parent",
        "A worker's process begins with connections of its own.",
        "Two processes speak on one connection, and read each other's answers.",
        "tasks/process.py",
        "    db.release_connections_of_parent()\n",
        "",
        (PROTECTIONS + "TestProcess::test_a_workers_process_has_connections_of_its_own",),
    ),
    Mutant(
        "connection_of_the_parent_closed",
        "It forgets its parent's connections and does not close them.",
        "The parent's connection is closed under its hands.",
        "zea/db.py",
        "_pool().engine.dispose(close=False)",
        "_pool().engine.dispose()",
        ("tests/integration/test_database.py::test_a_forked_child_has_connections_of_its_own",),
    ),
    Mutant(
        "nobody_looks",
        "All who wait are looked up four times a second.",
        "Whoever misses an announcement waits until their time is over.",
        "zea/api/waiting.py",
        "[asyncio.create_task(self._listen()), asyncio.create_task(self._poll())]",
        "[asyncio.create_task(self._listen())]",
        (PROTECTIONS + "TestWaiting::test_a_look_finds_what_was_not_heard",),
    ),
    Mutant(
        "no_look_after_reconnecting",
        "They are looked up at once when the subscription was made again.",
        "What was announced meanwhile is found out later.",
        "zea/api/waiting.py",
        "                    self.look_now()\n                    await self._hear(subscription)\n",
        "                    await self._hear(subscription)\n",
        (PROTECTIONS + "TestWaiting::test_a_new_subscription_is_followed_by_a_look",),
    ),
    Mutant(
        "deadlock_is_told",
        "A request that PostgreSQL ended for another's sake is run again.",
        "A caller is told of a deadlock that is none of their business.",
        "zea/api/routing.py",
        "                    if not ended_for_another(error):\n                        raise\n",
        "                    raise\n",
        ("tests/integration/test_routing.py::test_a_request_that_was_ended_for_another_is_run_again[40P01]",),
    ),
)

OUTAGES = (
    Mutant(
        "answers_are_waited_for",
        "What was sent to the database and not acknowledged ends the connection after ten seconds.",
        "A worker cut off in the middle of a statement stands still for a quarter of an hour.",
        "zea/db.py",
        '    "tcp_user_timeout": 10_000,  # milliseconds\n',
        "",
        (PROTECTIONS + "TestClaim::test_the_connection_tells_when_the_other_side_is_gone",),
    ),
    Mutant(
        "ended_connection_is_used",
        "A connection that the server has ended is replaced before it is used.",
        "After a restart of the database each process fails one more step, or request, for each connection.",
        "zea/db.py",
        '    event.listen(made, "checkout", _replace_if_ended)\n',
        "",
        (DATABASE + "test_connections_that_the_server_has_ended_are_replaced_before_they_are_used",),
    ),
    Mutant(
        "lost_connection_hides_the_error",
        "A rollback on a lost connection does not hide what went wrong.",
        "A step's failure is recorded as something that it was not.",
        "zea/db.py",
        "            with suppress(DBAPIError):\n                db.rollback()\n",
        "            db.rollback()\n",
        (DATABASE + "test_a_connection_that_is_lost_in_use_does_not_hide_what_failed",),
    ),
    Mutant(
        "undo_on_a_lost_connection",
        "On a connection that is lost nothing is undone, and the failure is recorded by a new claim.",
        "It is recorded nowhere.",
        "zea/db.py",
        " or driver_connection(db).closed:",
        ":",
        (DATABASE + "test_of_a_lost_connection_nothing_is_left_to_undo",),
    ),
    Mutant(
        "worker_runs_unchecked",
        "A worker that cannot check its definitions does not start.",
        "After an outage of the database it runs, with definitions that nobody has compared.",
        "tasks/process.py",
        "    except Exception as error:\n        sys.exit(",
        "    except ZeroDivisionError as error:\n        sys.exit(",
        (OUTAGE_TESTS + "test_a_worker_that_cannot_check_its_definitions_ends_and_says_why",),
    ),
    Mutant(
        "turns_to_publish",
        "A process has as many connections to the broker as threads that publish.",
        "While the broker is away, requests wait for each other's turn to be told so.",
        "celeryconfig.py",
        "broker_pool_limit = 20\n",
        "",
        (PROTECTIONS + "test_no_thread_waits_for_anothers_turn_to_publish",),
    ),
    Mutant(
        "full_broker_ends_the_worker",
        "A worker that a full broker refuses tries again.",
        "It ends, and so does each one that is started in its place.",
        "celeryconfig.py",
        "broker_channel_error_retry = True\n",
        "",
        (OUTAGE_TESTS + "TestBroker::test_full",),
    ),
    Mutant(
        "lost_broker_ends_the_worker",
        "A worker whose broker is away does not try to put messages back there.",
        "The attempt ends the worker.",
        "tasks/consumer.py",
        "            channel.do_restore = False\n",
        "            pass\n",
        (OUTAGE_TESTS + "TestBroker::test_killed_while_a_step_runs",),
    ),
    Mutant(
        "lost_message_ends_the_worker",
        "It does not acknowledge messages of the lost connection either.",
        "The attempt ends the worker.",
        "tasks/consumer.py",
        "            if not p.__self__.channel.closed:",
        "            if p:",
        (OUTAGE_TESTS + "TestBroker::test_killed_while_a_step_runs",),
    ),
    Mutant(
        "broker_is_looked_for_slowly",
        "A worker looks for its lost broker every second.",
        "After an outage of twenty seconds nothing is taken for another eleven.",
        "tasks/consumer.py",
        "        conn.ensure_connection = partial(conn.ensure_connection, **RECONNECT)\n",
        "",
        (OUTAGE_TESTS + "TestBroker::test_away_for_twenty_seconds",),
    ),
    Mutant(
        "silent_database_is_waited_for",
        "A request does not wait for a database that answers nobody.",
        "With a frozen database every request hangs.",
        "zea/api/silence.py",
        "monotonic() - silent_since > SILENCE:",
        "monotonic() - silent_since > 1000 * SILENCE:",
        ("tests/integration/test_silence.py::test_a_statement_of_a_silent_server_is_given_up",),
    ),
)

PERSONAL = (
    Mutant(
        "personal_value_in_events",
        "A mark stands in events, rows and messages in the place of a personal value.",
        "What people wrote about their health is where it can never be erased.",
        "workflows/engine/values.py",
        "            value = WITHHELD\n",
        "            pass\n",
        (FAILURES + "TestPersonalValues::test_are_in_no_event_whatever_fails",),
    ),
    Mutant(
        "personal_value_in_errors",
        "Personal values that an error quotes are blanked out.",
        "They stand in its message and traceback.",
        "workflows/engine/values.py",
        '            text = text.replace(value, "[personal]")\n',
        "            pass\n",
        (RUNNER + "test_an_unexpected_error_is_recorded_with_its_traceback_and_without_personal_values",),
    ),
    Mutant(
        "row_in_errors",
        "Of an error of the database only its first line is kept.",
        "Its details quote the row.",
        "workflows/engine/failures.py",
        "    message = cause.diag.message_primary or type(cause).__name__\n",
        "    message = str(error)\n",
        (PROTECTIONS + "TestPersonalValues::test_are_not_kept_when_the_database_quotes_the_row_that_it_refuses",),
    ),
    Mutant(
        "parameters_in_errors",
        "Errors of the database do not show their statement's parameters.",
        "They are logged.",
        "zea/db.py",
        "        hide_parameters=True,\n",
        "",
        (PROTECTIONS + "TestPersonalValues::test_are_in_no_error_of_the_database",),
    ),
    Mutant(
        "personal_value_inside_another",
        "A personal value inside of another one is refused when the workflow is imported.",
        "It is stored where it can never be erased, and nobody notices.",
        "workflows/engine/signature.py",
        "        if hides_personal(value.type):\n",
        "        if not value.name:\n",
        (PROTECTIONS + "TestPersonalValues::test_inside_of_another_value_are_refused",),
    ),
)

BOOKINGS = (
    Mutant(
        "slot_not_held",
        "A booking holds the slot's row first.",
        "Bookings of one slot meet in the constraints instead, and deadlock there.",
        "zea/bookings/service.py",
        "    .with_for_update(of=Slot, key_share=True)\n",
        "",
        ("tests/integration/test_bookings.py::test_a_validated_slot_is_held_until_the_end_of_the_transaction",),
    ),
    Mutant(
        "account_not_held",
        "Then it holds the athlete's account.",
        "Bookings of one athlete meet in the exclusion constraint, and deadlock there.",
        "zea/credits/service.py",
        "    .with_for_update(of=CreditAccount, key_share=True)\n",
        "",
        ("tests/integration/test_credits.py::test_the_check_holds_the_account_until_the_end_of_the_transaction",),
    ),
    Mutant(
        "balance_below_zero",
        "A balance changes only where it stays above zero.",
        "The last credit is spent twice; the check on the table refuses it with an error.",
        "zea/credits/service.py",
        '        CreditAccount.balance + bindparam("amount", type_=Integer) >= 0,\n',
        "",
        ("tests/integration/test_credits.py::test_of_two_debits_of_the_last_credit_one_succeeds",),
    ),
    Mutant(
        "paid_twice",
        "A unique index allows one debit and one refund of a booking.",
        "Should all else fail, a booking is paid for twice.",
        "migrations/versions/2026_11_25_initial.py",
        """        "uq_credit_ledger_booking_kind",
        "credit_ledger",
        ["booking_id", "kind"],
        unique=True,""",
        """        "uq_credit_ledger_booking_kind",
        "credit_ledger",
        ["booking_id", "kind"],
        unique=False,""",
        ("tests/integration/test_credits.py::test_a_booking_is_paid_for_once",),
    ),
    Mutant(
        "slot_booked_twice",
        "A unique index allows one live booking of a slot.",
        "Should all else fail, two people come to one hour.",
        "migrations/versions/2026_11_25_initial.py",
        '"uq_bookings_live_slot", "bookings", ["slot_id"], unique=True,',
        '"uq_bookings_live_slot", "bookings", ["slot_id"], unique=False,',
        ("tests/integration/test_bookings.py::test_the_database_refuses_a_second_live_booking_of_a_slot",),
    ),
    Mutant(
        "told_twice",
        "A notification is unique by execution, step and recipient.",
        "Should all else fail, people are told twice.",
        "migrations/versions/2026_11_25_initial.py",
        '["execution_id", "step", "recipient_id"], unique=True)',
        '["execution_id", "step", "recipient_id", "id"], unique=True)',
        ("tests/integration/test_notifications.py::test_a_step_that_runs_again_tells_nobody_twice",),
    ),
)

AREAS: Mapping[str, Sequence[Mutant]] = {
    "The claim": CLAIM,
    "One step, one transaction": TRANSACTION,
    "Messages": DELIVERY,
    "The join": JOIN,
    "The outbox": OUTBOX,
    "Sweeps": SWEEPS,
    "Attempts and waits": ATTEMPTS,
    "Compensation, and what people do": PEOPLE,
    "Starts and definitions": STARTS,
    "Processes, and who waits": PROCESSES,
    "Outages": OUTAGES,
    "Personal values": PERSONAL,
    "Bookings": BOOKINGS,
}
MUTANTS: Sequence[Mutant] = tuple(mutant for area in AREAS.values() for mutant in area)


def table() -> str:
    """All of them, area by area, as docs/reliability.md shows them."""
    return "\n\n".join(
        "\n".join([f"### {area}", "", HEAD, *(mutant.row() for mutant in mutants)]) for area, mutants in AREAS.items()
    )
